"""The probability thresholds of multi-label classification."""

from collections.abc import Callable, Mapping, Sequence
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
    """Return `head` with its `threshold`, for multi-label heads; a tuned one starts at 0.5."""
    if head["problem_type"] != "multi_label_classification":
        return dict(head)
    return {**head, "threshold": HALF if isinstance(threshold, str) else float(threshold)}


def tune(head: Mapping[str, Any], predictions: Path, how: float | str, info: Callable[[str], None]) -> JsonObject:
    """Return `head` with the threshold that is best for `predictions`, and rewrite that file with it.

    The optimum of F1 is in general below one half (Lipton et al., 2014, "Thresholding Classifiers to Maximize F1
    Score"), the more so the rarer the classes. Counted in steps of 0.001, so memory does not grow with the rows. Of
    equally good thresholds the one nearest to 0.5 is chosen, the lower of two; so a label that no row has keeps 0.5.

    Args:
        how: `tuned`: one threshold, the best for f1_micro; `tuned_per_class`: one for each label, the best for the f1
            of that label, and so for f1_macro (a list in the order of the labels); a number: nothing is tuned.
    """
    if "threshold" not in head or not isinstance(how, str):
        return dict(head)
    table, labels = open_table(predictions), list(head["labels"])
    counts = _counts(table, labels)
    if how == "tuned":
        best = _best(counts.sum(1))
        info(f"eval.threshold: tuned to {best:g} for f1_micro of {table.num_rows:,} validation rows")
    else:
        best = [_best(counts[:, at]) for at in range(len(labels))]
        info(f"eval.threshold: tuned for the f1 of each label on {table.num_rows:,} validation rows: {min(best):g} "
            f"({labels[np.argmin(best)]}) to {max(best):g} ({labels[np.argmax(best)]})")  # fmt: skip
        if absent := [name for name, held in zip(labels, counts[1].sum(1), strict=True) if not held]:
            info(f"eval.threshold: no validation row has {', '.join(absent)}: the threshold there is {HALF:g}")
    found = {**head, "threshold": best, "tuned": how}
    decide_again(predictions, found)
    return found


def _counts(table: pa.Table, labels: list[str]) -> np.ndarray:
    """Return how many rows without (0) and with (1) each label have a probability in each step: (2, labels, steps)."""
    counts = np.zeros((2, len(labels), STEPS + 1), dtype=np.int64)
    edges = (np.arange(STEPS + 1) / STEPS).astype(np.float32)
    for start in range(0, table.num_rows, GROUP):
        some = table.slice(start, GROUP)
        places = np.searchsorted(edges, probabilities(some), side="right") - 1
        gold = _gold(some["label"].combine_chunks(), labels)
        at = np.broadcast_to(np.arange(len(labels)), gold.shape)
        np.add.at(counts, (gold, at, places), 1)
    return counts


def _best(counts: np.ndarray) -> float:
    """Return the threshold with the highest F1; counts: (2, steps)."""
    wrong, hit = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]  # predicted from this step on
    steps = np.arange(1, STEPS)
    f1 = 2 * hit[steps] / np.maximum(hit[steps] + wrong[steps] + counts[1].sum(), 1)
    best = steps[f1 == f1.max()]
    return float(best[np.argmin(abs(best - STEPS * HALF))] / STEPS)


def decide_again(path: Path, head: Mapping[str, Any]) -> None:
    """Rewrite a predictions file for other thresholds."""
    table, names = open_table(path), pa.array(head["labels"], pa.string())
    scratch = path.with_name(f".{path.name}.again")
    with pa.OSFile(str(scratch), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        for start in range(0, table.num_rows, GROUP):
            writer.write_table(at_threshold(table.slice(start, GROUP), names, head["threshold"]).combine_chunks())
    scratch.replace(path)


def at_threshold(table: pa.Table, names: pa.Array, threshold: float | Sequence[float]) -> pa.Table:
    """Return predictions with the labels whose probability reaches a threshold, one or one for each label."""
    at = table.schema.get_field_index("prediction")
    predicted = chosen(probabilities(table) >= np.asarray(threshold, dtype=np.float32), names)
    return table.set_column(at, table.schema.field(at), predicted)


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
