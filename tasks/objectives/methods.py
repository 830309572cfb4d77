"""The training methods of a run: validation, and their form as a stage's argument."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tasks.config.errors import ConfigError
from tasks.config.json_types import JsonObject
from tasks.config.reading.names import nearest
from tasks.config.reading.problems import problems
from tasks.training.methods import methods

if TYPE_CHECKING:
    import torch

    from tasks.training.hooks import TrainingHook


def resolve_methods(given: Mapping[str, Any]) -> dict[str, JsonObject]:
    """Return the validated options of each configured method, with defaults.

    Raises:
        ConfigError: unknown methods, unknown options or invalid values; the message lists all.
    """
    found, wrong = {}, []
    for name, options in given.items():
        method = methods().get(name)
        if method is None:
            guess = nearest(name, methods())
            wrong.append(f"methods.{name}: there is no such method; valid are {', '.join(methods())}"
                         f"{f'; did you mean {guess!r}?' if guess else ''}")  # fmt: skip
            continue
        try:
            found[name] = method.options.model_validate(options).model_dump(mode="json")
        except ValidationError as error:
            known = problems(error, method.options, f"methods.{name}")
            wrong += [f"{problem.path}: {problem.text}" for problem in known]
    if wrong:
        raise ConfigError("\n".join(wrong))
    return found


@dataclass(frozen=True)
class Methods:
    """The methods of one run with their options, as a stage's argument (an `artifacts.keys.code.Component`)."""

    options: Mapping[str, Mapping[str, Any]]

    def describe(self, components: tuple[str, ...]) -> JsonObject:
        """Names and options, for a key."""
        return dict(self.options)

    def modules(self, components: tuple[str, ...]) -> list[str]:
        """The modules of their hooks."""
        return [methods()[name].module for name in self.options]

    def hooks(self, model: "torch.nn.Module", plan: Mapping[str, Any]) -> "list[TrainingHook]":
        """Their hooks for one training, in the order of the config."""
        return [methods()[name].make(options, model, plan) for name, options in self.options.items()]
