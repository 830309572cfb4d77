"""Refuse models that do not fit together: with other tokens or other classes."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.config.errors import ConfigError


def refuse_other_tokens(field: str, model: str, theirs: Mapping[str, int], ours: Mapping[str, int], mend: str) -> None:
    """Refuse a model that reads other token ids than the one that learns.

    Args:
        field: that named it, for messages. theirs, ours: token -> id. mend: what to do, as the end of a message.

    Raises:
        ConfigError: naming the difference.
    """
    odd = sorted(token for token in ours if theirs.get(token) != ours[token])
    if odd or len(theirs) != len(ours):
        shown = f", such as {odd[0]!r}" if odd else ""
        raise ConfigError(f"{field}: {model!r} has another tokenizer than the model that learns ({len(theirs):,} "
                          f"tokens, not {len(ours):,}; {len(odd):,} of these are missing or have another id{shown}), "
                          f"and reads the same token ids; {mend}")  # fmt: skip


def classes_of(config: object) -> list[str]:
    """Return the class names in a model's config, in the order of their ids; empty without any."""
    given = getattr(config, "id2label", None) or {}
    return [str(given[at]) for at in sorted(given)]


def refuse_other_classes(
    field: str, model: str, config: object, head: Mapping[str, Any], mend: str, fewer: bool = False
) -> None:
    """Refuse a model that was trained for other classes than those of the rows.

    Args:
        field: that named it, for messages. config: of transformers. head: of the rows. mend: kind of model to take, as
            the middle of a message. fewer: whether rows may lack some of its classes.

    Raises:
        ConfigError: naming the difference.
    """
    theirs, labels = classes_of(config), head["labels"]
    if labels is None:
        if head["problem_type"] and len(theirs) != 1:
            raise ConfigError(f"{field}: {model!r} has {len(theirs)} classes, and these rows have numbers; take a "
                              f"{mend} that was trained for a regression")  # fmt: skip
        return
    numbered = len(theirs) == len(labels) and labels == [str(at) for at in range(len(labels))]
    if numbered or sorted(theirs) == sorted(labels) or (fewer and {*labels} <= {*theirs}):
        return
    lacks, more = sorted({*labels} - {*theirs}), sorted({*theirs} - {*labels})
    raise ConfigError(f"{field}: {model!r} has other classes than the rows: it lacks {_some(lacks)}, and has "
                      f"{_some(more)}, which the rows lack; take a {mend} for the same classes, or name them in "
                      "id2label of its config.json")  # fmt: skip


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + more if names else "none"
