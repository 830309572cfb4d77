"""What a column is for decides what its values are: a file without types says nothing else than one that has them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.config import DataConfig
from tasks.config.errors import DataError
from tasks.config.sections.data import SplitConfig
from tasks.data.curation.divide import divide
from tasks.data.sources.locate import Source
from tasks.data.sources.read import read
from tasks.objectives import objective_of


def prepared(tmp_path: Path, task: str, files: dict[str, str], **data: Any) -> Any:
    tables = {}
    for name, text in files.items():
        path = tmp_path / name
        path.write_text(text)
        tables[path.stem] = read([Source(path, name)], field=f"data.{path.stem}").table
    objective = objective_of(task)
    config = DataConfig.model_validate({"train": "train", "split": {"validation": 0.0}, "leakage": "off", **data})
    return objective.component("prepare")(tables, config, objective.roles)


def csv(*labels: str) -> str:
    return "text,label\n" + "".join(f"{at},{label}\n" for at, label in enumerate(labels))


def jsonl(*labels: Any) -> str:
    return "".join(json.dumps({"text": f"t{at}", "label": label}) + "\n" for at, label in enumerate(labels))


WRITTEN = {
    "train.csv": (csv("1.0", "2", "10"), csv("1", "2", "10"), csv("1.", "2.00", "10")),
    "train.jsonl": (jsonl(1, 2, 10), jsonl(1.0, 2.0, 10.0), jsonl("1", "2.0", "10"), jsonl("1", "2", "10")),
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in WRITTEN.items() for text in texts])
def test_classes_have_one_name_however_they_are_written(name: str, text: str, tmp_path: Path) -> None:
    for other, more in {"validation.csv": csv("10.0", "1"), "validation.jsonl": jsonl(10, 1.0)}.items():
        for given in (None, [10, 2.0, "1"]):
            found = prepared(tmp_path, "text-classification", {name: text, other: more}, labels=given)
            names = [label.removesuffix(".0") for label in found.head["labels"]]
            assert names == (["10", "2", "1"] if given else ["1", "2", "10"])
            assert [names[at] for at in found.splits["validation"]["label"].to_pylist()] == ["10", "1"]


def test_a_validation_that_looks_like_numbers_has_the_names_of_train(tmp_path: Path) -> None:
    files = {"train.csv": csv("01", "10", "x"), "validation.csv": csv("10", "01")}
    assert prepared(tmp_path, "text-classification", files).splits["validation"]["label"].to_pylist() == [1, 0]
    with pytest.raises(DataError, match=r"does not have: '1' .*validation.csv:3"):
        prepared(tmp_path, "text-classification", {**files, "validation.csv": csv("10", "1")})


@pytest.mark.parametrize("written", [csv("True", "False"), csv("TRUE", "FALSE"), jsonl(True, False)])
def test_booleans_are_the_same_classes_however_they_are_written(written: str, tmp_path: Path) -> None:
    name = "train.csv" if written.startswith("text") else "train.jsonl"
    for more, other in ((csv("True", "False"), "validation.csv"), (jsonl(True, False), "validation.jsonl")):
        for labels in (None, [False, True]):
            found = prepared(tmp_path, "text-classification", {name: written, other: more}, labels=labels)
            assert found.splits["validation"]["label"].to_pylist() == [1, 0]


def test_numbers_with_a_fraction_are_scores_unless_they_are_listed_as_classes(tmp_path: Path) -> None:
    files = {"train.csv": csv("1.5", "2.0", "2.5")}
    assert prepared(tmp_path, "text-classification", files).head["problem_type"] == "regression"
    found = prepared(tmp_path, "text-classification", files, labels=["1.5", 2, "2.5"])
    assert found.splits["train"]["label"].to_pylist() == [0, 1, 2]
    with pytest.raises(DataError, match=r"label is not a number \(such as '2,5'\): train.csv:3"):
        prepared(tmp_path, "regression", {"train.csv": csv("1.5", '"2,5"')})


def test_texts_of_digits_are_texts(tmp_path: Path) -> None:
    table = prepared(tmp_path, "text-classification", {"train.csv": csv("a", "b")}).splits["train"]
    assert table["text"].to_pylist() == ["0", "1"]


def test_flags_of_a_class_each_may_be_written_as_booleans(tmp_path: Path) -> None:
    text = "text,good,bad\nx,True,0\ny,FALSE,1\n"
    found = prepared(tmp_path, "text-classification", {"train.csv": text}, columns={"label": ["good", "bad"]})
    assert found.splits["train"]["label"].to_pylist() == [[1.0, 0.0], [0.0, 1.0]]
    with pytest.raises(DataError, match=r"1 row whose 'good' is neither 0 nor 1: train.csv:3"):
        prepared(tmp_path, "text-classification", {"train.csv": text.replace("FALSE", "no")},
                 columns={"label": ["good", "bad"]})  # fmt: skip


def test_numbers_of_a_file_without_types_are_times_in_their_order(rows: Any) -> None:
    table = rows("text,at\n" + "".join(f"t{at},{at}\n" for at in (9, 100, 20, 3)))
    parts = divide(table, None, SplitConfig(time="at"), 0.25, 0.25, ["text"])
    assert parts["test"]["text"].to_pylist() == ["t100"]
    with pytest.raises(DataError, match=r"data.split.time: 1 row without a value in 'at': a.csv:3"):
        divide(rows("text,at\na,1\nb,\n"), None, SplitConfig(time="at"), 0.5, 0.0, ["text"])
