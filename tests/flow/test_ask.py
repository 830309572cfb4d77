"""A finished model is asked and measured, from the command line, with rows of every source."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cli import main
from tasks.config import RunConfig
from tasks.data.rows.readable import STARTS, readable
from tasks.data.tables.arrow_file import open_table
from tasks.execution.execute import execute
from tests.tiny import make_config, make_task


@pytest.fixture(scope="module")
def model(bert: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from flows.pipeline import pipeline

    folder = tmp_path_factory.mktemp("asked")
    config = make_config(bert, rows, folder / "store", output_dir=str(folder / "model"), train__max_steps=8)
    execute(RunConfig.model_validate(config), pipeline)
    return folder / "model"


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    path = tmp_path / "asked.csv"
    path.write_text("id,text\n1,balen fruit koral\n2,metal dumos\n")
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "arrow"])
def test_every_format(suffix: str, model: Path, asked: Path, tmp_path: Path) -> None:
    out = tmp_path / f"said.{suffix}"
    assert main(["predict", str(model), str(asked), "-o", str(out)]) == 0
    if suffix == "jsonl":
        found = [json.loads(line) for line in out.read_text().splitlines()]
    elif suffix == "csv":
        with out.open() as file:
            found = list(csv.DictReader(file))
    else:
        found = (pq.read_table(out) if suffix == "parquet" else open_table(out)).to_pylist()
    assert [str(row["id"]) for row in found] == ["1", "2"]
    assert all(row["prediction"] in ("fruit", "metal", "river") for row in found)
    for row in found:
        chances = {name: float(row[f"probability_{name}"]) for name in ("fruit", "metal", "river")}
        assert sum(chances.values()) == pytest.approx(1, abs=1e-5)
        assert float(row["score"]) == pytest.approx(max(chances.values())) == pytest.approx(chances[row["prediction"]])


def test_lines_on_stdout(model: Path, asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(model), str(asked)]) == 0
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == ["1", "2"]


def test_a_column_of_another_name(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "asked.jsonl"
    path.write_text('{"prose": "balen fruit"}\n')
    assert main(["predict", str(model), str(path)]) == 3
    assert "data.columns.text" in capsys.readouterr().err
    assert main(["predict", str(model), str(path), "data.columns.text=prose"]) == 0


def test_measured(model: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(model), str(rows), "--json", "-o", str(tmp_path / "said.parquet")]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["rows"] == 96 and 0 <= found["metrics"]["accuracy"] <= 1
    assert found["intervals"]["accuracy"][0] <= found["metrics"]["accuracy"] <= found["intervals"]["accuracy"][1]
    assert list(found["metrics"]) == sorted(found["metrics"])
    assert list(found["classes"]["scores"]) == ["fruit", "metal", "river"]
    table = pq.read_table(tmp_path / "said.parquet")
    chance = np.stack([table[f"probability_{name}"].to_numpy() for name in ("fruit", "metal", "river")], axis=1)
    at = [["fruit", "metal", "river"].index(label) for label in table["label"].to_pylist()]
    assert found["metrics"]["loss"] == pytest.approx(-np.log(chance[np.arange(96), at]).mean(), rel=1e-4)
    right = sum(a == b for a, b in zip(table["label"].to_pylist(), table["prediction"].to_pylist(), strict=True))
    assert right / 96 == pytest.approx(found["metrics"]["accuracy"])


def test_a_model_from_elsewhere(model: Path, asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    folder = shutil.copytree(model, tmp_path / "elsewhere")
    (folder / "inference.json").unlink()
    assert main(["predict", str(folder), str(asked)]) == 2
    assert "--task" in capsys.readouterr().err
    assert main(["predict", str(folder), str(asked), "--task", "sentiment-analysis"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["prediction"] in ("fruit", "metal", "river")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["{model}", "gone.csv"], 3, "INPUT: no file or folder 'gone.csv'"),
        (["no/such/model", "{asked}"], 2, "MODEL: 'no/such/model' is not a folder"),
        (["{model}", "{asked}", "-o", "said.txt"], 2, "--output: 'said.txt' must end in one of"),
        (["{model}", "{asked}", "-o", "no/such/said.csv"], 2, "--output: the folder 'no/such' does not exist"),
        (["{model}", "{asked}", "train.learning_rate=1"], 2, "train.learning_rate: has no effect on predictions"),
        (["{model}", "{asked}", "--task", "regression"], 2, "was trained for text-classification"),
    ],
)
def test_mistakes(
    words: list[str], code: int, says: str, model: Path, asked: Path, capsys: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert main(["predict", *(word.format(model=model, asked=asked) for word in words)]) == code
    assert says in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_a_label_the_model_does_not_know(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\nbalen,fruit\nkoral,frut\n")
    assert main(["evaluate", str(model), str(path)]) == 3
    assert "rows.csv:3" in (said := capsys.readouterr().err) and "did you mean 'fruit'" in said
    assert main(["predict", str(model), str(path)]) == 0


def test_questions_without_an_answer(tmp_path: Path) -> None:
    from flows.pipeline import pipeline

    config = make_task("question-answering", tmp_path) | {"output_dir": str(tmp_path / "model")}
    path = Path(config["data"]["train"])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows[::3]:
        row["answers"] = {"text": [], "answer_start": []}
    path.write_text("\n".join(map(json.dumps, rows)))
    done = execute(RunConfig.model_validate(config), pipeline)
    assert done._open("s04_prepare").json("head.json")["no_answer"] is True
    assert {"test_has_answer_f1", "test_no_answer_exact_match"} <= set(done.metrics)
    out = tmp_path / "said.jsonl"
    assert main(["predict", str(tmp_path / "model"), str(path), "-o", str(out)]) == 0
    said = [json.loads(line) for line in out.read_text().splitlines()]
    assert all(row["prediction"] == "" or row["prediction"] in row["context"] for row in said)


def test_masks_are_filled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from flows.pipeline import pipeline

    config = make_task("language-modeling", tmp_path) | {"output_dir": str(tmp_path / "model")}
    execute(RunConfig.model_validate(config), pipeline)
    path = tmp_path / "asked.jsonl"
    path.write_text('{"text": "balen [MASK] koral [MASK]"}\n{"text": "balen"}\n')
    assert main(["predict", str(tmp_path / "model"), str(path)]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines()[-2:])
    assert len(first["prediction"]) == 2 and len(first["candidates"][0]) == 5
    assert second["prediction"] == []


def test_tags_of_plain_text_come_with_words_and_entities(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from flows.pipeline import pipeline

    config = make_task("token-classification", tmp_path) | {"output_dir": str(tmp_path / "model")}
    execute(RunConfig.model_validate(config), pipeline)
    path = tmp_path / "asked.jsonl"
    text = "balen  fruit, koral"
    path.write_text(json.dumps({"text": text}) + "\n" + json.dumps({"text": "metal"}))
    assert main(["predict", str(tmp_path / "model"), str(path)]) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[0])
    assert row["words"] == ["balen", "fruit", ",", "koral"] and len(row["prediction"]) == 4
    assert all(row["text"][each["start"] : each["end"]].split() == each["text"].split() for each in row["entities"])
    rows = [{"sentence_id": at // 2, "word": word} for at, word in enumerate(["balen", "fruit", "\u200b", "koral"])]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert main(["predict", str(tmp_path / "model"), str(path)]) == 0
    told = capsys.readouterr()
    assert [len(json.loads(line)["prediction"]) for line in told.out.splitlines()] == [2, 2]
    assert "note: INPUT: 4 rows of one word each are read as 2 sentences, by column 'sentence_id'" in told.err
    assert "note: INPUT: 1 word for which the tokenizer has no tokens" in told.err


def test_entities_are_grouped_by_their_tags() -> None:
    rows = pa.table({"tokens": [["EU", "New", "York", "x"]], STARTS: [[2, 6, 10, 15]]})
    tags = ["B-ORG", "B-LOC", "I-LOC", "O"]
    predictions = pa.table({"__origin": [0], "prediction": [tags], "__places": [[0, 1, 2, 3]]})
    (found,) = readable(predictions, rows, {"labels": sorted(set(tags))}).to_pylist()
    assert found["words"] == ["EU", "New", "York", "x"]
    assert [tuple(each.values()) for each in found["entities"]] == [(2, 4, "ORG", "EU"), (6, 14, "LOC", "New York")]
    (given,) = readable(predictions, rows.drop_columns([STARTS]), {"labels": sorted(set(tags))}).to_pylist()
    assert given["entities"][1] == {"start": 3, "end": 11, "label": "LOC", "text": "New York"}
    (plain,) = readable(predictions, rows, {"labels": ["NOUN", "VERB"]}).to_pylist()
    assert "entities" not in plain


def test_columns_with_the_names_of_predictions_are_kept(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text,score,prediction,input_score\nbalen fruit koral,5,old,x\n")
    out = tmp_path / "out.jsonl"
    assert main(["predict", str(model), str(rows), "-o", str(out)]) == 0
    row = json.loads(out.read_text())
    assert row["input_input_score"] == "5" and row["input_prediction"] == "old" and row["input_score"] == "x"
    assert row["prediction"] in ("fruit", "metal", "river") and isinstance(row["score"], float)
    assert "its column 'score' is written as 'input_input_score'" in capsys.readouterr().err
