"""`eval.guard`: what earlier trainings taught, before and after this one."""

import json
import math
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from flows.api import plan
from flows.cli import main
from tasks.config import ConfigError, DataError, TrainingError, load
from tasks.objectives import objective_of
from tasks.objectives.presets import resolve
from tasks.results.finetuned import FineTuned
from tests.flow.scenes import executed
from tests.tiny import WORDS, make_task, make_task_rows

GUARDS = {"s03_base", "s04_prepare", "s05_tokenize", "s07e_guarded", "s10b_guard"}
MEASURING = ("s07e_guarded", "s10b_guard")


@dataclass
class Scene:
    """A model that was trained to tag words, and a run that trains it to classify texts."""

    folder: Path
    tagged: FineTuned
    held: Path
    config: dict[str, Any]
    run: FineTuned

    @property
    def tagger(self) -> str:
        return str(self.folder / "tagger")

    def guarded(self, *guards: Any, **more: Any) -> dict[str, Any]:
        return {**self.config, "eval": {"guard": list(guards)}, **more}


def short(config: dict[str, Any], out: Path | None = None, **train: Any) -> dict[str, Any]:
    train = {"max_steps": 4, "learning_rate": 0.02, "eval_strategy": "no", "save_strategy": "no"} | train
    found = config | {"train": config["train"] | train}
    return found | ({"output_dir": str(out)} if out is not None else {})


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("guard")
    tagged = executed(short(make_task("token-classification", folder), folder / "tagger", max_steps=10))
    held = make_task_rows(folder / "held.jsonl", "token-classification", 7, seed=5)
    config = short(make_task("text-classification", folder)) | {"model": {"name": str(folder / "tagger")}}
    config["eval"] = {"guard": [
        {"model": str(folder / "tagger"), "metric": "accuracy"},
        {"model": str(folder / "tagger"), "data": str(held), "metric": "loss", "name": "held"},
    ]}  # fmt: skip
    run = executed(config | {"output_dir": str(folder / "classifier")})
    return Scene(folder, tagged, held, config, run)


def tagging(model: Any, tokenizer: Any, rows: Path) -> tuple[float, float]:
    """Mean loss and accuracy of the first tokens of words, by plain code."""
    losses, right = list[float](), list[bool]()
    for row in map(json.loads, rows.read_text().splitlines()):
        batch = tokenizer(row["tokens"], is_split_into_words=True, return_tensors="pt", truncation=True, max_length=32)
        with torch.no_grad():
            logits = model(**batch).logits[0]
        words = batch.word_ids()
        first = {word: at for at, word in reversed([*enumerate(words)]) if word is not None}
        for word, at in first.items():
            wanted = model.config.label2id[row["ner_tags"][word]]
            losses.append(float(torch.nn.functional.cross_entropy(logits[at], torch.tensor(wanted))))
            right.append(int(logits[at].argmax()) == wanted)
    return sum(losses) / len(losses), sum(right) / len(right)


def test_the_figures_are_those_of_the_old_head_on_the_trained_body(scene: Scene) -> None:
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

    before = AutoModelForTokenClassification.from_pretrained(scene.tagger).eval()
    after = AutoModelForTokenClassification.from_pretrained(scene.tagger).eval()
    trained = AutoModelForSequenceClassification.from_pretrained(scene.folder / "classifier")
    missing, _ = after.bert.load_state_dict(trained.bert.state_dict(), strict=False)
    assert not missing
    tokenizer = AutoTokenizer.from_pretrained(scene.tagger)
    expected = [tagging(model, tokenizer, scene.held)[0] for model in (before, after)]
    found = [scene.run.metrics[f"guard_held_loss_{when}"] for when in ("before", "after")]
    assert found == pytest.approx(expected, rel=1e-4) and abs(found[1] - found[0]) > 0.01
    assert scene.run.metrics["guard_held_drop"] == pytest.approx(found[1] - found[0])


def test_before_is_what_the_other_run_reported_of_its_test_rows(scene: Scene) -> None:
    found = scene.run.metrics
    assert found["guard_tagger_accuracy_before"] == scene.tagged.metrics["test_accuracy"]
    drop = found["guard_tagger_accuracy_before"] - found["guard_tagger_accuracy_after"]
    assert found["guard_tagger_drop"] == pytest.approx(drop)


def test_the_figures_are_in_all_results(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    names = {name for name in scene.run.metrics if name.startswith("guard_")}
    assert names == {
        "guard_tagger_accuracy_before", "guard_tagger_accuracy_after", "guard_tagger_drop",
        "guard_held_loss_before", "guard_held_loss_after", "guard_held_drop",
    }  # fmt: skip
    out = scene.folder / "classifier"
    for file in ("metrics.json", "all_results.json"):
        assert json.loads((out / file).read_text()).keys() >= names
    for page in (scene.run.report, (out / "README.md").read_text()):
        assert all(f"| {name} |" in page for name in names)
    assert main(["show", scene.run.run, "--store", str(scene.folder / "store")]) == 0
    assert "guard_tagger_drop" in capsys.readouterr().out


def states(run: FineTuned, of: str | None = None) -> dict[str, str]:
    return {entry.stage: entry.state for entry in run.stages if of is None or entry.of == of}


def test_limits_fail_before_saving_and_measure_nothing_again(scene: Scene, tmp_path: Path) -> None:
    tagger, held = scene.config["eval"]["guard"]
    strict = [tagger | {"max_drop": 0.0}, held | {"max_drop": 0.001}]
    drop = scene.run.metrics["guard_held_drop"]
    out = tmp_path / "out"
    assert drop > 0.001 and scene.run.metrics["guard_tagger_drop"] > 0
    with pytest.raises(TrainingError) as caught:
        executed(scene.guarded(*strict, output_dir=str(out)))
    says = str(caught.value)
    assert "2 guards failed, and nothing was written to output_dir" in says and "on_drop: warn" in says
    assert re.search(r"- tagger: accuracy was \S+ before .* max_drop allows 0$", says, re.MULTILINE)
    assert f"(worse by {drop:.4g}); max_drop allows 0.001" in says
    assert not out.exists()
    warned = executed(scene.guarded(strict[0] | {"max_drop": 1}, strict[1] | {"on_drop": "warn"}, output_dir=str(out)))
    assert set(states(warned).values()) == {"cached"} and (out / "model.safetensors").is_file()
    record = json.loads(next((scene.folder / "store" / "runs").glob(f"{warned.run}.json")).read_text())
    assert [line for line in record["warnings"] if "held: loss was" in line and "allows 0.001" in line]


def test_another_guard_trains_and_measures_only_what_is_new(scene: Scene) -> None:
    more = scene.guarded(*scene.config["eval"]["guard"], {"model": scene.tagger, "name": "third", "metric": "f1"})
    _, context = plan(load(more))
    found = {(entry.of, entry.stage): entry.state for entry in context.entries}
    assert {stage for _, stage in found} >= GUARDS
    missing = {key for key, state in found.items() if state == "miss"}
    assert missing <= {("", "s11_save"), ("", "s12_handoff")}, "the same rows were measured for the first guard"
    fewer = executed(scene.guarded({"model": scene.tagger, "name": "only", "metric": "f1"}))
    assert {stage for stage, state in states(fewer).items() if state == "built"} == {"s11_save", "s12_handoff"}
    other = scene.guarded({"model": scene.tagger, "data": str(scene.held)}, train={**scene.config["train"], "seed": 3})
    del other["train"]["seed"]
    _, context = plan(load(other, ["train.learning_rate=0.01"]))
    found = {(entry.of, entry.stage): entry.state for entry in context.entries}
    assert found["tagger", "s07e_guarded"] == "hit" and found["", "s09_train"] == "miss"


@pytest.mark.parametrize("peft", ["none", pytest.param("lora", marks=pytest.mark.slow)])
def test_a_training_that_changes_nothing_drops_nothing(peft: str, scene: Scene) -> None:
    config = scene.guarded(*scene.config["eval"]["guard"], peft=peft)
    done = executed(config, "train.learning_rate=0.0", "train.max_steps=1")
    for name in ("tagger", "held"):
        assert done.metrics[f"guard_{name}_drop"] == 0
    assert done.metrics["guard_held_loss_before"] == scene.run.metrics["guard_held_loss_before"]


def test_the_perplexity_of_a_language_model_on_texts(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    texts = tmp_path / "held.txt"
    texts.write_text("".join(" ".join(WORDS[at : at + 3 + at % 5]) + "\n" for at in range(8)))
    config = short(make_task("sft", tmp_path)) | {"peft": "lora"}
    config["eval"] = {"samples": 0, "guard": {"data": str(texts), "task": "language-generation"}}
    config["train"]["max_steps"] = 2
    done = executed(config)
    base = AutoModelForCausalLM.from_pretrained(config["model"]["name"])
    expected = [math.exp(loss_of(model, done.tokenizer, texts)) for model in (base.eval(), done.model)]
    found = [done.metrics[f"guard_held_perplexity_{when}"] for when in ("before", "after")]
    assert found == pytest.approx(expected, rel=1e-4) and found[0] != found[1]
    assert done.metrics["guard_held_drop"] == pytest.approx(found[1] - found[0])


def loss_of(model: Any, tokenizer: Any, texts: Path) -> float:
    """The mean loss per token of all texts in one stream, as they are merged."""
    ids = [
        each
        for line in texts.read_text().splitlines()
        for each in [*tokenizer(line)["input_ids"], tokenizer.eos_token_id]
    ]
    total, tokens = 0.0, 0
    for start in range(0, len(ids), 64):
        block = torch.tensor([ids[start : start + 64]])
        with torch.no_grad():
            total += float(model(input_ids=block, labels=block).loss) * (block.shape[1] - 1)
        tokens += block.shape[1] - 1
    return total / tokens


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "guard", "says"),
    [
        ("sft", [{"data": "a/x.csv"}, {"data": "b/x.csv"}], "two guards have the name 'x'"),
        ("token-detection", "x.csv", "token-detection trains two models"),
        ("sft", {"data": "x", "task": "ners"}, r"eval.guard\[0\].task: 'ners' is not a task.*did you mean 'ner'"),
        ("sft", {"data": "x", "task": "grpo"}, r"eval.guard\[0\].task: grpo has no right answers.*task: sft"),
        ("sft", {"data": "x", "task": "ppo"}, r"eval.guard\[0\].task: ppo has no right answers"),
        ("sft", {"data": "x", "task": "dpo"}, r"eval.guard\[0\].task: dpo compares a model with itself"),
        ("sft", {"data": "x", "task": "token-detection"}, "token-detection trains two models at once"),
        ("sft", {"data": "x", "task": "ner", "metric": "f2"}, "has no metric 'f2'; valid are f1, precision"),
        ("sft", {"data": "x", "task": "sft", "metric": "exact_match"}, "exact_match needs generated texts"),
        ("sft", {"data": "x", "on_drop": "warn"}, "on_drop: warn given without max_drop"),
        ("sft", {"data": "x", "name": "a b"}, r"eval.guard\[0\].name: 'a b' given; valid: letters"),
        ("sft", {"data": "x", "max_drop": -1}, r"eval.guard\[0\].max_drop: -1 given"),
        ("sft", {"data": "x", "modle": "y"}, r"eval.guard\[0\].modle: unknown name; did you mean model"),
    ],
)
def test_what_the_config_alone_says(task: str, guard: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        resolve(load({"model": "m", "data": "d", "task": task, "eval": {"guard": guard}}).config, {})


@pytest.fixture
def odd(scene: Scene, tmp_path: Path) -> dict[str, str]:
    """Models that do not fit: another tokenizer, another size, other classes, and the base itself."""
    found = {"base": str(scene.folder / "bert")}
    for name, file, change in (
        ("wide", "config.json", {"hidden_size": 64}), ("classes", "config.json", {"id2label": {"0": "O", "1": "B-X"}}),
    ):  # fmt: skip
        shutil.copytree(scene.tagger, tmp_path / name)
        path = tmp_path / name / file
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        found[name] = str(tmp_path / name)
    shutil.copytree(scene.tagger, tmp_path / "tokens")
    path = tmp_path / "tokens" / "tokenizer.json"
    path.write_text(path.read_text().replace('"fruit"', '"stone"'))
    return found | {"tokens": str(tmp_path / "tokens")}


@pytest.mark.parametrize(
    ("guard", "says"),
    [
        ({"model": "{base}"}, r"eval.guard\[0\].model: .*bert' has no config.resolved.yaml.*give the task too"),
        ({"model": "{base}", "data": "{held}", "task": "ner"}, r"bert' has other classes than the rows: it lacks"),
        (
            {"model": "nowhere/at/all", "data": "{held}", "task": "ner"},
            r"eval.guard\[0\].model: there is no folder",
        ),
        ({"model": "{tagger}", "data": "lost.jsonl"}, r"eval.guard\[0\] \(tagger\): data.train: no file or folder"),
        ({"model": "{tagger}", "metric": "accuraccy"}, r"no metric 'accuraccy'; .*did you mean 'accuracy'"),
        ({"model": "{tokens}"}, r"eval.guard\[0\].model: .*tokens' has another tokenizer than .*one base"),
        (
            {"model": "{wide}"},
            r"eval.guard\[0\].model: .*wide' has the hidden_size 64, and the model that is trained 32",
        ),
        ({"model": "{classes}"}, r"eval.guard\[0\].model: .*classes' has other classes than the rows: it lacks"),
        ({"model": "{tagger}", "data": {"train": "{held}", "split": {"validation": 0}}}, "neither test nor validation"),
        ({"model": "{tagger}", "task": "text-classification"}, r"eval.guard\[0\].*"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_plan(
    guard: dict[str, Any], says: str, scene: Scene, odd: dict[str, str]
) -> None:
    names = odd | {"held": str(scene.held), "tagger": scene.tagger}
    text = json.dumps(guard)
    for name, path in names.items():
        text = text.replace(f"{{{name}}}", path)
    with pytest.raises((ConfigError, DataError), match=says):
        plan(load(scene.guarded(json.loads(text))))


def test_a_plan_lists_the_stages(scene: Scene, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(scene.config))
    assert main(["plan", str(config)]) == 0
    said = capsys.readouterr().out
    assert all(stage in said for stage in MEASURING) and "tagger: hit" in said
    assert "before and after training: accuracy of tagger is measured" in " ".join(said.split())


# -- other tasks ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "task", ["text-classification", "multi-label", "regression", "question-answering", "language-modeling"]
)
@pytest.mark.parametrize("peft", ["none", "lora"])
def test_every_task_of_an_encoder(task: str, peft: str, tmp_path: Path) -> None:
    old = executed(short(make_task(task, tmp_path), tmp_path / "old", max_steps=6))
    config = short(make_task("token-classification", tmp_path)) | {"model": {"name": str(tmp_path / "old")}}
    main = next(name for name in objective_of(old.arguments["task"]).metric_names if f"test_{name}" in old.metrics)
    metrics = {"old": "loss", "main": main}
    guards = [{"model": str(tmp_path / "old"), "name": name, "metric": metric} for name, metric in metrics.items()]
    config |= {"peft": peft, "eval": {"guard": guards}}
    done = executed(config)
    for name, metric in metrics.items():
        assert done.metrics[f"guard_{name}_{metric}_before"] == pytest.approx(old.metrics[f"test_{metric}"], rel=1e-5)
    assert done.metrics["guard_old_loss_after"] != done.metrics["guard_old_loss_before"]
    still = executed(config, "train.learning_rate=0.0")
    assert still.metrics["guard_old_drop"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("task", ["sft", "language-generation", "reward", "sequence-sequence"])
def test_every_other_task(task: str, tmp_path: Path) -> None:
    old = executed(short(make_task(task, tmp_path), tmp_path / "old", max_steps=6))
    config = short(make_task({"reward": "sft"}.get(task, task), tmp_path)) | {"model": {"name": str(tmp_path / "old")}}
    config["eval"] = {"guard": [{"model": str(tmp_path / "old"), "metric": "loss"}]}
    done = executed(config)
    assert done.metrics["guard_old_loss_before"] == pytest.approx(old.metrics["test_loss"], rel=1e-5)
    assert done.metrics["guard_old_loss_after"] != done.metrics["guard_old_loss_before"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["single", "multi-label", "token-classification"])
def test_rows_with_only_some_of_the_classes(kind: str, tmp_path: Path) -> None:
    task = {"single": "text-classification"}.get(kind, kind)
    executed(short(make_task(task, tmp_path), tmp_path / "old", max_steps=10))
    rows = [json.loads(line) for line in make_task_rows(tmp_path / "all.jsonl", kind, 30).read_text().splitlines()]
    some = [row for row in rows if "fruit" not in json.dumps(row).lower()]
    for name, kept in (("some", some), ("whole", rows)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    config = short(make_task("regression", tmp_path)) | {"model": {"name": str(tmp_path / "old")}}
    guard = {"model": str(tmp_path / "old"), "metric": "loss"}
    config["eval"] = {
        "guard": [guard | {"name": name, "data": str(tmp_path / f"{name}.jsonl")} for name in ("some", "whole")]
    }
    found = executed(config).metrics
    from flows.inference import evaluate  # the same rows by the way of `finetune evaluate`

    direct = evaluate(str(tmp_path / "old"), str(tmp_path / "some.jsonl")).metrics
    assert found["guard_some_loss_before"] == pytest.approx(direct["loss"], rel=1e-4)
    assert found["guard_some_loss_before"] != found["guard_whole_loss_before"]
