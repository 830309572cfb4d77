"""A number for each class: as users write it, and as the plan has it (a list in the order of the class ids)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from tasks.config.errors import ConfigError
from tasks.config.json_types import is_mapping, is_sequence
from tasks.config.reading.names import nearest
from tasks.config.sections.section import Positive
from tasks.training.methods.base import Task, TrainLabels

BALANCED = "balanced"
SHOWN = 10  # class names in a message
TASKS = {"rows": "text-classification", "tokens": "token-classification"}


def _checked(value: object) -> object:
    if is_mapping(value):  # YAML reads the class names 0 and true as a number and a boolean
        value = {str(name).lower() if isinstance(name, bool) else str(name): each for name, each in value.items()}
    if isinstance(value, str) and value != BALANCED:
        near = nearest(value, [BALANCED])
        raise ValueError(f"{value!r} given; valid: balanced, a mapping {{label: number}}, or a list with a number for "
                         f"each class{f'; did you mean {near}?' if near else ''}")  # fmt: skip
    for place, each in value.items() if is_mapping(value) else enumerate(value, 1) if is_sequence(value) else ():
        _positive(place, each)
    return value


def _positive(place: object, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError(f"{value!r} given for {place!r}; valid: a number above 0")


ByClass = Annotated[Literal["balanced"] | dict[str, Positive] | list[Positive], BeforeValidator(_checked)]


def only_classes(method: str, task: Task, *kinds: str) -> Iterator[str]:
    """Yield why a method that needs classes of these kinds (see `Objective.cross_entropy`) cannot be used."""
    if task.trained_classes not in kinds:
        tasks = " and ".join(TASKS[kind] for kind in kinds)
        yield f"methods.{method}: is for {tasks} with the model's own loss, not for {task.name}; leave it out"


def refuse_numbers(field: str, labels: TrainLabels) -> None:
    """Raise ConfigError if the labels are numbers to predict, not classes."""
    if not labels.names:
        raise ConfigError(f"{field}: these labels are numbers (regression), not classes; leave it out")


def in_order(given: str | Mapping[str, float] | Sequence[float], labels: TrainLabels, field: str) -> list[float] | None:
    """Return the number of each class: 1 for those that a mapping leaves out; None for `balanced` before the rows are
    counted.

    Raises:
        ConfigError: a label that does not exist, or a list of another length.
    """
    if isinstance(given, str):
        return None if labels.counts is None else balanced(labels, field)
    valid = ", ".join(labels.names[:SHOWN]) + (", …" if len(labels.names) > SHOWN else "")
    if not isinstance(given, Mapping):
        if len(given) != len(labels.names):
            raise ConfigError(f"{field}: {len(given)} numbers given; there are {len(labels.names)} classes, in this "
                              f"order: {valid}")  # fmt: skip
        return [float(each) for each in given]
    if unknown := next((name for name in given if name not in labels.names), None):
        near = nearest(unknown, labels.names)
        raise ConfigError(f"{field}.{unknown}: there is no such label; valid are {valid}"
                          f"{f'; did you mean {near!r}?' if near else ''}")  # fmt: skip
    return [float(given.get(name, 1.0)) for name in labels.names]


def balanced(labels: TrainLabels, field: str) -> list[float]:
    """Return n / (k · count) of each class, as scikit-learn's `compute_class_weight`: n rows, k classes that occur; if
    rows have several labels, the number of rows without the label / with it. 1, with a warning, for a class without
    training rows (and for a label that all rows have).
    """
    counts: Any = labels.counts
    total, present = sum(counts), sum(count > 0 for count in counts)
    if labels.several:
        odd = [name for name, count in zip(labels.names, counts, strict=True) if count in (0, labels.rows)]
        found = [(labels.rows - count) / count if 0 < count < labels.rows else 1.0 for count in counts]
    else:
        odd = [name for name, count in zip(labels.names, counts, strict=True) if not count]
        found = [total / (present * count) if count else 1.0 for count in counts]
    if odd:
        what = "no training row has these labels, or all have" if labels.several else "no training row has these labels"
        labels.warn(f"{field}: balanced: {what}, so their number is 1: {', '.join(odd[:SHOWN])}"
                    f"{f' and {len(odd) - SHOWN} more' if len(odd) > SHOWN else ''}")  # fmt: skip
    return found
