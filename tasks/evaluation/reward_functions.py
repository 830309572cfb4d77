"""Reward functions by name, in the form of TRL's: from prompts, completions and the other columns of the rows to one
number each."""

import re
from collections.abc import Sequence
from typing import Any

from tasks.evaluation.final_answer import is_same_answer

THINK = re.compile(r"^<think>(?!.*<think>)(.*?)</think>.*$", re.DOTALL)
ANSWERS = ("answer", "solution", "output", "completion", "response")
"""Columns with the right answer, in the order in which they are looked for."""

Completions = Sequence[Sequence[dict[str, Any]]]


def final_answer(prompts: Any, completions: Completions, **columns: Sequence[Any]) -> list[float]:
    """Return 1 for completions whose final answer is that of the row's `answer` (or `solution`, `output`, …), else 0.
    See `tasks.evaluation.final_answer`.

    Raises:
        ValueError: the rows have no such column.
    """
    expected = next((columns[name] for name in ANSWERS if name in columns), None)
    if expected is None:
        raise ValueError(f"the rows have no column with the right answer ({', '.join(ANSWERS)}); they have "
                         f"{', '.join(sorted(columns)) or 'no others'}")  # fmt: skip
    return [float(is_same_answer(each[0]["content"], str(right)))
            for each, right in zip(completions, expected, strict=True)]  # fmt: skip


def think_format(prompts: Any, completions: Completions, **columns: Sequence[Any]) -> list[float]:
    """Return 1 for completions that reason within one pair of `<think>` tags and then answer, else 0, as in TRL."""
    return [float(bool(THINK.match(each[0]["content"]))) for each in completions]


NAMED = {each.__name__: f"{__name__}:{each.__name__}" for each in (final_answer, think_format)}
