"""The training methods of a run: validation, and their form as a stage's argument."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tasks.config import RunConfig
from tasks.config.errors import ConfigError
from tasks.config.json_types import JsonObject
from tasks.config.reading.names import PEERS, nearest
from tasks.config.reading.problems import problems
from tasks.objectives.base import Objective
from tasks.training.methods import methods
from tasks.training.methods.base import TrainLabels

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
            guess = PEERS.get(name, "").removeprefix("methods.")
            guess = guess if guess in methods() else nearest(name, methods())
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


def check_methods(config: RunConfig, objective: Objective) -> Iterator[str]:
    """Yield why a resolved config cannot use its methods."""
    for name, options in config.methods.items():
        if (check := methods()[name].check) is not None:
            yield from check(options, config, objective)


def fit_methods(
    options: Mapping[str, Mapping[str, Any]], head: Mapping[str, Any], counts: Sequence[int] | None = None,
    rows: int = 0, warn: Callable[[str], None] = print,
) -> dict[str, Mapping[str, Any]]:  # fmt: skip
    """Return the options of each method as planned for the labels of the training rows.

    Args:
        head: of stage 4. counts: see `TrainLabels`. rows: number of training rows, after tokenization.

    Raises:
        ConfigError: options that do not fit these labels.
    """
    labels = TrainLabels(head["labels"] or (), head["problem_type"], counts, rows, warn)
    fits = {name: methods()[name].fit for name in options}
    return {name: fit(options[name], labels) if (fit := fits[name]) else options[name] for name in options}


def fits_labels(options: Mapping[str, Any]) -> bool:
    """Whether any of these methods depends on labels."""
    return any(methods()[name].fit for name in options)


@dataclass(frozen=True)
class Methods:
    """The methods of one run with their options, as a stage's argument (an `artifacts.keys.code.Component`)."""

    options: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, configured: Mapping[str, Mapping[str, Any]]) -> "Methods":
        """Return the configured methods, without options that are not in keys."""
        return cls({
            name: {option: value for option, value in options.items() if option not in methods()[name].unkeyed}
            for name, options in configured.items()
        })  # fmt: skip

    @property
    def average(self) -> bool:
        """Whether any of them returns a mean over the micro-batch instead of the model's loss over all items."""
        return any(methods()[name].averages for name in self.options)

    def describe(self, components: tuple[str, ...]) -> JsonObject:
        """Names and options, for a key."""
        return dict(self.options)

    def modules(self, components: tuple[str, ...]) -> list[str]:
        """The modules of their hooks."""
        return [methods()[name].module for name in self.options]

    def hooks(
        self, model: "torch.nn.Module", plan: Mapping[str, Any], artifacts: Mapping[str, Any] | None = None
    ) -> "list[TrainingHook]":
        """Their hooks for one training, in the order of the config, with their options as planned.

        Args:
            artifacts: see `TrainingHook`.
        """
        found = [methods()[name].make(plan["methods"][name], model, plan) for name in self.options]
        for hook in found:
            hook.artifacts = artifacts or {}
        return found
