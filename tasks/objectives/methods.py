"""The training methods of a run: checked against those that are known, and as a stage is given them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tasks.config.errors import ConfigError
from tasks.config.reading.names import nearest
from tasks.config.reading.problems import problems
from tasks.training.methods import methods


def resolve_methods(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The options of each method a config names, checked, with their defaults.

    Raises:
        ConfigError: naming every method and option that is not known or has no valid value.
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
    """The methods of one run with their options, as a stage is given them (an `artifacts.keys.code.Component`)."""

    options: Mapping[str, Mapping[str, Any]]

    def describe(self, components: tuple[str, ...]) -> dict[str, Any]:
        """Names and options, for a key."""
        return dict(self.options)

    def modules(self, components: tuple[str, ...]) -> list[str]:
        """The modules of their hooks."""
        return [methods()[name].module for name in self.options]

    def hooks(self, model: Any, plan: Mapping[str, Any]) -> list[Any]:
        """Their hooks for one training, in the order of the config."""
        return [methods()[name].make(options, model, plan) for name, options in self.options.items()]
