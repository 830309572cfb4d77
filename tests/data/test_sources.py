"""Rows from everywhere else: texts, CoNLL, nested JSON, saved datasets, repositories, databases, Python objects."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tasks.config.errors import ConfigError, DataError
from tasks.data.rows.questions import _normal
from tasks.data.sources.locate import locate
from tasks.data.sources.objects import is_rows, rows_to_file, save_rows
from tasks.data.sources.read import read
from tasks.data.tables.class_names import with_class_names

ROWS = [{"text": f"text {at}", "label": "ab"[at % 2]} for at in range(12)]
SQUAD = {"version": "v2.0", "data": [{"title": "T", "paragraphs": [{"context": "The fox ran.", "qas": [
    {"id": "1", "question": "Who?", "answers": [{"text": "The fox", "answer_start": 0}]},
    {"id": "2", "question": "When?", "answers": [], "is_impossible": True},
]}]}]}  # fmt: skip


def rows_of(spec: str, field: str = "data.train", cache: Path | None = None) -> list[dict[str, Any]]:
    found = read(locate(spec, field, cache=cache), field=field).table
    return found.to_pylist()


def test_a_text_file_is_a_row_a_line(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("one\n\ntwo \n")
    assert [(row["text"], row["__row"]) for row in rows_of(str(path))] == [("one", 1), ("two ", 3)]


CONLL = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n# a comment\nPeter\tB-PER\n"


def test_conll_is_a_row_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "words.conll"
    path.write_text(CONLL)
    first, second = rows_of(str(path))
    assert (first["tokens"], first["ner_tags"], first["__row"]) == (["EU", "rejects"], ["B-ORG", "O"], 3)
    assert (second["tokens"], second["ner_tags"], second["__row"]) == (["Peter"], ["B-PER"], 7)


ODD = "a\u2028b\u0085c\u000cd\u2029e"  # where `str.splitlines` would end lines


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=repr)
def test_lines_end_at_line_feeds_and_carriage_returns_only(end: str, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_bytes(f"one {ODD}{end}{end}two{end}".encode())
    rows = rows_of(str(tmp_path / "lines.txt"))
    assert [(row["text"], row["__row"]) for row in rows] == [(f"one {ODD}", 1), ("two", 3)]
    (tmp_path / "words.conll").write_bytes(f"{ODD} B-X{end}on O{end}\f{end}next\tO{end}".encode())
    rows = rows_of(str(tmp_path / "words.conll"))
    assert [(row["tokens"], row["ner_tags"], row["__row"]) for row in rows] == [
        ([ODD, "on"], ["B-X", "O"], 1), (["next"], ["O"], 4),
    ]  # fmt: skip
    lines = (json.dumps({"text": f"{word} {ODD}"}, ensure_ascii=False) for word in ("one", "two"))
    (tmp_path / "rows.jsonl").write_bytes(end.join(lines).encode())
    rows = rows_of(str(tmp_path / "rows.jsonl"))
    assert [(row["text"], row["__row"]) for row in rows] == [(f"one {ODD}", 1), (f"two {ODD}", 2)]
    (tmp_path / "rows.csv").write_bytes(f"text,label{end}one {ODD},a{end}two,b{end}".encode())
    rows = rows_of(str(tmp_path / "rows.csv"))
    assert [(row["text"], row["__row"]) for row in rows] == [(f"one {ODD}", 2), ("two", 3)]


def test_a_word_without_a_tag_is_named(tmp_path: Path) -> None:
    path = tmp_path / "words.iob2"
    path.write_text("EU B-ORG\nrejects\n")
    with pytest.raises(DataError, match=r"words\.iob2:2: a word without a tag"):
        rows_of(str(path))


HASHES = {
    "# NN B-X\nfoo VB O\n": (["#", "foo"], ["B-X", "O"]),
    "foo VB O\n# NN B-X\n": (["foo", "#"], ["O", "B-X"]),
    "foo NN\n# VB\nbar VB\n": (["foo", "#", "bar"], ["NN", "VB", "VB"]),
    "#\tO\nfoo\tO\n": (["#", "foo"], ["O", "O"]),
    "# a comment\n#\n# sent 3\nfoo VB O\n": (["foo"], ["O"]),
    "# sent_id O\nfoo\tO\n\n# the end\n": (["foo"], ["O"]),
}


@pytest.mark.parametrize("text", HASHES)
def test_a_word_may_be_a_hash(text: str, tmp_path: Path) -> None:
    (tmp_path / "words.conll").write_text(text)
    assert [(row["tokens"], row["ner_tags"]) for row in rows_of(str(tmp_path / "words.conll"))] == [HASHES[text]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("The\t\n", "1: the word 'The' has an empty tag"),
        ("a\tO\nThe\tDT\t \n", "2: 3 columns, the first word of its sentence has 2"),
        ("a\tb\tO\nThe\tDT\t \n", "2: the word 'The' has an empty tag"),
        ("a\tO\n\n\tB-X\n", "3: the tag 'B-X' has no word"),
        ("a b O\nc O\n", "2: 2 columns, the first word of its sentence has 3"),
        ("a b O\n# a comment\nc d O\n", "2: neither a word with a tag nor a comment before a sentence"),
        ("a\tO\n# c O\nb\tO\n", "2: neither a word with a tag nor a comment"),
    ],
)
def test_lines_that_are_neither_words_nor_comments_are_named(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "words.conll").write_text(text)
    with pytest.raises(DataError, match=rf"words\.conll:{says}"):
        rows_of(str(tmp_path / "words.conll"))


def squad(**asked: Any) -> str:
    return json.dumps({"data": [{"paragraphs": [{"context": "The fox ran.", "qas": [{"question": "Who?", **asked}]}]}]})


@pytest.mark.parametrize(
    ("asked", "answers"),
    [
        ({"answers": [{"text": "fox", "answer_start": 4.0}]}, (["fox"], [4])),
        ({"answers": [{"text": "fox"}]}, (["fox"], [None])),
        ({"answers": ["The fox", "fox"]}, (["The fox", "fox"], [None, None])),
        ({"answers": ["fox"], "answer_start": [4]}, (["fox"], [4])),
        ({"answers": "fox", "answer_start": "4"}, (["fox"], [4])),
        ({"answers": {"text": ["fox"], "answer_start": [4]}}, (["fox"], [4])),
        ({"answers": {"text": "fox", "answer_start": 4}}, (["fox"], [4])),
        ({"answers": {"text": "fox"}, "answer_start": 4}, (["fox"], [4])),
        ({"answer": "fox"}, (["fox"], [None])),
        ({"answer_text": "fox", "answer_start": 4}, (["fox"], [4])),
        *(({"answers": none}, ([], [])) for none in (None, [], {}, "", [""])),
        ({"is_impossible": True}, ([], [])),
    ],
)
def test_answers_of_nested_squad_are_written_as_those_of_rows_are(
    asked: dict[str, Any], answers: tuple[list[str], list[int]], tmp_path: Path
) -> None:
    (tmp_path / "dev.json").write_text(squad(**asked))
    (row,) = rows_of(str(tmp_path / "dev.json"))
    assert (row["answers"]["text"], row["answers"]["answer_start"]) == answers
    flat, wrong = _normal(asked.get("answers"), asked.get("answer_start"), "The fox ran.")
    assert wrong == "" and ("answers" not in asked or flat["text"] == answers[0])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (squad(answers=3), "dev.json:1: 'answers' of the question 'Who\\?' is a number, not a text"),
        (squad(answers=["fox", None]), "is null, not a text"),
        (squad(answers=["fox", {"text": "fox"}]), "is an object, not a text"),
        (squad(answers=[["fox"]]), "is a list, not a text"),
        (squad(answers=[{"answer": "fox"}]), "has no key .text., but 'answer'"),
        (squad(answers={"start": 4}), "has no key .text., but 'start'"),
        (squad(answers=["fox"], answer_start=[4, 5]), "has 1 texts, but 2 starts"),
        (squad(answers=[{"text": "fox", "answer_start": 4.5}]), "has the answer_start 4.5, which is not a position"),
        (squad(answers=[{"text": "fox", "answer_start": True}]), "has the answer_start True, which is not a position"),
        ('{"data": [{"paragraphs": 3}]}', "data\\[0\\].paragraphs is a number, not a list of objects"),
        ('{"data": [{"paragraphs": []}, {"x": 1}]}', "data\\[1\\].paragraphs is null"),
        ('{"data": [{"paragraphs": [{"qas": {}}, 5]}]}', "paragraphs\\[0\\].qas is an empty object, not a list"),
        ('{"data": [{"paragraphs": [{"qas": [5]}]}]}', "paragraphs\\[0\\].qas\\[0\\] is a number, not an object"),
        (json.dumps({"data": [*json.loads(squad(answers="fox"))["data"], *json.loads(squad())["data"]]}),
         "dev.json:2: a question without 'answers'; write"),
    ],
)  # fmt: skip
def test_what_is_no_answer_of_nested_squad_is_named(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_text(content)
    with pytest.raises(DataError, match=says):
        rows_of(str(tmp_path / "dev.json"))


def test_nested_squad_may_have_questions_alone(tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_text(squad())
    (row,) = rows_of(str(tmp_path / "dev.json"))
    assert row["question"] == "Who?" and "answers" not in row


def test_nested_squad_is_a_row_a_question(tmp_path: Path) -> None:
    path = tmp_path / "dev.json"
    path.write_text(json.dumps(SQUAD, indent=1))
    first, second = rows_of(str(path))
    assert (first["question"], first["answers"]) == ("Who?", {"text": ["The fox"], "answer_start": [0]})
    assert (second["context"], second["answers"]["text"], second["title"]) == ("The fox ran.", [], "T")


def test_a_json_object_may_hold_columns_or_rows(tmp_path: Path) -> None:
    columns, rows = tmp_path / "columns.json", tmp_path / "rows.json"
    columns.write_text(json.dumps({"text": ["x", "y"], "label": [0, 1]}, indent=1))
    rows.write_text(json.dumps({"data": [{"text": "x", "label": 0}, {"text": "y", "label": 1}]}))
    for path in (columns, rows):
        assert [(row["text"], row["label"]) for row in rows_of(str(path))] == [("x", 0), ("y", 1)]
    columns.write_text(json.dumps({"text": ["x", "y"], "label": [0]}))
    with pytest.raises(DataError, match=r"columns\.json:1: columns differ in length: 'text' 2, 'label' 1"):
        rows_of(str(columns))


def test_rows_of_a_json_object_may_lack_keys(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"data": [{"text": "x"}, {"text": "y", "label": 1}], "version": 1}))
    assert [(row["text"], row["label"]) for row in rows_of(str(path))] == [("x", None), ("y", 1)]


def test_columns_of_a_json_object_are_said(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text('{"tokens": ["a", "b"], "tags": ["O", "O"]}')
    found = read(locate(str(path), "data.train"))
    assert found.table["tokens"].to_pylist() == ["a", "b"]
    assert found.notices == (
        "data.train: read as columns, each a list with one value per row: one.json "
        "(set data.format: jsonl to read such an object as one row)",
    )
    row = read(locate(str(path), "data.train"), format="jsonl")
    assert row.table["tokens"].to_pylist() == [["a", "b"]] and row.notices == ()
    path.write_text('{"tokens": ["a", "b"], "data": [{"x": 1}, {"x": 2}]}')
    assert [(row["tokens"], row["data"]) for row in rows_of(str(path))] == [("a", {"x": 1}), ("b", {"x": 2})]
    path.write_text('{\n "tokens": ["a", "b"],\n "id": 7\n}')
    assert [(row["tokens"], row["id"]) for row in rows_of(str(path))] == [(["a", "b"], 7)]


def test_one_object_a_line_is_still_that(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text('{"text": "x", "label": 0}\n')
    assert rows_of(str(path))[0]["text"] == "x"


def test_saved_datasets(tmp_path: Path) -> None:
    whole = datasets.Dataset.from_list(ROWS)
    whole.save_to_disk(str(tmp_path / "whole"), num_shards=3)
    assert [row["text"] for row in rows_of(str(tmp_path / "whole"))] == [row["text"] for row in ROWS]
    both = datasets.DatasetDict({"train": whole.select(range(8)), "test": whole.select(range(8, 12))})
    both.save_to_disk(str(tmp_path / "both"))
    assert len(rows_of(str(tmp_path / "both"))) == 8
    assert len(rows_of(str(tmp_path / "both"), "data.test")) == 4
    with pytest.raises(DataError, match="has the splits train, test"):
        rows_of(str(tmp_path / "both"), "data.validation")


FOREIGN = ["", "text", "null", "3", '"x"', "[]", "[" * 20_000]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        *((name, content, f"{name}' is not (an object|valid JSON)")
          for name in ("one/state.json", "one/dataset_info.json", "both/dataset_dict.json") for content in FOREIGN),
        *(("one/state.json", content, "state.json' is not an object with '_data_files', a list of objects")
          for content in ("{}", '{"_data_files": null}', '{"_data_files": []}', '{"_data_files": [3]}')),
        *(("one/state.json", json.dumps({"_data_files": [{"filename": odd}]}), "which is not in its folder")
          for odd in (None, 3, "../../../etc/passwd", "/etc/passwd", "gone.arrow", "..", "a\0")),
        ("one/dataset_info.json", '{"features": 3}', "dataset_info.json' is not an object with 'features'"),
        *(("both/dataset_dict.json", json.dumps(odd), "is not an object with 'splits', a list of names")
          for odd in ({}, *({"splits": splits} for splits in (3, [], [3], "train", {"train": 1})))),
        ("both/dataset_dict.json", '{"splits": ["train", "../one"]}', "'../one', which is not a valid folder name"),
        ("both/dataset_dict.json", '{"splits": ["gone"]}', "has no state.json and .* for its split 'gone'"),
    ],
    ids=lambda value: repr(value)[:24],
)  # fmt: skip
def test_a_saved_dataset_that_is_none_is_said(name: str, content: str, says: str, tmp_path: Path) -> None:
    whole = datasets.Dataset.from_list(ROWS)
    whole.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": whole}).save_to_disk(str(tmp_path / "both"))
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=rf"data\.train: .*{says}"):
        rows_of(str(tmp_path / name.partition("/")[0]))


@pytest.mark.parametrize("features", ["[]", "3", '{"label": {"_type": "ClassLabel", "names": 5}}', '{"label": 3}',
                                      '{"label": {"_type": "Sequence"}}'])  # fmt: skip
def test_odd_features_in_metadata_give_no_names(features: str) -> None:
    table = pa.table({"label": [0, 1]})
    said = {b"huggingface": f'{{"info": {{"features": {features}}}}}'.encode()}
    assert with_class_names(table, said) == table


def test_a_repository_by_name_and_split(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    folder.mkdir()
    for split in ("train", "test"):
        pd.DataFrame(ROWS[: 4 if split == "test" else 8]).to_csv(folder / f"{split}.csv", index=False)
    spec = f"hf:{folder}"
    assert len(rows_of(spec, cache=tmp_path / "cache")) == 8
    assert len(rows_of(f"{spec}#test", cache=tmp_path / "cache")) == 4
    assert len(rows_of(spec, "data.test", cache=tmp_path / "cache")) == 4
    with pytest.raises(DataError, match=r"no split 'tset'; it has train, test; did you mean 'test'"):
        rows_of(f"{spec}#tset", cache=tmp_path / "cache")


def test_a_repository_that_cannot_be_fetched_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.train: 'hf:nobody/nothing' cannot be fetched") as no:
        rows_of("hf:nobody/nothing", cache=tmp_path)
    assert "\n" not in str(no.value)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "rows.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table rows (text, label)")
        connection.executemany("insert into rows values (:text, :label)", ROWS)
    return path


def test_a_query(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = f"sql:sqlite:///{database}::select text, label from rows where label = 'a' order by text"
    assert {row["label"] for row in rows_of(spec, cache=tmp_path)} == {"a"}
    monkeypatch.setenv("ROWS_URL", f"sqlite:///{database}")
    assert len(rows_of("sql:$ROWS_URL::select * from rows", cache=tmp_path)) == 12


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("sql:sqlite:///{}", ConfigError, "not sql:<database URL>::<SELECT"),
        ("sql:sqlite:///{}::select nosuch from rows", DataError, "no such column"),
        ("sql:sqlite:///{}.gone::select 1", DataError, "there is no database"),
        ("sql:postgresql://me:secret@host/db::select 1", ConfigError, "has a password"),
        ("sql:nosuch://x::select 1", ConfigError, "cannot be used"),
        ("sql:sqlite:///{}::select text from rows where 0", DataError, "there are no rows"),
    ],
)
def test_a_query_that_cannot_be(spec: str, error: type, says: str, database: Path, tmp_path: Path) -> None:
    with pytest.raises(error, match=says) as no:
        rows_of(spec.format(database), cache=tmp_path)
    assert "secret@" not in str(no.value)


class Torchlike:
    """A dataset as PyTorch has it."""

    def __len__(self) -> int:
        return len(ROWS)

    def __getitem__(self, at: int) -> dict[str, str]:
        return ROWS[at]


class Lazylike:
    """A LazyFrame as Polars has it."""

    columns = ("text", "label")

    def collect_schema(self) -> dict[str, str]:
        return {}

    def collect(self) -> "Lazylike":
        return self

    def to_arrow(self) -> pa.Table:
        return pa.Table.from_pylist(ROWS)


HELD: dict[str, Callable[[], Any]] = {
    "dicts": lambda: ROWS,
    "tuples": lambda: [(row["text"], row["label"]) for row in ROWS],
    "columns": lambda: {name: [row[name] for row in ROWS] for name in ("text", "label")},
    "pandas": lambda: pd.DataFrame(ROWS),
    "categories": lambda: pd.DataFrame(ROWS).astype({"label": "category"}),
    "dataset": lambda: datasets.Dataset.from_list(ROWS),
    "stream": lambda: datasets.Dataset.from_list(ROWS).to_iterable_dataset(),
    "shuffled": lambda: datasets.Dataset.from_list(ROWS[::-1]).select(range(11, -1, -1)),
    "arrow": lambda: pa.Table.from_pylist(ROWS),
    "batch": lambda: pa.RecordBatch.from_pylist(ROWS),
    "lazy": Lazylike,
    "generator": lambda: (row for row in ROWS),
    "torch": Torchlike,
}


@pytest.mark.parametrize("name", HELD)
def test_what_python_holds(name: str, tmp_path: Path) -> None:
    path = rows_to_file(HELD[name](), "data.train", tmp_path)
    assert [{key: row[key] for key in ("text", "label")} for row in rows_of(str(path))] == ROWS
    # the same rows are the same file, however they were held
    assert path == rows_to_file(ROWS, "data.train", tmp_path)


CLASSES = datasets.Features({
    "text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"]),
    "tags": datasets.Sequence(datasets.ClassLabel(names=["O", "B-ORG"])),
})  # fmt: skip
CODED = {"text": ["x", "y", "z"], "label": [1, 0, -1], "tags": [[0, 1], [], [1]]}
NAMED = [("x", "pos", ["O", "B-ORG"]), ("y", "neg", []), ("z", None, ["B-ORG"])]


@pytest.mark.parametrize("how", ["object", "stream", "slice", "folder", "parquet", "repository"])
def test_class_labels_bear_their_names(how: str, tmp_path: Path) -> None:
    dataset = datasets.Dataset.from_dict(CODED, features=CLASSES)
    if how == "folder":
        dataset.save_to_disk(str(tmp_path / "saved"))
        spec = str(tmp_path / "saved")
    elif how in ("parquet", "repository"):
        (tmp_path / "repository").mkdir()
        dataset.to_parquet(str(tmp_path / "repository" / "train.parquet"))
        spec = f"hf:{tmp_path}/repository" if how == "repository" else str(tmp_path / "repository" / "train.parquet")
    else:
        more = datasets.concatenate_datasets([dataset, dataset]).select(range(3, 6))
        held = {"object": dataset, "stream": dataset.to_iterable_dataset(), "slice": more}[how]
        spec = str(rows_to_file(held, "data.train", tmp_path))
    found = rows_of(spec, cache=tmp_path / "cache")
    assert [(row["text"], row["label"], row["tags"]) for row in found] == NAMED


@pytest.mark.parametrize("how", ["object", "folder", "parquet"])
def test_class_labels_keep_their_ids(how: str, tmp_path: Path) -> None:
    from tasks.config import DataConfig
    from tasks.objectives import objective_of

    names = ["world", "sports", "business", "unused"]  # in no alphabet's order
    label = datasets.ClassLabel(names=names)
    tags = ["O", "I-X", "B-X"]
    features = datasets.Features({"text": datasets.Value("string"), "label": label, "several": datasets.List(label),
                                  "tokens": datasets.List(datasets.Value("string")),
                                  "ner_tags": datasets.List(datasets.ClassLabel(names=tags))})  # fmt: skip
    rows = [{"text": f"text {at}", "label": at % 3, "several": [at % 3, 2], "tokens": ["a", f"b{at}"],
             "ner_tags": [0, at % 3]} for at in range(9)]  # fmt: skip
    dataset = datasets.Dataset.from_list(rows, features=features)
    if how == "object":
        spec = str(rows_to_file(dataset, "data.train", tmp_path))
    elif how == "folder":
        dataset.save_to_disk(str(tmp_path / "saved"), num_shards=2)
        spec = str(tmp_path / "saved")
    else:
        dataset.to_parquet(spec := str(tmp_path / "train.parquet"))
    table = read(locate(spec, "data.train")).table

    def prepared(task: str, **data: Any) -> Any:
        objective, section = objective_of(task), DataConfig(train=spec, split={"validation": 0, "test": 0}, **data)
        return objective.component("prepare")({"train": table}, section, objective.roles)

    one = prepared("text-classification")
    assert one.head["labels"] == names
    assert one.splits["train"]["label"].to_pylist() == [row["label"] for row in rows]
    assert any("no row has these classes of the data set: unused" in line for line in one.warnings)
    several = prepared("text-classification", columns={"label": "several"})
    assert several.head["labels"] == names and several.splits["train"]["label"][1].as_py() == [0, 1, 1, 0]
    tagged = prepared("token-classification")
    assert tagged.head["labels"] == tags
    assert tagged.splits["train"]["tags"].to_pylist() == [row["ner_tags"] for row in rows]
    mine = prepared("text-classification", labels=["business", "sports", "world"])
    assert mine.head["labels"] == ["business", "sports", "world"]


def test_types_grow_with_later_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.data.sources.objects.BATCH", 2)
    rows = [{"text": f"t{at}", "note": None if at < 4 else "said", "score": 1 if at < 2 else 0.5,
             "list": [] if at < 4 else ["x"], "meta": {"a": 1} if at < 6 else {"b": "x"}}
            for at in range(8)]  # fmt: skip
    path = rows_to_file(iter(rows), "data.train", tmp_path)
    found = rows_of(str(path))
    assert [row["note"] for row in found] == [None] * 4 + ["said"] * 4
    assert [row["score"] for row in found] == [1.0] * 2 + [0.5] * 6
    assert found[4]["list"] == ["x"] and found[7]["meta"] == {"a": None, "b": "x"}
    assert [each.name for each in tmp_path.iterdir()] == [path.parent.name]  # nothing is left beside it
    odd = [{"text": "x", "note": 1}, {"text": "y", "note": 2}, {"text": "z", "note": "three"}]
    with pytest.raises(DataError, match=r"data\.train: column 'note' has type string from row 3 on, int64 before"):
        rows_to_file(iter(odd), "data.train", tmp_path)


def test_types_of_a_query_grow_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.data.sources.fetch.BATCH", 2)
    with sqlite3.connect(tmp_path / "grown.db") as connection:
        connection.execute("create table rows (text, note)")
        connection.executemany("insert into rows values (?, ?)", [("a", None), ("b", None), ("c", "said"), ("d", None)])
    spec = f"sql:sqlite:///{tmp_path}/grown.db::select * from rows"
    assert [row["note"] for row in rows_of(spec, cache=tmp_path)] == [None, None, "said", None]


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        (["a fine day", "a bad day"], True),
        (["word"], True),
        (["a text/with a slash"], True),
        (["some.csv"], False),
        (["folder/of/rows"], False),
        (["s3://bucket/rows", "x"], False),
        (["hf:imdb"], False),
        ([Path("some.csv")], False),
        ([__file__], False),
    ],
)
def test_a_list_of_strings_is_texts_unless_they_look_like_files(value: list[Any], rows: bool, tmp_path: Path) -> None:
    assert is_rows(value) is rows
    if rows:
        held = save_rows({"train": value}, tmp_path)["train"]
        assert (
            [row["text"] for row in rows_of(held)]
            == value
            == [row["text"] for row in rows_of(save_rows(value, tmp_path)["train"])]
        )


def test_strings_are_texts(tmp_path: Path) -> None:
    assert [row["text"] for row in rows_of(str(rows_to_file(iter(["x", "y"]), "data.train", tmp_path)))] == ["x", "y"]


def test_a_missing_value_in_pandas_is_no_text(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["x", None, float("nan")], "label": [1, 2, 3]}).astype({"text": object})
    assert [row["text"] for row in rows_of(str(rows_to_file(frame, "data.train", tmp_path)))] == ["x", None, None]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], "there are no rows"),
        ([{"text": "x", "label": 1}, {"text": "y"}], "row 2 has no 'label'"),
        ([{"text": "x"}, {"text": "y", "label": 1}], "row 2 has 'label'"),
        ([{"text": "x"}, ("y",)], "row 2 is a tuple, row 1 a dict"),
        ([("a", "b"), ("c",)], "row 2 has 1 values, row 1 has 2"),
        ([(1, 2, 3, 4)], "row 1 has 4 values; give rows as dicts"),
        ([{"text": "x"}, {"text": ["y"]}], "row 2 is list, row 1 str"),
        ({"text": ["x", "y"], "label": [1]}, "differ in length: 'text' 2, 'label' 1; row 2 has no 'label'"),
        ([None, {"text": "x"}], "row 1 is a NoneType"),
        ({1: ["x"], "1": ["y"]}, "two columns have the name '1'"),
        ([{1: "x", "1": "y"}], "two columns have the name '1'"),
        ({"text": {"x", "y"}}, "column 'text' is set, not a list with one value per row"),
        ({"text": np.array("x")}, "column 'text' is ndarray, not a list with one value per row"),
        ({"n": [1, 2**80]}, "column 'n' cannot be stored: row 2"),
        (pd.DataFrame({"n": [1, 2**80]}), "column 'n' cannot be stored: row 2"),
        ([1, 2], "row 1 is a int; rows are dicts, tuples or strings"),
    ],
)
def test_rows_that_are_none(value: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"data.train: .*{says}"):
        rows_to_file(value, "data.train", tmp_path)
    assert not list(tmp_path.iterdir())


def test_columns_of_tuples_have_names_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.train: duplicate names in the columns: text, text"):
        rows_to_file([("a", "b")], "data.train", tmp_path, ("text", "text"))


def test_a_section_keeps_what_is_no_rows(tmp_path: Path) -> None:
    both = datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS), "test": datasets.Dataset.from_list(ROWS)})
    assert set(save_rows(both, tmp_path)) == {"train", "test"}
    section = save_rows({"train": ROWS, "validation": "some.csv", "max_length": 9}, tmp_path)
    assert (section["validation"], section["max_length"]) == ("some.csv", 9)
    assert Path(section["train"]).is_file()
    assert save_rows("rows.csv", tmp_path) == "rows.csv"
    assert set(save_rows({"text": ["x"], "label": [1]}, tmp_path)) == {"train"}


def test_a_run_on_rows_in_memory(bert: Path, tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import finetune

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    train = {"num_train_epochs": 1, "per_device_train_batch_size": 4, "torch_num_threads": 1}
    store = {"root": str(tmp_path / "store")}
    done = finetune(model=str(bert), data={"train": ROWS * 3, "dedupe": "off"}, train=train, store=store)
    assert done.metrics["eval_accuracy"] >= 0
    again = finetune(model=str(bert), data={"train": pd.DataFrame(ROWS * 3), "dedupe": "off"}, train=train, store=store)
    assert [entry.state for entry in again.stages] == ["cached"] * 12


@pytest.mark.parametrize(("task", "columns"), [("language-generation", {"text"}), ("text-classification", {"label"})])
def test_text_files_are_lines_for_language_models_and_texts_of_a_class_for_classes(
    task: str, columns: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.cli import main

    for topic in ("fruit", "metal"):
        (tmp_path / "texts" / topic).mkdir(parents=True)
        for at in range(10):
            (tmp_path / "texts" / topic / f"{at}.txt").write_text(
                f"{topic} title {at}\nand a line of its own {at * 7}\n"
            )
    config = tmp_path / "config.yaml"
    data = {"train": str(tmp_path / "texts"), "columns": {"text": "body"} if "label" in columns else {}}
    config.write_text(json.dumps({"task": task, "model": "nobody/none", "data": data}))
    assert main(["lint", str(config), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert columns <= set(found["columns"]) and sum(found["rows"].values()) == (20 if "label" in columns else 40)
