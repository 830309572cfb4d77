"""Several labels written as one text: split where it is beyond doubt, else asked about; never class names unsaid."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from tasks.config import DataConfig
from tasks.config.errors import DataError
from tasks.data.rows.prepare import Prepared
from tasks.data.rows.text_lists import value_of
from tasks.objectives import objective_of

TASK = objective_of("text-classification")


def table(labels: Sequence[Any]) -> pa.Table:
    places = range(2, len(labels) + 2)
    texts = [f"text {at}" for at in places]
    return pa.table({"text": texts, "label": labels, "__file": ["a.csv"] * len(labels), "__row": pa.array(places)})


def prepared(given: Sequence[Any], validation: Sequence[Any] | None = None, **data: Any) -> Prepared:
    tables = {"train": table(given)} | ({"validation": table(validation)} if validation else {})
    config = DataConfig.model_validate({"train": "a.csv", "split": {"validation": 0.0}, "leakage": "off", **data})
    return TASK.part("prepare")(tables, config, TASK.roles)


def said(found: Prepared, split: str = "train") -> list[Any]:
    """For each row the classes it has (of one class a row, its name)."""
    names = found.head["labels"]
    coded = found.splits[split]["label"].to_pylist()
    return [{n for n, hot in zip(names, row, strict=True) if hot} if isinstance(row, list) else names[row]
            for row in coded]  # fmt: skip


@pytest.mark.parametrize("separator", [",", ", ", ";", "|", " ; "])
def test_joined_names_are_split_whatever_their_order(separator: str) -> None:
    pairs = [("red", "green"), ("green", "red"), ("blue",), ("green", "blue")]
    found = prepared([separator.join(pair) for pair in pairs])
    assert found.head["labels"] == ["blue", "green", "red"]
    assert said(found) == [set(pair) for pair in pairs]
    assert "several names joined by" in found.warnings[0] and "data.label_separator" in found.warnings[0]


@pytest.mark.parametrize(
    "written",
    [
        ['["red", "green"]', '["blue"]', "[]"],
        ["['red', 'green']", "['blue']", "[]"],
        ["['red' 'green']", "['blue']", "[]"],
        ["[red, green]", "[blue]", "[]"],
        ["('red', 'green')", "('blue',)", "()"],
    ],
)
def test_lists_as_text_are_lists(written: list[str]) -> None:
    found = prepared(written)
    assert said(found) == [{"red", "green"}, {"blue"}, set()]
    assert "lists written as text" in found.warnings[0]


@pytest.mark.parametrize(
    "written", [["[1, 0, 0]", "[0, 1, 1]"], ["[1. 0. 0.]", "[0. 1. 1.]"], ["1 0 0", "0 1 1"], ["1,0,0", "0,1,1"]]
)
def test_zeros_and_ones_as_text_are_a_flag_a_class(written: list[str]) -> None:
    assert said(prepared(written, labels=["a", "b", "c"])) == [{"a"}, {"b", "c"}]


def test_lists_of_class_numbers_are_names() -> None:
    assert said(prepared(["[2, 10]", "[2]"])) == [{"2", "10"}, {"2"}]


@pytest.mark.parametrize("labels", [["New York, NY", "Albany, NY", "Boston"], ["Sports", "Sports, Water", "Art"]])
def test_in_doubt_the_run_stops_and_names_the_setting(labels: list[str]) -> None:
    with pytest.raises(DataError, match=r"one name each; set data\.label_separator: ','"):
        prepared(labels)
    assert prepared(labels, label_separator="none").head["labels"] == sorted(labels)
    assert prepared(labels, label_separator=",").head["problem_type"] == "multi_label_classification"


def test_a_decimal_comma_is_not_split() -> None:
    with pytest.raises(DataError, match="numbers with a decimal comma"):
        prepared(["0,5", "5,0", "5,5", "0,0"])


def test_names_with_commas_that_share_nothing_stay_names_which_is_said() -> None:
    found = prepared(["good", "bad, very"] * 2)
    assert said(found)[:2] == ["good", "bad, very"]
    assert any("taken as one name each" in line and "label_separator" in line for line in found.warnings)


def test_listed_classes_settle_what_a_text_is() -> None:
    assert said(prepared(["a,b", "c"], labels=["a,b", "c"])) == ["a,b", "c"]
    assert said(prepared(["a,b", "c"], labels=["a", "b", "c"])) == [{"a", "b"}, {"c"}]


def test_lists_beside_other_texts_are_refused_with_their_rows() -> None:
    with pytest.raises(DataError, match=r"1 row whose 'label' is not a flat list.*: a.csv:2"):
        prepared(["red", "[1, 0]", "[0, 1]"])


def test_names_in_brackets_are_names() -> None:
    assert prepared(["[POS]", "[NEG]"]).head["labels"] == ["[NEG]", "[POS]"]


def test_every_split_is_split_alike_and_so_are_rows_a_finished_model_is_asked_about() -> None:
    found = prepared(["red,green", "green", "red"], validation=["green,red", "red", "green"])
    assert said(found, "validation") == [{"red", "green"}, {"red"}, {"green"}]
    head = json.loads(json.dumps(found.head))
    data = DataConfig(train="b.csv")
    rows, _ = TASK.part("unseen")(table(["green, red", "red"]), data, TASK.roles, head, "INPUT", True)
    assert rows["label"].to_pylist() == [[1.0, 1.0], [0.0, 1.0]]
    flags = prepared([[1, 0], [0, 1]], labels=["red", "green"]).head
    rows, _ = TASK.part("unseen")(table(["[1, 1]", "[0, 1]"]), data, TASK.roles, flags, "INPUT", True)
    assert rows["label"].to_pylist() == [[1.0, 1.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("text", "value"),
    [("", None), ("a", "a"), (":)", ":)"), ("(a)", "(a)"), ("[]", []), ('["a b"]', ["a b"]),
     ("['it', \"'s\"]", ["it", "'s"]), ("{'b', 'a'}", ["a", "b"]), ("[" * 5000 + "]" * 5000, None)],
)  # fmt: skip
def test_what_a_text_in_brackets_stands_for(text: str, value: Any) -> None:
    found = value_of(text)
    assert found == value if value is not None or not text else isinstance(found, str | list)
