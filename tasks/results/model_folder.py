"""Files of a model folder besides the weights: what inference needs, results as transformers' Trainer saves them, and
the tokenizer's limit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.config.json_types import JsonObject
from tasks.models.bases.core_tokenizer import UNBOUNDED
from tasks.models.bases.files import INSIDE
from tasks.models.generation import LIMITS

ASKING = ("per_device_eval_batch_size", "bf16", "fp16", "predict_with_generate", *LIMITS)
TOKENIZER = "tokenizer_config.json"
RESULTS = ("all_results.json", "train_results.json", "eval_results.json", "test_results.json")
SPLITS = {"eval": "validation", "test": "test"}


def inference_facts(
    planned: Mapping[str, Any], limits: Mapping[str, Any], head: Mapping[str, Any], shape: Mapping[str, Any],
    data: Artifact, base: Artifact, model: Artifact, adapted: bool,
) -> JsonObject:  # fmt: skip
    """Return what inference needs to run the model on new rows; `limits` are those of generated texts that are not in
    the plan."""
    arguments = {**planned["arguments"], **limits}
    weights = base.json("base.json")["weights"]
    return {
        **{name: planned[name] for name in ("task", "options", "loss_options", "seed")},
        "head": head,
        "shape": {**shape, "max_length": planned["max_length"]},
        "columns": data.json("data.json")["columns"],
        "processor": base.json("processor.json"),
        "loading": model.json("load.json"),
        "arguments": {name: arguments[name] for name in ASKING if name in arguments},
        "base": {name: digest for name, digest in weights.items() if not name.startswith(INSIDE)} if adapted else {},
    }


def write_results(
    state: Mapping[str, Any], metrics: Mapping[str, float | None], rows: Mapping[str, int], out: Path
) -> None:
    """Write `RESULTS`, as transformers' Trainer (save_metrics) and its example scripts do.

    Args:
        state: `state.json`. metrics: `metrics.json`. rows: by split.
    """
    trained = next((entry for entry in reversed(state["log_history"]) if "train_runtime" in entry), {})
    found = {"train": {**trained, "train_samples": rows["train"]}}
    for short, split in SPLITS.items():
        of_split = {name: value for name, value in metrics.items() if name.startswith(f"{short}_")}
        found |= {short: {**of_split, f"{short}_samples": rows[split]}} if of_split else {}
    found = {short: {**values, "epoch": state["epoch"]} for short, values in found.items()}
    others = {name: value for name, value in metrics.items() if not name.startswith(("eval_", "test_"))}
    found["all"] = {name: value for values in (*found.values(), others) for name, value in values.items()}
    for short, values in found.items():
        json.write({name: value for name, value in values.items() if name != "step"}, out / f"{short}_results.json")


def limited_tokenizer(base: Artifact, length: int) -> JsonObject | None:
    """Return the config of a tokenizer without a limit, with the length in training as its limit; None if it has one.

    transformers truncates by it: without one, it does nothing if asked to truncate.
    """
    if base.json("base.json")["max_length"] < UNBOUNDED:
        return None
    return {**base.json(TOKENIZER), "model_max_length": length}
