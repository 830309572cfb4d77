"""Scores by class and the confusion matrix, against scikit-learn's."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from tasks.evaluation.per_class import by_class, confused_line, matrix_cells
from tasks.evaluation.plot_confusion import confusion_picture
from tasks.evaluation.scorers.classes import scorer
from tasks.evaluation.scorers.tags import scorer as tags
from tasks.results.card import class_sections


def told(names: list[str], rows: int = 300) -> tuple[Any, Any, dict[str, Any]]:
    draw = np.random.default_rng(0)
    gold = draw.choice(names[:-1], rows)  # one class has no rows
    seen = np.where(draw.random(rows) < 0.7, gold, draw.choice(names, rows))
    found = by_class(
        scorer({"labels": names, "problem_type": "single_label_classification"}),
        pa.table({"label": gold.tolist(), "prediction": seen.tolist()}),
    )
    return gold, seen, found


def test_as_scikit_learn_has_them() -> None:
    names = ["sad", "an|gry", "glad", "none"]
    gold, seen, found = told(names)
    assert found["confusion"] == confusion_matrix(gold, seen, labels=names).tolist()
    expected = precision_recall_fscore_support(gold, seen, labels=names, zero_division=0.0)
    for name, precision, recall, f1, rows in zip(names, *expected, strict=True):
        assert found["scores"][name] == pytest.approx(
            {"rows": rows, "precision": precision, "recall": recall, "f1": f1}
        )
    most = max(
        ((g, s) for g in names for s in names if g != s),
        key=lambda pair: int(((gold == pair[0]) & (seen == pair[1])).sum()),
    )
    assert tuple(found["confused"][0][:2]) == most
    assert matrix_cells(found)[0] == ("class", *(f"as {name}" for name in names))
    assert "an&#124;gry" in class_sections({"test": found}) and not confused_line(found)


def test_many_classes_are_said_by_what_is_confused_most() -> None:
    found = told([f"c{at}" for at in range(60)], 3000)[2]
    assert "confusion" not in found and not matrix_cells(found) and confusion_picture(found) is None
    assert len(found["confused"]) == 10 and confused_line(found).startswith("most often confused: c")


def test_several_labels_and_entities_have_scores_and_no_matrix() -> None:
    several = by_class(
        scorer({"labels": ["a", "b"], "problem_type": "multi_label_classification"}),
        pa.table({"label": [["a"], ["a", "b"], []], "prediction": [["a"], ["a"], ["b"]]},
                 schema=pa.schema([("label", pa.list_(pa.string())), ("prediction", pa.list_(pa.string()))])),
    )  # fmt: skip
    assert several["scores"]["a"] == {"rows": 2, "precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert (
        several["scores"]["b"] == {"rows": 1, "precision": 0.0, "recall": 0.0, "f1": 0.0} and "confusion" not in several
    )
    rows = pa.table({"label": [["B-PER", "O"]], "prediction": [["B-PER", "B-LOC"]]})
    assert by_class(tags({"labels": ["O", "B-PER", "B-LOC"]}), rows)["scores"]["PER"]["f1"] == 1.0
    numbers = pa.table({"label": [1.0, 2.0], "prediction": [1.0, 2.0]})
    assert by_class(scorer({"labels": None, "problem_type": "regression"}), numbers) == {}


def test_the_picture_is_a_png_and_the_same_every_time() -> None:
    found = told(["sad", "angry", "glad"])[2]
    one = confusion_picture(found)
    assert one is not None and one.startswith(b"\x89PNG") and one == confusion_picture(found)
