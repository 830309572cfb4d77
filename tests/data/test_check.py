"""Findings over rows: what is missing, repeated, contradictory or leaked, each with its places; and fast."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tasks.config.errors import DataError
from tasks.data.curation.check import Findings, check_rows, duplicates, leakage
from tasks.data.curation.row_keys import row_keys

COLUMNS = {"text": "text", "label": "label"}


def test_good_rows_have_no_findings(rows) -> None:
    table = rows("text,label\na,1\nb,2\n")
    assert check_rows(table, COLUMNS, "data.train") == Findings()
    check_rows(table, COLUMNS, "data.train").raise_if_any()
    assert duplicates(table, COLUMNS) == leakage(table, rows("text,label\nc,1\n"), COLUMNS, "data.test") == Findings()


def test_missing_and_empty_text(put) -> None:
    from tasks.data.sources.read import read

    lines = ['{"text":"a"}', '{"text":null}', '{"text":""}', '{"text":" \\u00a0\\n"}'] + ['{"text":""}'] * 5
    table = read([put("a.jsonl", "\n".join(lines))]).table
    found = check_rows(table, {"text": "text"}, "data.train")
    assert found.errors == (
        "data.train: 1 row with no value in column 'text' (data.columns.text): a.jsonl:2",
        "data.train: 7 rows with empty text in column 'text' (data.columns.text): "
        "a.jsonl:3, a.jsonl:4, a.jsonl:5, a.jsonl:6, a.jsonl:7 and 2 more",
    )
    with pytest.raises(DataError, match=r"no value in(.|\n)*empty text in"):
        found.raise_if_any()


def test_a_text_column_of_numbers(rows) -> None:
    table = rows('{"text":1,"text2":"a"}\n{"text":2,"text2":""}\n', "a.jsonl")
    found = check_rows(table, {"text": "text", "text_pair": "text2"}, "data.test")
    assert found.errors == (
        "data.test: column 'text' (data.columns.text) holds int64, not text: a.jsonl:1, a.jsonl:2",
        "data.test: 1 row with empty text in column 'text2' (data.columns.text_pair): a.jsonl:2",
    )


def test_a_column_of_nulls_and_no_rows_at_all() -> None:
    nulls = pa.table({"text": pa.nulls(2)})
    assert check_rows(nulls, {"text": "text"}, "data.train").errors == (
        "data.train: 2 rows with no value in column 'text' (data.columns.text): row 1, row 2",
    )
    none = pa.table({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())})
    assert check_rows(none, COLUMNS, "data.train") == duplicates(none, COLUMNS) == Findings()
    assert leakage(none, none, COLUMNS, "data.test") == Findings()


def test_repeats_and_contradictions(rows) -> None:
    table = rows("text,label\na,1\nb,1\na ,1\nb,2\nc,3\n")
    assert duplicates(table, COLUMNS).warnings == (
        "data.train: 1 row repeats an earlier one exactly: a.csv:4",
        "data.train: 2 rows whose text also has a different label: a.csv:3, a.csv:5",
    )


def test_pairs_are_compared_as_pairs(rows) -> None:
    table = rows("s,t,label\na,b,1\nb,a,1\na,b,2\nab,,1\n,ab,1\n")
    found = duplicates(table, {"text": "s", "text_pair": "t", "label": "label"})
    assert found.warnings == ("data.train: 2 rows whose text also has a different label: a.csv:2, a.csv:4",)


def test_leakage_names_the_rows(rows) -> None:
    train, test = rows("text,label\na,1\nb,1\n"), rows("text,label\nb,2\nx,1\n a,1\ny,1\n", "t.csv")
    assert leakage(train, test, COLUMNS, "data.test").warnings == (
        "data.test: 2 rows (50.0 %) whose text is in the training data too: t.csv:2, t.csv:4",
    )


def test_findings_add_up() -> None:
    assert Findings(("a",), ("b",)) + Findings(("c",)) == Findings(("a", "c"), ("b",))


def test_keys_are_equal_for_equal_rows_only() -> None:
    left = pa.table({"a": ["x", None, "", "x"], "b": [[1], [1], [1], [2]]})
    right = pa.table({"a": pa.chunked_array([["x "], [None]], pa.string()), "b": [[2], [1]]})
    keys = row_keys([left, right], ["a", "b"])
    assert len(np.unique(keys[0])) == 4
    assert keys[1].tolist() == [keys[0][3], keys[0][1]]


def test_real_repeats_and_leaks(real) -> None:
    from tasks.data.sources.locate import locate
    from tasks.data.sources.read import read

    train = read(locate(str(real("trec6/train.csv")), "data.train")).table
    test = read(locate(str(real("trec6/test.csv")), "data.test")).table
    assert duplicates(train, COLUMNS).warnings[0].startswith("data.train: 6")
    assert leakage(train, test, COLUMNS, "data.test").warnings[0].startswith("data.test: 9 rows (1.8 %)")


def test_a_column_of_objects_with_many_keys_is_named_shortly() -> None:
    table = pa.table({"text": [{str(at): "x" for at in range(500)}], "__file": ["a.json"], "__row": [1]})
    (error,) = check_rows(table, {"text": "text"}, "data.train").errors
    assert "holds objects with 500 keys ('0', '1', '2', …), not text" in error and len(error) < 200
