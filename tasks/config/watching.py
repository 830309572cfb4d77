"""Which training arguments say how a run is watched and saved, and which say what it computes.

Only the latter may stand in a key: logging twice as often must not train a model again.
"""

from collections.abc import Mapping
from typing import Any

from tasks.config.sections.train import TrainConfig

WATCHING = frozenset(
    {
        "disable_tqdm",
        "include_num_input_tokens_seen",
        "log_level",
        "log_level_replica",
        "log_on_each_node",
        "logging_first_step",
        "logging_nan_inf_filter",
        "logging_steps",
        "logging_strategy",
        "project",
        "report_to",
        "run_name",
        "save_on_each_node",
        "save_steps",
        "save_strategy",
        "save_total_limit",
        "skip_memory_metrics",
        "trackio_space_id",
        "dataloader_num_workers",
        "dataloader_pin_memory",
        "dataloader_prefetch_factor",
    }
)


PLACES = ("resume_from_checkpoint",)  # their content is in the key, not their path


def computing(train: TrainConfig) -> dict[str, Any]:
    """The arguments that shape the weights (and those of ours beside them), without those left to the library."""
    return {name: value for name, value in _given(train).items() if name not in WATCHING}


def watching(train: TrainConfig) -> dict[str, Any]:
    """The arguments that shape only what is seen and kept."""
    return {name: value for name, value in _given(train).items() if name in WATCHING}


def _given(train: TrainConfig) -> Mapping[str, Any]:
    return {
        name: value for name, value in train.model_dump(mode="json").items() if value is not None and name not in PLACES
    }
