"""Labels to names to ids: order, kinds of values, and every wrong label with its row."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pytest

from tasks.config.errors import ConfigError, DataError
from tasks.data.rows.labels import encode_labels, label_names


def column(values: list[Any], kind: pa.DataType | None = None) -> pa.ChunkedArray:
    half = len(values) // 2
    whole = pa.array(values, kind)
    return pa.chunked_array([whole[:half], whole[half:]])


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["b", "a", "b", "Z"], ["Z", "a", "b"]),
        ([10, 9, 9, -1], ["-1", "9", "10"]),
        ([10.0, 9.0], ["9", "10"]),
        ([True, False], ["false", "true"]),
        (["10", "9"], ["9", "10"]),
        (["010", "9", "x"], ["010", "9", "x"]),
        (["10.0", "9."], ["9", "10"]),
    ],
)
def test_names_and_their_order(values: list[Any], names: list[str]) -> None:
    assert label_names(column(values)) == names
    ids = encode_labels(column(values), names)
    assert ids.type == pa.int64()
    assert [names[i] for i in ids.to_pylist()] == [
        str(int(v)) if isinstance(v, float) else str(v).lower() if isinstance(v, bool) else str(v).split(".")[0]
        for v in values
    ]


@pytest.mark.parametrize(
    ("values", "names", "ids"),
    [
        (["+1", "-1", "+1"], ["-1", "+1"], [1, 0, 1]),
        (["+1", "-1", "1", "+1.0"], ["-1", "1"], [1, 0, 1, 1]),
        (["1", "-1", "+1"], ["-1", "1"], [1, 0, 1]),
        (["-0", "0", "+0", "-0.0", "1"], ["0", "1"], [0, 0, 0, 0, 1]),
        ([-0.0, 1.0], ["0", "1"], [0, 1]),
        (["1.0", "1", "1.", "2"], ["1", "2"], [0, 0, 0, 1]),
        (["01", "1", "001"], ["001", "01", "1"], [1, 2, 0]),
        (["+01", "1"], ["+01", "1"], [0, 1]),
        (["1e0", "1", " 1"], [" 1", "1", "1e0"], [2, 1, 0]),
        (["TRUE", "True", "false"], ["TRUE", "false"], [0, 0, 1]),
        (["True", "true", "false"], ["false", "true"], [1, 1, 0]),
    ],
)
def test_texts_like_integers_and_booleans_have_one_rule(values: list[Any], names: list[str], ids: list[int]) -> None:
    assert label_names(column(values)) == label_names(column(values[::-1])) == names
    assert encode_labels(column(values), names).to_pylist() == ids
    assert label_names(column(values), names) == names


@pytest.mark.parametrize(
    ("given", "column_of_data", "ids"),
    [
        (["+1", "-1"], [1, -1], [0, 1]),
        (["1", "-1"], ["+1", "-1"], [0, 1]),
        (["0", "1"], ["-0", "1.0"], [0, 1]),
        (["1.0", "-0"], [1, 0], [0, 1]),
        (["True", "False"], [True, False], [0, 1]),
    ],
)
def test_listed_labels_match_by_the_same_rule(given: list[str], column_of_data: list[Any], ids: list[int]) -> None:
    names = label_names(column(column_of_data), given)
    assert encode_labels(column(column_of_data), names).to_pylist() == ids


@pytest.mark.parametrize("given", [["+1", "1", "2"], ["1.0", "1", "2"], ["0", "-0"], ["true", "True"]])
def test_listed_labels_that_are_one_class_are_refused(given: list[str]) -> None:
    with pytest.raises(ConfigError, match=rf"data.labels: '{re.escape(given[0])}' and .* name the same class"):
        label_names(column(["1", "2"]), given)


@pytest.mark.parametrize("text", ["nan", "NaN", "None", "NA", "<NA>", "null"])
@pytest.mark.parametrize("others", [["1", "0"], ["0.5", "1"], ["True", "False"]])
def test_a_missing_value_written_among_numbers_is_a_missing_label(text: str, others: list[str]) -> None:
    with pytest.raises(DataError, match=f"1 row without a label: '{text}' among labels that are all.*: row 3"):
        label_names(column([*others, text]))
    assert label_names(column(["1", "0", text]), ["0", "1", text]) == ["0", "1", text]
    assert label_names(column(["yes", "no", text])) == sorted(["yes", "no", text])


def test_dictionary_encoded_labels_are_as_plain_ones() -> None:
    numbers = pa.chunked_array([pa.array([10, 9, 10]).dictionary_encode()])
    assert label_names(numbers) == ["9", "10"]
    assert encode_labels(numbers, ["9", "10"]).to_pylist() == [1, 0, 1]


def test_given_names_give_the_order() -> None:
    assert label_names(column(["a", "b"]), ["b", "c", "a"]) == ["b", "c", "a"]
    with pytest.raises(ConfigError, match=r"data.labels: lists a twice"):
        label_names(column(["a", "b"]), ["a", "b", "a"])


def test_a_label_that_is_not_listed(rows) -> None:
    table = rows("text,label\na,good\nb,bad\nc,goood\nd,goood\n")
    with pytest.raises(DataError) as caught:
        label_names(table["label"], ["good", "bad"], table=table)
    assert str(caught.value) == (
        "data.train: labels that data.labels does not list: 'goood' (2 rows; did you mean 'good'?); at a.csv:4, a.csv:5"
    )


def test_a_label_unseen_in_training(rows) -> None:
    table = rows("text,label\n" + "a,Sport\n" * 7 + "b,tech\nc,zzz\n", "v.csv")
    with pytest.raises(DataError) as caught:
        encode_labels(table["label"], ["sport", "tech"], "data.validation", table)
    assert str(caught.value) == (
        "data.validation: labels that the training data does not have: 'Sport' (7 rows; did you mean 'sport'?), "
        "'zzz' (1 row); at v.csv:2, v.csv:3, v.csv:4, v.csv:5, v.csv:6 and 3 more"
    )


@pytest.mark.parametrize("text", ["text,label\na,x\nb,\nc,y\n", "text,label\na,1\nb,\nc,2\n", "text,label\na,x\nb, \n"])
def test_a_missing_label(rows, text: str) -> None:
    table = rows(text)
    with pytest.raises(DataError, match=r"data.train: 1 row without a label: a.csv:3"):
        label_names(table["label"], table=table)
    with pytest.raises(DataError, match=r"data.test: 1 row without a label: a.csv:3"):
        encode_labels(table["label"], ["x"], "data.test", table)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["a", "a"], "every row has the label 'a'; classification needs at least two classes"),
        ([[1], [2]], "which is multi-label, not single-label classification"),
        ([1.0, 3.8], r"real numbers \(3.8 at row 2\): that is regression, not single-label classification"),
        ([1.0, float("nan")], "1 row without a label: row 2"),
        ([None, None], "2 rows without a label: row 1, row 2"),
        ([b"a", b"b"], "holds binary; labels are strings, whole numbers or booleans"),
    ],
)
def test_columns_that_are_no_single_label(values: list[Any], said: str) -> None:
    with pytest.raises(DataError, match=f"^data.train: .*{said}"):
        label_names(column(values))


def test_real_intents(real) -> None:
    from tasks.data.sources.locate import locate
    from tasks.data.sources.read import read

    train = read(locate(str(real("banking77/train.csv")), "data.train")).table
    names = label_names(train["label"])
    assert len(names) == 77
    test = read(locate(str(real("banking77/test.csv")), "data.test")).table
    assert len(encode_labels(test["label"], names, "data.test", test).unique()) == 77
    scores = read(locate(str(real("stsb/train.tsv")), "data.train")).table
    with pytest.raises(DataError, match=r"regression.*not single-label") as caught:
        label_names(scores["score"], table=scores)
    assert "train.tsv:" in str(caught.value)
