"""The probability threshold of multi-label classification."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.config.json_types import JsonObject
from tasks.data.tables.arrow_file import open_table

HALF = 0.5
STEPS = 1000
GROUP = 4096


def decided(head: Mapping[str, Any], threshold: float | str) -> JsonObject:
    """Return `head` with its `threshold`, for multi-label heads; `tuned` starts at 0.5."""
    if head["problem_type"] != "multi_label_classification":
        return dict(head)
    return {**head, "threshold": HALF if threshold == "tuned" else float(threshold)}


def tune(head: Mapping[str, Any], predictions: Path) -> JsonObject:
    """Return `head` with the threshold that maximizes f1_micro of `predictions`; rewrite that file with it.

    The optimum of F1 is in general below one half (Lipton et al., 2014, "Thresholding Classifiers to Maximize F1
    Score"), the more so the rarer the classes. Of equally good ones the one nearest to 0.5 is chosen. Counted in steps
    of 0.001, so memory does not grow with the rows.
    """
    if "threshold" not in head:
        return dict(head)
    found = {**head, "threshold": _best(open_table(predictions), list(head["labels"]))}
    decide_again(predictions, found)
    return found


def _best(table: pa.Table, labels: list[str]) -> float:
    counts = np.zeros((2, STEPS + 1), dtype=np.int64)
    for start in range(0, table.num_rows, GROUP):
        some = table.slice(start, GROUP)
        places = np.floor(probabilities(some) * STEPS).astype(np.int64)
        gold = _gold(some["label"].combine_chunks(), labels)
        for right in (0, 1):
            counts[right] += np.bincount(places[gold == right], minlength=STEPS + 1)[: STEPS + 1]
    wrong, hit = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]  # predicted from this step on
    steps = np.arange(1, STEPS)
    f1 = 2 * hit[steps] / np.maximum(hit[steps] + wrong[steps] + counts[1].sum(), 1)
    best = steps[f1 == f1.max()]
    return float(best[np.argmin(abs(best - STEPS * HALF))] / STEPS)


def decide_again(path: Path, head: Mapping[str, Any]) -> None:
    """Rewrite a predictions file for another threshold."""
    table, names = open_table(path), pa.array(head["labels"], pa.string())
    scratch = path.with_name(f".{path.name}.again")
    at = table.schema.get_field_index("prediction")
    with pa.OSFile(str(scratch), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        for start in range(0, table.num_rows, GROUP):
            some = table.slice(start, GROUP)
            said = chosen(probabilities(some) >= np.float32(head["threshold"]), names)
            writer.write_table(some.set_column(at, table.schema.field(at), said).combine_chunks())
    scratch.replace(path)


def probabilities(table: pa.Table) -> np.ndarray:
    """Return float32 probabilities, (rows, classes)."""
    column = table["probabilities"].combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), -1)


def chosen(flags: np.ndarray, names: pa.Array) -> pa.ListArray:
    """Return lists of the names with a set flag; flags: bool, (rows, classes)."""
    offsets = np.concatenate([[0], np.cumsum(flags.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), names.take(pa.array(np.nonzero(flags)[1])))


def _gold(lists: pa.ListArray, labels: list[str]) -> np.ndarray:
    place = {name: at for at, name in enumerate(labels)}
    gold = np.zeros((len(lists), len(labels)), dtype=np.int64)
    for row, held in enumerate(lists.to_pylist()):
        gold[row, [place[name] for name in held]] = 1
    return gold
