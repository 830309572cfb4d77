"""How generated texts are chosen: sampling, beams, and their limit."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tasks.config import ConfigError, RunConfig
from tasks.config.json_types import JsonObject
from tasks.inference.saved_model import Saved
from tasks.models.generation import SAMPLING, positions_of, usual_limit
from tasks.objectives import objective_of

if TYPE_CHECKING:
    import torch

LIMIT, BEAMS = "generation_max_length", "generation_num_beams"
VALID = {
    "max_new_tokens": (int, lambda value: value >= 1, "a whole number, 1 or more"),
    "temperature": (int | float, lambda value: 0 <= value < math.inf, "0 or more"),
    "top_p": (int | float, lambda value: 0 < value <= 1, "above 0, at most 1"),
    "top_k": (int, lambda value: value >= 0, "a whole number; 0: all tokens"),
    "num_beams": (int, lambda value: value >= 1, "a whole number, 1 or more"),
    "seed": (int, lambda value: 0 <= value < 2**32, "a whole number below 2**32"),
}


@dataclass(frozen=True)
class Sampling:
    """How the tokens of a text are chosen. None: as the model's generation config says, by default the likeliest.

    Attributes:
        max_new_tokens: the longest text. temperature: 0 always takes the likeliest token. top_p: sample only from the
            likeliest tokens with this share of the probability. top_k: sample only from this many; 0: from all.
        num_beams: of a beam search. seed: of the sampling.

    Raises:
        ConfigError: a value that is not valid, or that has no effect.
    """

    max_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    num_beams: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, value in self.given().items():
            kind, fits, valid = VALID[name]
            if not isinstance(value, kind) or isinstance(value, bool) or not fits(value):
                raise ConfigError(f"{_option(name)}: {value!r} given; valid: {valid}")
        idle = next((name for name in ("top_p", "top_k", "seed") if name in self.given()), None)
        if idle and not self.temperature:
            raise ConfigError(f"{_option(idle)}: has no effect without --temperature")

    def given(self) -> JsonObject:
        """Return the fields that are set."""
        return {name: value for name, value in self.__dict__.items() if value is not None}

    def arguments(self) -> JsonObject:
        """Return arguments of transformers' `generate`; None unsets a field of the model's generation config."""
        limit = {"max_new_tokens": self.max_new_tokens, "max_length": None} if self.max_new_tokens else {}
        beams = {"num_beams": self.num_beams} if self.num_beams else {}
        if self.temperature is None:
            return {**limit, **beams}
        chosen: JsonObject = {"do_sample": self.temperature > 0, **dict.fromkeys(SAMPLING)}
        if self.temperature > 0:
            chosen |= {
                "temperature": float(self.temperature),
                "top_p": float(self.top_p or 1),
                "top_k": self.top_k or 0,
            }
            chosen |= {"num_beams": 1}
        return {**chosen, **limit, **beams}


def with_sampling(saved: Saved, sampling: Sampling, config: RunConfig) -> Saved:
    """Return `saved`, to generate texts as `sampling` says.

    Args:
        config: whose `train` may have limits of its own.

    Raises:
        ConfigError: its task does not generate texts; a limit is also given as a field of `train`.
    """
    given = sampling.given()
    if not given:
        return saved
    if not objective_of(saved.task).generates:
        names = ", ".join(map(_option, given))
        raise ConfigError(f"{names}: has no effect on {saved.task}, which generates no texts")
    limits = {LIMIT: sampling.max_new_tokens, BEAMS: sampling.num_beams}
    if twice := next((name for name, value in limits.items() if value and name in config.train.model_fields_set), None):
        option = _option("max_new_tokens" if twice == LIMIT else "num_beams")
        raise ConfigError(f"{option}: given beside train.{twice}, which means the same; keep one")
    arguments = {**saved.arguments, **{name: value for name, value in limits.items() if value}}
    seed = saved.seed if sampling.seed is None else sampling.seed
    return replace(saved, arguments={**arguments, "generate": sampling.arguments()}, seed=seed)


def with_room(saved: Saved, model: "torch.nn.Module") -> Saved:
    """Return `saved` with prompts limited so that prompt and text together fit in the model's positions.

    Raises:
        ConfigError: the text alone does not fit.
    """
    from tasks.evaluation.predictors.prompts import NEW_TOKENS

    config: Any = model.config
    positions = positions_of(model)
    limit = saved.arguments.get(LIMIT) or usual_limit(model, NEW_TOKENS)
    alone = getattr(config, "is_encoder_decoder", False)
    if limit > positions - (0 if alone else 1):
        raise ConfigError(f"{_option('max_new_tokens')}: {limit} given; the model takes {positions} tokens"
                          f"{'' if alone else ', those of the prompt included'}")  # fmt: skip
    if alone:
        return saved
    length = min(saved.shape["max_length"], positions - limit)
    return replace(saved, shape={**saved.shape, "max_length": length}, arguments={**saved.arguments, LIMIT: limit})


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
