"""Shapes of rows people bring, and what near repeats and numbers as labels are said to be."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.config import DataConfig
from tasks.config.errors import DataError
from tasks.data.curation.preview import label_warnings, repeat_warnings
from tasks.data.sources.locate import locate
from tasks.data.sources.objects import rows_to_file
from tasks.data.sources.read import read
from tasks.objectives import objective_of
from tests.tiny import WORDS


def prepared(task: str, rows: list[dict[str, Any]], tmp_path: Path, **data: Any) -> Any:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    objective = objective_of(task)
    config = DataConfig.model_validate({"train": str(path), "split": {"validation": 0.0}, **data})
    return objective.component("prepare")(
        {"train": read(locate(str(path), "data.train")).table}, config, objective.roles
    )


@pytest.mark.parametrize("held", [False, True])
def test_spans_as_lists(held: bool, tmp_path: Path) -> None:
    rows = [{"text": "EU rejects it", "entities": [[0, 2, "ORG"]]}, {"text": "nothing here", "entities": []}]
    if held:
        table = read(locate(str(rows_to_file(rows, "data.train", tmp_path)), "data.train")).table
        assert table["entities"].to_pylist()[0] == [{"start": 0, "end": 2, "label": "ORG"}]
    else:
        table = prepared("ner", rows, tmp_path).splits["train"]
        assert table["tokens"].to_pylist()[0] == ["EU", "rejects", "it"]


@pytest.mark.parametrize(
    ("span", "says"),
    [
        ([2, 3, "ORG"], "covers only whitespace"), ([10, 12, "ORG"], "covers only whitespace"),
        ([0, 2, " "], "has no label"), ([0, 99, "ORG"], "is outside its text"),
        ({"start": 2, "end": 3, "label": "ORG"}, "covers only whitespace"),
        ({"start": 0, "end": 2, "label": None}, "has no label"),
    ],
    ids=repr,
)  # fmt: skip
def test_spans_that_would_be_lost_are_refused_with_their_rows(span: Any, says: str, tmp_path: Path) -> None:
    good = [0, 2, "ORG"] if isinstance(span, list) else {"start": 0, "end": 2, "label": "ORG"}
    rows = [{"text": "EU rejects \t it", "entities": [each]} for each in (good, span, span)]
    with pytest.raises(DataError, match=rf"2 rows with a span that {says}: rows.jsonl:2, rows.jsonl:3"):
        prepared("ner", rows, tmp_path)


@pytest.mark.parametrize("start", [0, 0.0, "0"])
def test_spans_begin_where_they_are_written(start: Any, tmp_path: Path) -> None:
    rows = [{"text": "EU rejects", "entities": [{"start": start, "end": 2, "label": 0}]}] * 2
    assert prepared("ner", rows, tmp_path).head["labels"] == ["B-0", "I-0", "O"]


def test_alpacas_shape_is_named(tmp_path: Path) -> None:
    rows = [{"instruction": f"say {at}", "input": "", "output": f"so {at}"} for at in range(4)]
    with pytest.raises(DataError, match="rows in the Alpaca format"):
        prepared("seq2seq", rows, tmp_path)
    columns = {"source": "instruction"}
    assert prepared("seq2seq", rows, tmp_path, columns=columns).splits["train"]["target"].to_pylist()[0] == "so 0"


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("NER", "token-classification"),
        ("Text-Classification", "text-classification"),
        ("extractive-qa", "question-answering"),
        ("translation_en_to_de", "sequence-sequence"),
        ("fill_mask", "language-modeling"),
    ],
)
def test_task_names_as_others_write_them(name: str, task: str) -> None:
    assert objective_of(name).name == task


def test_numbers_with_gaps_are_said() -> None:
    labels = pa.chunked_array([["0", "2", "5"] * 9])
    assert any("gaps (no 1, 3, 4)" in said for said in label_warnings(labels, "data.train"))


def test_near_repeats_within_train_are_said() -> None:
    texts = [" ".join(WORDS[at : at + 12]) for at in range(0, 40, 10)]
    rows = [*texts, texts[2] + " koral", texts[0].upper() + "!", texts[1]]
    table = pa.table({"text": rows, "__file": ["a"] * 7, "__row": list(range(1, 8))})
    (said,) = repeat_warnings(table, {"text": "text"})
    assert said == "data.train: 2 rows whose text nearly repeats an earlier one: a:5, a:6"  # an exact one is said else


FOX = "the fox saw the fox"


@pytest.mark.parametrize(
    ("answer", "start"),
    [
        ({"answers": "fox"}, 4), ({"answers": ["fox"]}, 4), ({"answers": {"text": ["fox"]}}, 4),
        ({"answers": {"text": "fox", "answer_start": 16.0}}, 16),
        ({"answers": {"text": ["fox"], "answer_start": [16.0]}}, 16),
        ({"answers": [{"text": "fox", "answer_start": 16}]}, 16),
        ({"answers": {"text": ["fox"], "answer_start": "16"}}, 16),
        ({"answer": "fox", "answer_start": 16}, 16), ({"answer_text": "fox", "answer_start": 16.0}, 16),
        ({"answer": ["fox"], "answer_start": [16]}, 16), ({"answer": "fox", "answer_start": "16"}, 16),
        ({"answer": "fox", "answer_start": None}, 4), ({"answers": "{'text': ['fox'], 'answer_start': [16]}"}, 16),
        ({"answers": "the", "answer_start": 0}, 0), ({"answers": []}, None), ({"answers": ""}, None),
        ({"answers": {"text": [], "answer_start": []}}, None),
    ],
    ids=repr,
)  # fmt: skip
def test_answers_as_people_write_them(answer: dict[str, Any], start: int | None, tmp_path: Path) -> None:
    rows = [{"question": f"what {at}?", "context": FOX, **answer} for at in range(2)]
    found = prepared("question-answering", rows, tmp_path).splits["train"]["answers"].to_pylist()[0]
    assert found["answer_start"] == ([] if start is None else [start])
    assert all(text in ("fox", "the") for text in found["text"])


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"answers": ["cat"]}, "is not in its context"), ({"answers": 5}, "is not text"),
        ({"answers": [5]}, "is not text"), ({"answers": [{"span": "fox"}]}, "is not text"),
        ({"answers": {"span": "fox"}}, "has no key 'text', but 'span'"),
        ({"answer": "fox", "answer_start": 5}, "is not at its answer_start"),
        ({"answer": "fox", "answer_start": 4.5}, r"has the answer_start 4\.5, which is not a position"),
        ({"answers": {"text": ["fox", "saw"], "answer_start": 4}}, "a different number of answer_start values"),
        ({"answers": "  "}, "is only whitespace"), ({"answers": [" "]}, "is only whitespace"),
        ({"answers": {"text": "\n", "answer_start": 3}}, "is only whitespace"),
        ({"answers": {"text": ["fox", " "], "answer_start": [4, 3]}}, "is only whitespace"),
    ],
    ids=repr,
)  # fmt: skip
def test_answers_that_cannot_be_are_named_by_row_and_field(answer: dict[str, Any], says: str, tmp_path: Path) -> None:
    rows = [{"question": f"what {at}?", "context": FOX, **answer} for at in range(2)]
    with pytest.raises(DataError, match=rf"2 rows whose answer \(data\.columns\.answers\) .*{says}.*: rows.jsonl:1"):
        prepared("question-answering", rows, tmp_path)


def test_one_row_of_json_lines_is_a_row(tmp_path: Path) -> None:
    rows = [{"tokens": ["ann", "went"], "ner_tags": ["B-PER", "O"]}]
    assert prepared("ner", rows, tmp_path).splits["train"]["tokens"].to_pylist() == [["ann", "went"]]


def test_words_and_tags_of_a_file_without_types_are_lists(tmp_path: Path) -> None:
    rows = [
        {"tokens": "['ann', 'went']", "ner_tags": "['B-PER', 'O']"},
        {"tokens": "['to' 'rome']", "ner_tags": "[O, O]"},
    ]
    table = prepared("ner", rows, tmp_path).splits["train"]
    assert table["tokens"].to_pylist() == [["ann", "went"], ["to", "rome"]]
    assert table["tags"].to_pylist() == [[0, 2], [2, 2]]


WORD_ROWS = [("0", "ann", "B-PER"), ("1", "bob", "B-PER"), ("0", "went", "O"), ("1", "left", "O"), ("2", "so", "O")]


@pytest.mark.parametrize("names", [("sentence_id", "words", "labels"), ("Sentence #", "Word", "Tag"), ("a", "b", "c")])
def test_rows_of_one_word_each_are_put_together_to_sentences(names: tuple[str, str, str], tmp_path: Path) -> None:
    rows = [dict(zip(names, row, strict=True)) for row in WORD_ROWS]
    columns = dict(zip(("sentence", "tokens", "tags"), names, strict=True)) if names[0] == "a" else {}
    found = prepared("ner", rows, tmp_path, columns=columns)
    table = found.splits["train"]
    assert table["tokens"].to_pylist() == [["ann", "went"], ["bob", "left"], ["so"]]
    assert table["__row"].to_pylist() == [1, 2, 5] and found.head["labels"] == ["B-PER", "I-PER", "O"]
    assert found.warnings[0] == (
        f"data.train: 5 rows of one word each are read as 3 sentences, by column {names[0]!r}, 2 sentences of which "
        "not in consecutive rows"
    )


def test_an_empty_sentence_is_that_of_the_word_above(tmp_path: Path) -> None:
    ids = ["Sentence: 1", "", "Sentence: 2", "", ""]
    rows = [{"Sentence #": at, "Word": word, "Tag": tag} for at, (_, word, tag) in zip(ids, WORD_ROWS, strict=True)]
    found = prepared("ner", rows, tmp_path)
    assert found.splits["train"]["tokens"].to_pylist() == [["ann", "bob"], ["went", "left", "so"]]
    with pytest.raises(DataError, match=r"1 word without a sentence in column 'Sentence #' .*: rows.jsonl:1"):
        prepared("ner", [rows[1], *rows], tmp_path)
    with pytest.raises(DataError, match=r"set data\.columns\.sentence to the column.*: rows.jsonl:1"):
        prepared("ner", [{"words": "ann", "tags": "O"}] * 2, tmp_path)


def test_a_finished_model_is_asked_about_rows_of_one_word_each_as_sentences(tmp_path: Path) -> None:
    task = objective_of("ner")
    table = pa.table({"sentence_id": ["0", "1", "0"], "word": ["a", "b", "c"], "__file": ["f"] * 3, "__row": [1, 2, 3]})
    rows, notices = task.component("inference_rows")(
        table, DataConfig(train="f"), task.roles, {"labels": ["O"]}, "INPUT", False
    )
    assert rows["tokens"].to_pylist() == [["a", "c"], ["b"]]
    assert "3 rows of one word each are read as 2 sentences, by column 'sentence_id', 1 sentence of" in notices[0]
