"""Words of which a tokenizer makes nothing keep their place: one tag a word, and what was right of them counts."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from transformers import AutoTokenizer

from tasks.data.rows.readable import readable
from tasks.data.tokens.encode import Encoded
from tasks.data.tokens.encode_words import encode_words
from tasks.evaluation.predictors.words import WordPredictor
from tasks.evaluation.score import point
from tasks.evaluation.scorers.tags import scorer
from tests.tiny import WORDS

NOTHING = "\u200b"
LABELS = ["O", "B-X", "I-X"]


def encoded(bert: Path, words: list[list[str]], tags: list[list[int]] | None, **shape: Any) -> Encoded:
    columns = {"tokens": words} | ({"tags": tags} if tags else {})
    places = {"__file": ["a"] * len(words), "__row": list(range(1, len(words) + 1))}
    shape = {"max_length": 6, "overlong": "window", "stride": 1, **shape}
    return encode_words(pa.table(columns | places), AutoTokenizer.from_pretrained(bert), shape, "data.test", True)


def labelled(found: Encoded, labels: list[str], says: int) -> pa.Table:
    """Predictions of a model that says the tag `says` of every token."""
    ids = found.table["input_ids"].to_pylist()
    verdicts = pa.table({"tags": pa.array([[says] * len(row) for row in ids], pa.list_(pa.int32()))})
    return WordPredictor({"labels": labels}).rows(verdicts, found.table)


@pytest.mark.parametrize("where", [[0], [3], [9], [0, 1, 4, 5, 9], list(range(10))])
def test_every_word_has_a_tag_in_its_place(where: list[int], bert: Path) -> None:
    words = [NOTHING if at in where else WORDS[at] for at in range(10)]
    plain = WORDS[:3]
    tags = [at % 3 for at in range(10)]
    found = encoded(bert, [plain, words, plain], [[0, 1, 2], tags, [2, 1, 0]])
    table = labelled(found, LABELS, 1)
    assert table["__places"].to_pylist() == [[0, 1, 2], list(range(10)), [0, 1, 2]]
    assert table["label"].to_pylist()[1] == [LABELS[tag] for tag in tags]
    assert table["prediction"].to_pylist()[1] == ["O" if at in where else "B-X" for at in range(10)]
    shown = readable(table, pa.table({"tokens": [plain, words, plain]}), {"labels": LABELS})
    assert shown["words"].to_pylist()[1] == words
    assert f"{len(where)} word" in found.notices[0] and found.notices[0].endswith(": a:2")


def test_rows_nobody_knows_the_tags_of(bert: Path) -> None:
    found = encoded(bert, [["balen", NOTHING, "koral"], [NOTHING]], None)
    assert labelled(found, LABELS, 2)["prediction"].to_pylist() == [["I-X", "O", "I-X"], ["O"]]
    assert labelled(found, ["NOUN", "VERB"], 1)["prediction"].to_pylist() == [["VERB", None, "VERB"], [None]]


def test_of_a_row_that_is_cut_the_words_that_were_read_count(bert: Path) -> None:
    words = [*WORDS[:2], NOTHING, *WORDS[2:6], NOTHING]
    found = encoded(bert, [words], [[0] * 8], overlong="truncate")
    assert labelled(found, LABELS, 0)["__places"].to_pylist() == [[0, 1, 2, 3, 4]]


def test_entities_and_words_without_tokens_count(bert: Path) -> None:
    found = encoded(bert, [["balen", NOTHING, "koral"]], [[1, 1, 0]])
    table = labelled(found, LABELS, 1)
    entities = point(scorer({"labels": LABELS}), table)
    assert entities["recall"] == pytest.approx(0.5) and entities["accuracy"] == pytest.approx(1 / 3)
    words = point(scorer({"labels": ["NOUN", "VERB", "X"]}), labelled(found, ["NOUN", "VERB", "X"], 1))
    assert words["accuracy"] == pytest.approx(1 / 3)


def test_entities_of_predictions_that_say_nothing_of_a_word() -> None:
    rows = pa.table({"tokens": [["EU", NOTHING, "York"]]})
    table = pa.table({"__origin": [0], "prediction": [["B-X", None, "I-X"]], "__places": [[0, 1, 2]]})
    (found,) = readable(table, rows, {"labels": ["B-X", "I-X"]}).to_pylist()
    assert [each["text"] for each in found["entities"]] == ["EU", "York"]


def test_what_is_stored_of_a_row_does_not_hang_on_its_neighbours(bert: Path) -> None:
    rows = [[WORDS[0], NOTHING, WORDS[1]], [NOTHING, WORDS[2]]]
    alone = [encoded(bert, [row], [[0] * len(row)]).table["__bare"].to_pylist()[0] for row in rows]
    assert encoded(bert, rows, [[0] * len(row) for row in rows]).table["__bare"].to_pylist() == alone == [[1], [0]]
