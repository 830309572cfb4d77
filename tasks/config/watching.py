"""Separates training arguments for logging and saving from those that affect what is computed.

Only the latter are part of a cache key: logging twice as often must not train a model again.
"""

from tasks.config.json_types import JsonObject
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
        "trackio_bucket_id",
        "trackio_space_id",
        "trackio_static_space_id",
        "dataloader_num_workers",
        "dataloader_pin_memory",
        "dataloader_prefetch_factor",
    }
)


PLACES = ("resume_from_checkpoint",)  # paths; their content is in the key instead


def computing(train: TrainConfig) -> JsonObject:
    """Return the arguments that affect the weights, without unset ones."""
    return {name: value for name, value in _given(train).items() if name not in WATCHING}


def watching(train: TrainConfig) -> JsonObject:
    """Return the arguments that only affect logging and saving."""
    return {name: value for name, value in _given(train).items() if name in WATCHING}


def _given(train: TrainConfig) -> JsonObject:
    return {
        name: value for name, value in train.model_dump(mode="json").items() if value is not None and name not in PLACES
    }
