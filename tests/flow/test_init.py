"""`finetune init` writes a config that a run can use as it is, and says why each value is what it is."""

import csv
import json
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from flows.api import lint
from flows.cli import main
from flows.init.advice import shares, steps
from flows.init.draft import draft
from tasks.config import RunConfig, load
from tasks.objectives.presets import resolve
from tests.tiny import TASKS, TOPICS, WORDS, make_bert, make_task_rows

GUESSED = {  # texts alone suit three tasks, pairs of answers two
    name: "language-generation" if kind == "text" else "dpo" if task == "reward" else task
    for name, (task, kind, _) in TASKS.items()
} | {"grpo": "text-classification", "ppo": "text-classification"}  # the words of its answers are few


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINETUNE_STORE", str(tmp_path / "store"))
    return tmp_path


def texts(rows: int) -> list[str]:
    return [f"{WORDS[i % 65]} {WORDS[i // 65]} {WORDS[i % 7]} {WORDS[i % 11]} {TOPICS[i % 3]}" for i in range(rows)]


def table(name: str, **columns: Sequence[Any]) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    with Path(name).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([columns, *zip(*columns.values(), strict=True)])
    return name


def made(data: str, *overrides: str) -> tuple[str, RunConfig, list[str]]:
    """The text, its config as `finetune run` reads it, and the notes."""
    text, notes = draft(data, overrides)
    Path("made.yaml").write_text(text)
    loaded = load("made.yaml")
    resolve(loaded.config, loaded.origin)
    return text, loaded.config, notes


@pytest.mark.parametrize("name", TASKS)
def test_every_task_gives_a_config_that_passes_lint(name: str, here: Path) -> None:
    data, task = str(make_task_rows(here / "mine.jsonl", TASKS[name][1])), TASKS[name][0]
    text, config, notes = made(data)
    assert config.task == GUESSED[name] and any(f"task: {GUESSED[name]}, guessed: " in note for note in notes)
    _, config, notes = made(data, f"task={task}")
    assert config.task == task and not any("guessed" in note for note in notes)
    loaded = load("made.yaml")
    assert lint(loaded)["rows"] == {"train": 36, "validation": 12, "test": 12}
    comments = [line for line in text.splitlines() if re.match(r" *\w+: .", line)]
    assert all("  # " in line for line in comments) and len(comments) >= 10


@pytest.mark.parametrize(
    ("columns", "task", "chosen"),
    [
        ({"abstract": texts(40), "kind": ["a", "b"] * 20, "id": range(40)}, "text-classification",
         {"text": "abstract", "label": "kind"}),
        ({"about": texts(40), "price": [i / 4 for i in range(40)]}, "regression", {"text": "about", "label": "price"}),
        ({"text": texts(40), "label": ["red,green", "red", "green", "red"] * 10}, "text-classification",
         {"text": "text", "label": "label"}),
        ({"premise": texts(40), "hypothesis": texts(40)[::-1], "label": ["yes", "no"] * 20}, "text-classification",
         {"text": "premise", "text_pair": "hypothesis", "label": "label"}),
        ({"text": texts(80), "label": range(80)}, "regression", {"text": "text", "label": "label"}),
        ({"text": texts(80), "label": [i % 40 for i in range(80)]}, "text-classification",
         {"text": "text", "label": "label"}),
        ({"article": texts(40), "summary": texts(40)[::-1]}, "sequence-sequence",
         {"source": "article", "target": "summary"}),
        ({"sentence_id": [i // 4 for i in range(160)], "word": [f"w{i}" for i in range(160)],
          "tag": ["O", "B-X", "I-X", "O"] * 40}, "token-classification",
         {"sentence": "sentence_id", "tokens": "word", "tags": "tag"}),
        ({"content": texts(40)}, "language-generation", {"text": "content"}),
    ],
)  # fmt: skip
def test_tasks_and_columns_are_guessed(columns: Mapping[str, Any], task: str, chosen: dict[str, str]) -> None:
    _, config, _ = made(table("mine.csv", **columns))
    found = {role: name for role, name in config.data.columns.model_dump().items() if name is not None}
    assert (config.task, found) == (task, chosen)


def test_messages_take_the_place_of_the_prompt_they_repeat() -> None:
    rows = [{"messages": [{"role": "user", "content": f"why {at}?"}], "prompt": f"why {at}?", "chosen": f"so {at}",
             "rejected": f"no {at}"} for at in range(40)]  # fmt: skip
    Path("mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, config, notes = made("mine.jsonl")
    found = {role: name for role, name in config.data.columns.model_dump().items() if name is not None}
    assert (config.task, found) == ("dpo", {name: name for name in ("messages", "chosen", "rejected")})
    assert any("also possible: reward" in note for note in notes)


def test_how_a_column_was_found_is_said() -> None:
    text, _, _ = made(table("mine.csv", abstract=texts(40), label=["a", "b"] * 20))
    assert "text: abstract  # the only column that looks like it" in text and "label: label  # found by name" in text
    columns = {
        "sentence_id": [i // 4 for i in range(160)],
        "word": [f"w{i}" for i in range(160)],
        "tag": ["O", "B-X"] * 80,
    }
    assert made(table("words.csv", **columns))[0].count("# found by name") == 3


def test_other_candidates_are_named() -> None:
    text, config, notes = made(table("stars.csv", review=texts(60), stars=[1, 2, 3, 4, 5] * 12))
    assert config.task == "text-classification" and "also possible: regression" in text and "regression" in notes[0]
    text, config, _ = made(table("title.csv", text=texts(60), title=texts(60)[::-1], label=["a", "b", "c"] * 20))
    assert config.task == "text-classification" and "also possible: sequence-sequence" in text
    text, _, _ = made(table("plain.csv", text=texts(40)))
    assert "language-modeling (" in text and "token-detection (" in text


def test_without_the_demo_models_of_the_hub_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("flows.init.draft.distribution", missing)
    text, config, notes = made(table("mine.csv", text=texts(60), label=["a", "b"] * 30))
    assert config.model.name == "google-bert/bert-base-uncased" and "estimated from words" in text
    _, config, notes = made("mine.csv", "model=owner/none")
    assert config.model.name == "owner/none" and any("lengths are estimated without it" in note for note in notes)


def test_the_models_mask_token_decides_what_texts_are_for(here: Path) -> None:
    bert = make_bert(here / "bert")
    text, config, _ = made(table("plain.csv", text=texts(60)), f"model={bert}")
    assert config.task == "language-modeling" and "mask token" in text and "by the model's tokenizer" in text


@pytest.mark.parametrize(
    ("columns", "words", "code", "message"),
    [
        ({"a": range(40), "b": texts(40), "c": texts(40)}, [], 3, "'b' (texts), 'c' (texts); set --task to one of"),
        ({"text": texts(40), "label": ["a", "b"] * 20, "category": ["x", "y"] * 20}, [], 3,
         "data.columns.label: several columns match: 'label', 'category'; set it to one of these"),
        ({"text": texts(40), "label": ["a", "b"] * 20}, ["--task", "regresion"], 2, "did you mean 'regression'?"),
        ({"text": texts(40), "label": ["a", "b"] * 20}, ["--task", "ner"], 3, "data.columns.tokens: not set"),
        ({"text": texts(40), "label": ["a", "b"] * 20}, ["data.columns.text=txt"], 3, "no column 'txt'"),
        ({"text": texts(40), "label": ["a", "b"] * 20}, ["data.train=other.csv"], 2, "data.train: given twice"),
        ({"text": texts(40), "label": ["a", "b"] * 20}, ["train.learningrate=1"], 2, "learning_rate"),
        ({"text": texts(40), "label": ["a", "b"] * 20}, ["--model", "./none"], 2, "model.name: there is no folder"),
        ({"text": texts(40), "label": ["a", ""] * 20}, ["--task", "regression"], 3, "not a number"),
    ],
)  # fmt: skip
def test_what_cannot_be_decided_is_refused(
    columns: Mapping[str, Any], words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", table("mine.csv", **columns), *words]) == code
    out, err = capsys.readouterr()
    assert message in err and not out


def test_unreadable_data_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty.csv").touch()
    Path("bad.jsonl").write_text('{"text": "a"}\n{"text": \n')
    for data, message in (("empty.csv", "is empty"), ("none.csv", "no file or folder"), ("bad.jsonl", "bad.jsonl:2")):
        assert main(["init", data]) == 3
        assert message in capsys.readouterr().err


def test_a_file_is_replaced_only_with_force(capsys: pytest.CaptureFixture[str]) -> None:
    data = table("rows/reviews.csv", text=texts(60), label=["a", "b"] * 30)
    assert main(["init", data, "-o", "run.yaml"]) == 0
    assert "run.yaml written" in capsys.readouterr().err
    assert load("run.yaml").config.output_dir == "runs/run"
    Path("run.yaml").write_text("mine")
    assert main(["init", data, "-o", "run.yaml"]) == 2
    assert "'run.yaml' exists; --force replaces it" in capsys.readouterr().err
    assert Path("run.yaml").read_text() == "mine"
    assert main(["init", data, "-o", "run.yaml", "--force"]) == 0
    assert load("run.yaml").config.task == "text-classification"
    before = Path(data).read_bytes()
    for output, message in ((data, "is in the data"), ("no/run.yaml", "does not exist"), ("rows", "is a folder")):
        assert main(["init", data, "-o", output, "--force"]) == 2
        assert message in capsys.readouterr().err
    assert main(["init", "rows", "-o", "rows/run.yaml"]) == 2
    assert "is in the data" in capsys.readouterr().err
    assert main(["init", "rows/*", "-o", "rows/run.yaml"]) == 2
    assert "is in the data" in capsys.readouterr().err
    assert Path(data).read_bytes() == before and not Path("rows/run.yaml").exists()


def test_stdout_has_the_config_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", table("reviews.csv", text=texts(60), label=["a", "b"] * 30)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("# Written by `finetune init`") and err.startswith("note: task: text-classification")


def test_files_named_by_split_are_used_if_they_have_the_columns() -> None:
    for split, rows in (("train", 60), ("dev", 20)):
        table(f"all/{split}.csv", text=texts(rows), label=["a", "b"] * (rows // 2))
    table("all/test.csv", text=texts(20))
    for data in ("all", "all/train.csv", "all/*.csv"):
        _, config, notes = made(data)
        assert (config.data.train, config.data.validation) == ("all/train.csv", "all/dev.csv")
        assert config.data.split.validation is None and config.data.split.test == 0.2
        assert config.data.test is None and "data.test: all/test.csv is not used: it has no column 'label'" in notes
    _, config, _ = made("all/train.csv", "data.validation=all/dev.csv", "data.split.test=0.1")
    assert (config.data.validation, config.data.split.test) == ("all/dev.csv", 0.1)


def test_texts_in_folders_by_split_and_class() -> None:
    for i, text in enumerate(texts(40)):
        for split in ("train", "test"):
            path = Path("films", split, "ab"[i % 2], f"{i}.txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + split)
    _, config, _ = made("films")
    assert (config.data.train, config.data.test) == ("films/train", "films/test")
    Path("corpus.txt").write_text("\n".join(texts(60)))
    assert made("corpus.txt")[1].task == "language-generation"


def test_imbalance_and_rare_classes() -> None:
    text, config, _ = made(table("odd.csv", text=texts(80), label=["a", *["b"] * 4, *["c"] * 75]))
    assert "# methods: {class_weights: balanced}" in text and config.eval.best == "f1_macro"
    assert config.data.split.stratify is False and "has 1 row for 3 splits" in text
    Path("uncommented.yaml").write_text(text.replace("# methods:", "methods:"))
    assert load("uncommented.yaml").config.methods == {"class_weights": "balanced"}
    text, config, _ = made(table("even.csv", text=texts(80), label=["a", "b"] * 40))
    assert "class_weights" not in text and config.eval.best == "accuracy"
    assert "# methods" not in made("odd.csv", "methods.focal_loss=true")[0]


def test_lengths_come_from_the_rows() -> None:
    data = table("long.csv", text=[f"{text} " * 300 for text in texts(40)], label=["a", "b"] * 20)
    text, config, _ = made(data)
    assert config.data.max_length == 512 and "100 % of rows are longer and are truncated" in text
    text, config, _ = made(table("short.csv", source=texts(60), target=texts(60)[::-1]))
    assert "estimated from words" in text and 8 <= (config.data.max_target_length or 0) < 64
    assert config.data.max_length is not None and config.data.max_length < 64


def test_what_is_given_is_kept() -> None:
    data = table("mine.csv", text=texts(60), label=["a", "b"] * 30)
    given = ["train.num_train_epochs=2", "data.max_length=99", "peft=lora", "output_dir=out", "eval.best=loss"]
    text, config, _ = made(data, *given)
    assert (config.train.num_train_epochs, config.data.max_length, config.output_dir) == (2, 99, "out")
    assert (config.peft.method, config.eval.best, config.train.learning_rate) == ("lora", "loss", 3e-4)
    assert text.count("# as given") == len(given)
    assert any("sweep: ignored here" in note for note in made(data, "sweep.seeds=[1, 2]")[2])


def test_shares_and_steps_depend_on_the_number_of_rows() -> None:
    def split(rows: int) -> list[object]:
        return [value for _, value, _ in shares(rows, {"validation": False, "test": False})]

    assert [split(rows) for rows in (20, 500, 5_000, 1_000_000)] == [[0.2, 0.0], [0.2, 0.2], [0.1, 0.1], [0.005, 0.005]]
    assert not [*shares(500, {"validation": True, "test": True})]
    resolved, origin = resolve(load({"model": "m", "data": "rows.csv"}).config, {})

    def training(rows: int) -> tuple[Any, ...]:
        found = {path.removeprefix("train."): value for path, value, _ in steps(resolved, origin, rows)}
        return found["per_device_train_batch_size"], found["num_train_epochs"]

    assert [training(rows) for rows in (40, 1_000, 10_000, 200_000, 600_000)] == [
        (8, 10.0), (32, 7.0), (32, 3.0), (32, 2.0), (32, 1.0),
    ]  # fmt: skip


def test_plan_has_no_advice_on_what_was_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bert, data = make_bert(here / "bert"), table("mine.csv", text=texts(60), label=["a", "b"] * 30)
    assert main(["init", data, "--model", str(bert), "-o", "run.yaml"]) == 0
    capsys.readouterr()
    assert main(["plan", "run.yaml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["advice"] == [] and found["steps"] == 50


def test_torch_is_not_imported(here: Path) -> None:
    import subprocess

    data = table("mine.csv", text=texts(60), label=["a", "b"] * 30)
    code = "import sys; from flows.cli import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code, "init", data], capture_output=True, text=True, cwd=here, env={"PYTHONPATH": root}
    )
    assert done.stdout.endswith("False\n"), done.stderr


def test_names_survive_in_yaml() -> None:
    label, text = "la: bel #1", "the 'text'"
    data = table("it's: 1.csv", **{text: texts(60), label: ["a", "b"] * 30})
    _, config, _ = made(data)
    assert (config.data.columns.text, config.data.columns.label, config.data.train) == (text, label, data)
    assert json.dumps(config.name).isascii()
