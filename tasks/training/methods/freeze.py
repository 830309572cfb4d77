"""Freezing: parts of the model keep the base's weights, and need no gradients and no optimizer state.

Lee, Tang and Lin 2019 (arXiv:1911.03090): a quarter of the layers, trained, reaches 90 % of a full fine-tuning's score.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator, model_validator

from tasks.config.errors import ConfigError
from tasks.config.reading.names import nearest
from tasks.config.sections.section import NotNegative, Section, Text
from tasks.training.hooks import TrainingHook
from tasks.training.methods.base import Method

if TYPE_CHECKING:
    import torch

    from tasks.config import RunConfig


class Freeze(Section):
    """Options. `freeze: 6` is short for `{layers: 6}`."""

    bare: ClassVar[str] = "layers"

    layers: NotNegative = Field(
        default=0, description="How many layers are frozen, from the bottom; below 1, a share of all layers."
    )
    embeddings: bool = Field(
        default=False, description="Whether the embeddings are frozen, and an output layer tied to them."
    )
    names: list[Text] = Field(
        default=[],
        description="What else is frozen: dotted names of modules or parameters, or regular expressions of these, from "
        "the beginning of the name (bert.pooler, .*LayerNorm).",
    )

    @field_validator("layers")
    @classmethod
    def _whole(cls, layers: float) -> float:
        if layers >= 1 and layers != int(layers):
            raise ValueError(f"{layers:g} given; valid: a whole number of layers, or a share of them below 1")
        return layers

    @field_validator("names")
    @classmethod
    def _patterns(cls, names: list[str]) -> list[str]:
        for name in names:
            try:
                re.compile(name)
            except re.error as error:
                raise ValueError(f"{name!r} is not a valid regular expression ({error})") from None
        return names

    @model_validator(mode="after")
    def _something(self) -> Freeze:
        if not (self.layers or self.embeddings or self.names):
            raise ValueError("freezes nothing; set layers, embeddings or names, or leave it out")
        return self


class Frozen(TrainingHook):
    """Sets `requires_grad` of the configured parts to False. With an adapter, that of the adapter in these layers,
    which keeps its initial weights there (and so has no effect).

    Raises:
        ConfigError: the layers of the model's architecture are unknown or fewer; a part matches no parameter, or none
            that would be trained.
    """

    def check(self) -> None:
        """Find every part."""
        trained = self._trained()
        for field, names in self._parts():
            if not names & trained.keys():
                raise ConfigError(f"methods.freeze.{field}: nothing of it would be trained anyway (with an adapter, "
                                  "the base's weights are frozen); leave it out")  # fmt: skip

    def set_trainable(self) -> None:
        """Freeze."""
        trained = self._trained()
        for name in set[str]().union(*(names for _, names in self._parts())) & trained.keys():
            trained[name].requires_grad_(False)

    def _trained(self) -> dict[str, torch.nn.Parameter]:
        every = self.model.named_parameters(remove_duplicate=False)  # a tied one has several names
        return {name: each for name, each in every if each.requires_grad}

    def _parts(self) -> Iterator[tuple[str, set[str]]]:
        """Yield each configured part's option and its parameters' names."""
        from tasks.models.layers import depths, inside_layers

        if self.options["layers"] or self.options["embeddings"]:
            try:
                depth_of, count = depths(self.model)
            except ConfigError as error:
                raise ConfigError(f"{error}; methods.freeze.names can freeze parts of any model") from None
            if self.options["layers"]:
                lowest, inside = self._lowest(count), inside_layers(self.model)
                yield "layers", {name for name in inside if depth_of[name] <= lowest}
            if self.options["embeddings"]:
                yield "embeddings", {name for name, depth in depth_of.items() if depth == 0}
        for name in self.options["names"]:
            yield "names", self._matching(name)

    def _lowest(self, count: int) -> int:
        layers = self.options["layers"]
        found = round(layers * count) if layers < 1 else int(layers)
        if not 1 <= found <= count:
            architecture = type(_inner(self.model)).__name__
            raise ConfigError(f"methods.freeze.layers: {layers:g} given; this {architecture} has {count} layers; "
                              f"valid: 1 to {count}, or a share of them below 1")  # fmt: skip
        return found

    def _matching(self, pattern: str) -> set[str]:
        from tasks.models.layers import ADAPTER

        prefix = ADAPTER if _inner(self.model) is not self.model else ""
        every = [name for name, _ in self.model.named_parameters(remove_duplicate=False)]
        found = {name for name in every if re.fullmatch(rf"(?:{pattern})(?:\..*)?", name.removeprefix(prefix))}
        if not found:
            inner = _inner(self.model)
            modules = [name for name, module in inner.named_modules() if name and [*module.parameters()]]
            guess = nearest(pattern, modules) or next((name for name in modules if name.endswith(f".{pattern}")), None)
            among = ", ".join(name for name in modules if name.count(".") < 2)
            raise ConfigError(f"methods.freeze.names: {pattern!r} matches no parameter of {type(inner).__name__}; its "
                              f"parts are {among}, …{f'; did you mean {guess!r}?' if guess else ''}")  # fmt: skip
        return found


def _inner(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "peft_config") else model


def reentrant(name: str, config: RunConfig) -> Iterator[str]:
    """Yield a message if the config's gradient checkpointing would leave layers above frozen ones without gradients
    (torch.utils.checkpoint: with use_reentrant, an input must require them)."""
    for field in ("gradient_checkpointing", "activation_checkpointing"):
        options = getattr(config.train, f"{field}_kwargs", None)
        if getattr(config.train, field, None) and isinstance(options, Mapping) and options.get("use_reentrant"):
            yield (f"train.{field}_kwargs.use_reentrant: true given, with which layers above frozen ones get no "
                   f"gradients, and methods.{name} freezes some; leave it out")  # fmt: skip


FREEZE = Method(
    name="freeze",
    summary="The lowest layers, the embeddings or named parts keep the base's weights.",
    options=Freeze,
    hook="tasks.training.methods.freeze:Frozen",
    check=lambda options, config, task: reentrant("freeze", config),
)
