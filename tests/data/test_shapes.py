"""Shapes of rows people bring, and what near repeats and numbers as labels are said to be."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.config import DataConfig
from tasks.config.errors import DataError
from tasks.data.locate import locate
from tasks.data.look import label_warnings, repeat_warnings
from tasks.data.objects import rows_to_file
from tasks.data.read import read
from tasks.objectives import objective_of
from tests.tiny import WORDS


def prepared(task: str, rows: list[dict[str, Any]], tmp_path: Path, **data: Any) -> Any:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    objective = objective_of(task)
    config = DataConfig.model_validate({"train": str(path), "split": {"validation": 0.0}, **data})
    return objective.part("prepare")({"train": read(locate(str(path), "data.train")).table}, config, objective.roles)


@pytest.mark.parametrize("held", [False, True])
def test_spans_as_lists(held: bool, tmp_path: Path) -> None:
    rows = [{"text": "EU rejects it", "entities": [[0, 2, "ORG"]]}, {"text": "nothing here", "entities": []}]
    if held:
        table = read(locate(str(rows_to_file(rows, "data.train", tmp_path)), "data.train")).table
        assert table["entities"].to_pylist()[0] == [{"start": 0, "end": 2, "label": "ORG"}]
    else:
        table = prepared("ner", rows, tmp_path).splits["train"]
        assert table["tokens"].to_pylist()[0] == ["EU", "rejects", "it"]


def test_alpacas_shape_is_named(tmp_path: Path) -> None:
    rows = [{"instruction": f"say {at}", "input": "", "output": f"so {at}"} for at in range(4)]
    with pytest.raises(DataError, match="these rows are Alpaca's"):
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
