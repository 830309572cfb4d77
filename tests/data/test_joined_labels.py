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
    return TASK.component("prepare")(tables, config, TASK.roles)


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
        ["array(['red', 'green'], dtype=object)", "array(['blue'])", "array([])"],
        ["[np.str_('red'), np.str_('green')]", "[np.str_('blue')]", "[]"],
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
    assert any("read as one name each" in line and "label_separator" in line for line in found.warnings)


def test_listed_classes_settle_what_a_text_is() -> None:
    assert said(prepared(["a,b", "c"], labels=["a,b", "c"])) == ["a,b", "c"]
    assert said(prepared(["a,b", "c"], labels=["a", "b", "c"])) == [{"a", "b"}, {"c"}]


@pytest.mark.parametrize("separator", ["/", "+", "&", "\t", "\n", ":", " / ", "#", "\\", "、"])
def test_names_joined_at_other_punctuation_are_refused_where_their_parts_are_classes(separator: str) -> None:
    labels = [f"red{separator}green", "red", "green", "blue"]
    with pytest.raises(DataError, match=r"may be several names joined by .* or one name each; set data"):
        prepared(labels)
    assert said(prepared(labels, label_separator="none")) == labels
    assert said(prepared(labels, label_separator=separator.strip(" ")))[:2] == [{"red", "green"}, {"red"}]


@pytest.mark.parametrize("separator", [" ", "-", "_", "."])
def test_names_joined_by_what_names_hold_too_are_warned_of_and_refused_if_all_are(separator: str) -> None:
    labels = ["red", "wine", f"red{separator}wine", f"white{separator}wine"]
    found = prepared(labels)
    assert said(found) == labels
    assert any(f"data.label_separator: '{separator}' splits them" in line for line in found.warnings)
    with pytest.raises(DataError, match="may be several names joined by"):
        prepared([*labels, "white"])


def test_names_joined_in_any_order_are_warned_of() -> None:
    found = prepared(["red/green", "green/blue", "blue"])
    assert any("'green/blue': labels with '/' in them are read as one name" in line for line in found.warnings)


@pytest.mark.parametrize(
    "labels",
    [
        ["comp.sys.ibm", "comp.sys.mac", "sci.med"],
        ["New York", "New Jersey", "Boston"],
        ["R&B", "Rock & Roll", "Jazz"],
        ["C++", "C", "C#"],
        ["neg/neu", "pos"],
        ["play music", "play movie", "stop music", "stop movie"],
        ["music/play", "music/stop", "alarm/play", "alarm/stop", "music"],
        ["1.5", "1", "5", "x"],
        ["-1", "1", "0"],
        ["18-25", "25-35", "35-50"],
        ["can't", "cannot"],
    ],
)
def test_names_of_one_class_are_left_alone(labels: list[str]) -> None:
    found = prepared(labels)
    assert said(found) == labels
    assert not any("label_separator" in line for line in found.warnings)


@pytest.mark.parametrize("labels", [["a,b", "c;a", "b", "c"], ["a,b;c", "a", "b", "c"], ["a|b", "b;a", "a"]])
def test_mixed_separators_are_refused(labels: list[str]) -> None:
    with pytest.raises(DataError, match=r"are joined by '.' and '.'; use one separator"):
        prepared(labels)
    with pytest.raises(DataError, match=r"are joined by '.' and '.'; use one separator"):
        prepared(labels, labels=["a", "b", "c"])


def test_a_separator_that_is_set_leaves_a_warning_about_another() -> None:
    found = prepared(["a,b", "c/a", "b", "c", "a"], label_separator=",")
    assert any("'c/a': labels with '/' in them" in line for line in found.warnings)
    with pytest.raises(DataError, match="joined by '/'"):
        prepared(["a,b", "c/a", "b", "c", "a"])


def test_joined_names_within_lists_are_warned_of() -> None:
    found = prepared([["a,b"], ["a", "b"]])
    assert any("'a,b': labels with ',' in them" in line for line in found.warnings)


@pytest.mark.parametrize("separator", [",", ";", "/", "+", ":", "\t", "_"])
def test_a_misspelt_part_of_joined_labels_is_named_with_the_nearest_class(separator: str) -> None:
    labels = [separator.join(pair) for pair in (("red", "grene"), ("red", "blue"))] + ["blue", "green"]
    with pytest.raises(DataError, match=r"does not list: 'grene' \(1 row; did you mean 'green'\?\); at a.csv:2$"):
        prepared(labels, labels=["red", "green", "blue"])


@pytest.mark.parametrize("separator", ["/", " ", "+", "-"])
def test_listed_classes_are_found_between_any_separators(separator: str) -> None:
    labels = [f"red{separator}green", "blue", "+1"]
    assert said(prepared(labels, labels=["red", "green", "blue", "1"])) == [{"red", "green"}, {"blue"}, {"1"}]


@pytest.mark.parametrize("labels", [["101", "010", "110"], ["01", "10"]])
def test_flags_without_separators_are_refused(labels: list[str]) -> None:
    with pytest.raises(DataError, match=r"may be a 0 or 1 for each class.*data.label_separator: none"):
        prepared(labels)
    assert sorted(prepared(labels, label_separator="none").head["labels"]) == sorted(labels)
    with pytest.raises(DataError, match="may be a 0 or 1 for each class"):
        prepared(labels, labels=["a", "b", "c"][: len(labels[0])])


@pytest.mark.parametrize("labels", [["101", "10", "1"], [101, 10, 1]])
def test_flags_that_lost_their_zeros_are_warned_of(labels: list[Any]) -> None:
    assert any("labels of the digits 0 and 1 are read as one name" in line for line in prepared(labels).warnings)


@pytest.mark.parametrize(("separator", "zero", "one"), [("\t", "0", "1"), ("/", "0", "1"), (" ", "0.0", "1.0"),
                                                         (",", "False", "True"), ("-", "0.", "1.")])  # fmt: skip
def test_flags_are_read_however_they_are_written(separator: str, zero: str, one: str) -> None:
    labels = [separator.join([one, zero, zero]), separator.join([zero, one, one])]
    assert said(prepared(labels, labels=["a", "b", "c"])) == [{"a"}, {"b", "c"}]


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
    rows, _ = TASK.component("inference_rows")(table(["green, red", "red"]), data, TASK.roles, head, "INPUT", True)
    assert rows["label"].to_pylist() == [[1.0, 1.0], [0.0, 1.0]]
    flags = prepared([[1, 0], [0, 1]], labels=["red", "green"]).head
    rows, _ = TASK.component("inference_rows")(table(["[1, 1]", "[0, 1]"]), data, TASK.roles, flags, "INPUT", True)
    assert rows["label"].to_pylist() == [[1.0, 1.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("text", "value"),
    [("", None), ("a", "a"), (":)", ":)"), ("(a)", "(a)"), ("[]", []), ('["a b"]', ["a b"]),
     ("['it', \"'s\"]", ["it", "'s"]), ("{'b', 'a'}", ["a", "b"]), ("[" * 5000 + "]" * 5000, None)],
)  # fmt: skip
def test_what_a_text_in_brackets_stands_for(text: str, value: Any) -> None:
    found = value_of(text)
    assert found == value if value is not None or not text else isinstance(found, str | list)


@pytest.mark.parametrize("written", ["[1, 0, nan]", "[1, 0, NaN]", "[1, None, 0]", "[1, null, 0]", "[1. 0. nan]"])
def test_a_missing_value_in_a_list_as_text_is_refused_with_its_row(written: str) -> None:
    with pytest.raises(DataError, match=r"1 row with a null among their labels: a.csv:3"):
        prepared(["[1, 0, 1]", written])


@pytest.mark.parametrize("written", ["[0 0 0 ... 0 0 1]", "[0, 0, ..., 1]", "tensor([0, 0,  ..., 1])", "['a' ... 'b']"])
@pytest.mark.parametrize("others", [["[0 0 1]"], []])
def test_an_array_printed_without_all_of_its_values_is_refused(written: str, others: list[str]) -> None:
    with pytest.raises(DataError, match=r"1 row whose 'label' is an array printed with '...'.*tolist.*: a.csv:2"):
        prepared([written, *others])


def test_dots_in_a_quoted_name_are_no_left_out_values() -> None:
    assert said(prepared(['["so ... what", "b"]', '["b"]'])) == [{"so ... what", "b"}, {"b"}]


def test_numbers_that_cannot_be_read_are_refused_with_their_row() -> None:
    with pytest.raises(DataError, match=r"1 row whose 'label' is not a flat list.*: a.csv:3"):
        prepared(["[1 2]", "[1.2.3 4]"])


@pytest.mark.parametrize(
    "labels", [["yes", "no", "nan"], [["yes", "no"], ["nan"]], ["yes,no", "no,None", "yes", "None"]]
)
def test_a_class_name_that_looks_like_a_missing_value_is_warned_of(labels: list[Any]) -> None:
    assert any("is read as a class name; if it means a missing label" in line for line in prepared(labels).warnings)


@pytest.mark.parametrize(("given", "ids"), [([1, 1], [1, 1]), ([1, -1], [1, 0]), (["1.0", "-1"], [1, 0])])
def test_numbers_match_signed_names_before_they_are_taken_for_ids(given: list[Any], ids: list[int]) -> None:
    head = prepared(["+1", "-1"]).head
    rows, _ = TASK.component("inference_rows")(table(given), DataConfig(train="b.csv"), TASK.roles, head, "INPUT", True)
    assert rows["label"].to_pylist() == ids


@pytest.mark.parametrize(
    "labels",
    [["0 1", "1 2", "3"], ["0 2", "1", "2"], ["haze primary", "clear primary", "agriculture clear primary water"]],
)
def test_names_joined_by_spaces_are_reported_where_they_look_so(labels: list[str]) -> None:
    found = prepared(labels)
    assert found.head["labels"] == sorted(labels)
    assert "data.label_separator: ' ' splits them" in found.warnings[0]
    assert not [line for line in prepared(labels, label_separator="none").warnings if "separator" in line]


@pytest.mark.parametrize(
    "labels", [["New York", "New Jersey", "Ohio"], ["very good", "good", "very bad", "bad"], ["2 stars", "3 stars"]]
)
def test_names_of_several_words_are_not(labels: list[str]) -> None:
    assert not [line for line in prepared(labels).warnings if "separator" in line]
