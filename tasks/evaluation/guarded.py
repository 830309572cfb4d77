"""What a model can do of a task that another model was trained for: the head of that one on the body of this one.

Used for the model before a training and after it alike, so that a training that changes nothing drops nothing.
"""

from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from tasks.artifacts.formats import weights
from tasks.config.json_types import JsonObject
from tasks.data.tables.arrow_file import open_table
from tasks.data.tokens.token_rows import scored_rows, tokens_of
from tasks.evaluation.inference import predict_table
from tasks.evaluation.opened import Opened
from tasks.evaluation.score import point
from tasks.evaluation.threshold import HALF
from tasks.models.bases.tokenizer import read_tokenizer
from tasks.models.bodies import body_of, doing
from tasks.models.likeness import classes_of
from tasks.models.load import NEW, config_of
from tasks.models.teachers import load_trained

KEPT = ("kept", "reordered")  # heads that are the base's own
MULTI_LABEL = "multi_label_classification"
OF_CLASSES = ("labels", "__bare_tags")  # columns of token rows with ids of classes


def guarded_metrics(
    task: Any, trained: Opened, folder: Path, head: Mapping[str, Any], tokens: Mapping[str, Path], live: Any,
    own_head: bool, how: Mapping[str, Any], plan: Mapping[str, Any], scratch: Path, on_rows: Callable[[int, int], None],
    info: Callable[[str], None],
) -> tuple[dict[str, float], bool]:  # fmt: skip
    """Return the guarded task's metrics of a live model, without undefined ones, and whether they are those of its own
    head.

    Args:
        task: the `Objective` of the guarded task. trained: stage 3's artifact of the model that was trained for it.
            folder: a view of that artifact, with the weights. head: of the rows. tokens: shards of the rows to score.
        live: the model to measure. own_head: see `doing`. how: see `tasks.execution.guarded.measuring`. plan: with
            device and precision. scratch: a file that is overwritten. on_rows: called with rows done and in total.

    Raises:
        ConfigError: the trained model has no head for these classes, or another body.
    """
    table, processor = tokens_of(tokens), trained.json("processor.json")
    assert table is not None
    table = scored_rows(table, how["max_samples"], info)
    ends, table = _with_all_classes(head, table, classes_of(config_of(folder, False)))
    other = load_trained(folder, trained.externals(), task.auto_model, ends, processor["pad_token_id"], task.name)
    model = doing(_as_precise(other, live), live, own_head)
    ends = _decided(ends, how["threshold"])
    component = task.component
    view = component("view")(table, processor, how["seed"], how["options"])
    predictor = component("predictor")(
        head=ends, processor=processor, generation=how["generation"], options=how["loss_options"], rewards=None,
        tokenizer=lambda: read_tokenizer(folder),
    )  # fmt: skip
    plan = {**plan, "arguments": {**plan["arguments"], "per_device_eval_batch_size": how["batch_size"]}}
    loss = predict_table(model, view, component("collate")(processor), predictor, plan, scratch, on_rows)
    found = {"loss": loss, **point(component("scorer")(ends), open_table(scratch))}
    scratch.unlink()
    return {name: value for name, value in found.items() if isfinite(value)}, model is live


def has_trained_head(folder: Path, base: Mapping[str, Path], how: str | None) -> bool:
    """Whether the head of the model before training is its base's, and not initialized at random.

    Args:
        folder: a view of the model's artifact. base: the base's files. how: what stage 6 did with the head; None for
            tasks without classes or a number.
    """
    if how is not None:
        return how in KEPT
    known = [name for file, path in base.items() if file.endswith(".safetensors") for name in weights.header(path)]
    return all(any(old.endswith(new) or new.endswith(old) for old in known) for new in weights.header(folder / NEW))


def _with_all_classes(head: Mapping[str, Any], table: pa.Table, known: list[str]) -> tuple[Mapping[str, Any], pa.Table]:
    """Return head and token rows for all classes of the trained model, if these rows have only some of them."""
    labels = head["labels"]
    if labels is None or len(labels) == len(known) or not {*labels} <= {*known}:
        return head, table
    places = np.array([known.index(name) for name in labels])
    for name in (name for name in OF_CLASSES if name in table.column_names):
        at, kind = table.schema.get_field_index(name), table.schema.field(name).type
        column = table[name].combine_chunks()
        moved = _wide(column, places, len(known)) if head["problem_type"] == MULTI_LABEL else _moved(column, places)
        table = table.set_column(at, pa.field(name, kind), moved.cast(kind))
    return {**head, "labels": known}, table


def _wide(column: Any, places: np.ndarray, width: int) -> pa.ListArray:
    """Return 0/1 vectors of `width` classes from those of the classes at `places`."""
    values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    wide = np.zeros((len(column), width), dtype=values.dtype)
    wide[:, places] = values
    return pa.ListArray.from_arrays(np.arange(len(column) + 1, dtype=np.int32) * width, pa.array(wide.reshape(-1)))


def _moved(column: Any, places: np.ndarray) -> pa.Array:
    """Return class ids, or lists of them, as those at `places`; negative ones mean no class and stay."""
    if pa.types.is_list(column.type):
        return pa.ListArray.from_arrays(_starts(column), _moved(column.flatten(), places))
    ids = column.to_numpy(zero_copy_only=False)
    return pa.array(np.where(ids >= 0, places[np.maximum(ids, 0)], ids))


def _starts(lists: Any) -> pa.Array:
    offsets = lists.offsets.to_numpy()
    return pa.array(offsets - offsets[0], pa.int32())


def _decided(head: Mapping[str, Any], threshold: Any) -> JsonObject:
    """Return `head` with its threshold, for multi-label heads: a number, or one for each label by name."""
    if head["problem_type"] != MULTI_LABEL:
        return dict(head)
    if isinstance(threshold, Mapping):
        threshold = [threshold.get(name, HALF) for name in head["labels"]]
    return {**head, "threshold": HALF if threshold is None else threshold}


def _as_precise(other: torch.nn.Module, live: Any) -> torch.nn.Module:
    """Return `other` in the precision and on the device that the body of `live` computes in."""
    core = live.get_base_model() if hasattr(live, "get_base_model") else live
    first = next((each for each in body_of(core).parameters() if each.is_floating_point()), None)
    return other if first is None else other.to(first.dtype)
