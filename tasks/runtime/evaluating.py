"""Settings of the evaluation after training."""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.ref import ArtifactRef
from tasks.config import ConfigError, EvalConfig, TrainConfig
from tasks.config.arguments import GENERATION
from tasks.config.json_types import JsonObject
from tasks.evaluation.metric_code import own_metrics
from tasks.objectives.base import Objective
from tasks.runtime.context import current

LIMIT = "generation_max_length"


def generation_settings(
    objective: Objective, train: TrainConfig, base: ArtifactRef, virtual_tokens: int
) -> tuple[JsonObject, JsonObject]:
    """Return the fields of `train` on how answers are generated in the evaluation after training, empty if none are;
    and the limits of generated texts (tokens, beams) to save with the model. Both are empty for a task whose
    evaluations during training generate texts: there they are part of the training.

    Args:
        virtual_tokens: that an adapter adds to each row.

    Raises:
        ConfigError: the answers alone are longer than the model's maximum.
    """
    if objective.generates_in_training:
        return {}, {}
    switch, *names = GENERATION
    limits = {name: value for name in names if (value := getattr(train, name, None)) is not None}
    if not getattr(train, switch, None):
        return {}, limits
    if not base.members:
        return {switch: True, **limits}, limits
    most = current().open(base).json("base.json")["max_length"] - virtual_tokens
    if limits.get(LIMIT, 0) >= most:
        beside = f" beside {virtual_tokens} virtual tokens" if virtual_tokens else ""
        raise ConfigError(f"train.{LIMIT}: {limits[LIMIT]} given; the model takes {most} tokens{beside}, those of the "
                          "question included")  # fmt: skip
    return {switch: True, **limits}, limits


def texts(rows: ArtifactRef, section: EvalConfig, answers: Mapping[str, Any]) -> ArtifactRef | None:
    """Return the rows to slice by, to show answers to, or to generate answers to; `answers`: how, empty if not."""
    used = section.slices or section.samples or answers
    return rows.select("validation.arrow*", "test.arrow*") if used else None


def scoring(section: EvalConfig) -> JsonObject:
    """Return what determines the scores of predictions, with the code of the user's own metrics."""
    names = ("metrics", "bootstrap", "slices", "threshold", "splits")
    given = {name: getattr(section, name) for name in names}
    return {**given, "custom": own_metrics(section), "samples": section.samples or 0}
