"""The heads of a model: which modules they are, and a base's existing one matched to the data's classes by name."""

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

SHOWN = 5  # class names in a message


@dataclass(frozen=True)
class HeadChange:
    """The result of `fit` for a base's head.

    Attributes:
        labels: the model's final class names, in the order of their ids; None for a number (regression).
        how: `new` (the base has no such head), `kept`, `reordered` (rows matched by class name) or `redrawn`.
        message: a message for the user; empty if the head is new.
        changed: names of the parameters whose values differ from the base's.
    """

    labels: list[str] | None
    how: str
    message: str = ""
    changed: frozenset[str] = frozenset()


def heads_of(model: PreTrainedModel, new: Iterable[str]) -> list[str]:
    """The modules to train and save whole beside an adapter: a task's head, and whatever the base lacks.

    Args:
        new: names of the parameters the base lacks; some may lie within its body (a pooler).
    """
    among = getattr(model, "heads_among", None)
    if callable(among):
        return list(among(new))  # type: ignore[arg-type]
    names, body = list(new), model.base_model_prefix
    output = model.get_output_embeddings()
    has_body = any(name == body for name, _ in model.named_children())

    def is_head(name: str, child: Any) -> bool:
        if name == body or not any(True for _ in child.parameters()):
            return False
        fresh = any(each.startswith(f"{name}.") for each in names)
        # a language model's own output layer is trained through the adapter, as all its layers are
        return fresh or (has_body and not any(module is output for module in child.modules()))

    outside = [name for name, child in model.named_children() if is_head(name, child)]
    within = {name.rpartition(".")[0] for name in names if name.startswith(f"{body}.")}
    return [*outside, *sorted(within)]


def fit(
    model: PreTrainedModel, labels: list[str] | None, base: PreTrainedConfig, new: set[str],
    mismatched: Mapping[str, int], adapted: set[str],
) -> HeadChange:  # fmt: skip
    """Match the rows of a base's head to `labels` by name, in place. A head with other classes, with placeholder names
    (LABEL_0, …, unless the data numbers its classes) or repeated names is newly initialized, like a missing one.

    Args:
        labels: the data's class names, in the order of their ids; None for a number (regression).
        base: the base's config.
        new: names of parameters that the base lacks, or has in another size; `mismatched`: the base's rows of the
            latter.
        adapted: names of parameters that its adapter changed or added.
    """
    new, mismatched = new - adapted, {name: size for name, size in mismatched.items() if name not in adapted}
    if sizes := sorted({rows for name, rows in mismatched.items() if not _in_body(model, name)}):
        needed = "needs a number" if labels is None else _classes(len(labels), labels)
        return HeadChange(labels, "redrawn", f"the base's head has {_classes(sizes[-1], _names(base, sizes[-1]))}, "
                      f"the data {needed}: the head is newly initialized")  # fmt: skip
    rows = label_rows(model)
    if not rows.keys() - new:
        return HeadChange(labels, "new")
    written_for = getattr(base, "architectures", None) or [type(model).__name__]
    trained = type(model).__name__ in written_for or not any("For" in each for each in written_for)
    if not (trained or rows.keys() & adapted) or rows.keys() & new:
        _initialize(model, rows)
        return HeadChange(labels, "redrawn", f"the base's head is that of a {written_for[0]}, for another task: "
                      "the head is newly initialized", frozenset(rows))  # fmt: skip
    if labels is None:
        return HeadChange(None, "kept", "training continues from the base's head for a number")
    return _by_name(model, labels, _names(base, len(labels)), rows)


def _by_name(model: PreTrainedModel, labels: list[str], known: list[str], rows: Mapping[str, int]) -> HeadChange:
    repeated = next((name for name in known if known.count(name) > 1), None)
    if repeated is not None:
        _initialize(model, rows)
        return HeadChange(labels, "redrawn", f"the base's head names several of its classes {repeated!r}, so its rows "
                      f"cannot be matched to {_first(labels)}: the head is newly "
                      "initialized", frozenset(rows))  # fmt: skip
    if known == labels:
        return HeadChange(labels, "kept", f"training continues from the base's head for {_first(labels)}")
    if set(known) == set(labels):
        order = torch.tensor([known.index(name) for name in labels])
        for name, axis in rows.items():
            parameter = model.get_parameter(name)
            parameter.data = parameter.data.index_select(axis, order)
        return HeadChange(labels, "reordered", f"the base's head has the same classes in another order "
                      f"({_first(known)}): its rows are matched by class name", frozenset(rows))  # fmt: skip
    unnamed = known == _placeholders(len(known))
    if labels == [str(at) for at in range(len(known))]:
        return HeadChange(labels if unnamed else known, "kept", f"labels 0 to {len(known) - 1} are the base's classes "
                      f"{_first(known)}: its head {'is' if unnamed else 'and names are'} kept")  # fmt: skip
    _initialize(model, rows)
    if unnamed:
        return HeadChange(labels, "redrawn", f"the base's head has no class names ({_first(known)}), so its rows "
                      f"cannot be matched to {_first(labels)}: the head is newly initialized (to keep it, name its "
                      "classes in id2label of the base's config.json, or number the data's from 0)",
                      frozenset(rows))  # fmt: skip
    return HeadChange(labels, "redrawn", f"the base's head is for other classes ({_first(known)}) than the data's "
                  f"({_first(labels)}): the head is newly initialized", frozenset(rows))  # fmt: skip


def label_rows(model: PreTrainedModel) -> dict[str, int]:
    """Return the parameters with a row per class, by name, and the axis of those rows."""

    def shapes(classes: int) -> dict[str, torch.Size]:
        config = copy.deepcopy(model.config)
        config.num_labels = classes
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return {name: each.shape for name, each in type(model)(config).named_parameters()}

    classes = model.config.num_labels or 0
    one, other = shapes(classes), shapes(classes + 1)
    return {
        name: next(axis for axis, size in enumerate(shape) if size != other[name][axis])
        for name, shape in one.items()
        if name in other and shape != other[name]
    }


def _initialize(model: PreTrainedModel, names: Collection[str]) -> None:
    """Initialize parameters as the library does if a base lacks them: it skips those marked as initialized."""
    owners = {".".join(name.split(".")[:depth]) for name in names for depth in range(name.count(".") + 1)}
    everything: Any = [*model.named_modules(), *model.named_parameters(), *model.named_buffers()]
    for name, each in everything:
        each._is_hf_initialized = name not in names and name not in owners
    model.initialize_weights()


def _names(config: PreTrainedConfig, classes: int) -> list[str]:
    """Return the names of a config's classes in the order of their ids; placeholders if their number differs from the
    head's rows (an adapter brought its own head)."""
    given = getattr(config, "id2label", None) or {}
    return [str(given[at]) for at in sorted(given)] if len(given) == classes else _placeholders(classes)


def _placeholders(classes: int) -> list[str]:
    """Return transformers' names for unnamed classes."""
    return [f"LABEL_{at}" for at in range(classes)]


def _classes(number: int, names: Sequence[str]) -> str:
    counted = f"{number:,} class" if number == 1 else f"{number:,} classes"
    return counted if names == _placeholders(number) else f"{counted} ({_first(names)})"


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _in_body(model: PreTrainedModel, name: str) -> bool:
    return name.startswith(f"{model.base_model_prefix}.")
