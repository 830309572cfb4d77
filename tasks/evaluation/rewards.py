"""Rewards of answers: from functions, and from a trained reward model."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.config.errors import ConfigError, TrainingError
from tasks.config.reading.names import nearest
from tasks.evaluation.custom_metrics import find, result_name
from tasks.evaluation.reward_functions import ANSWERS, NAMED

MODEL = "reward_model"
GIVEN = ("prompts", "completions", "completion_ids")  # to reward functions, besides the columns of the rows

Scoring = Callable[[Sequence[Sequence[Mapping[str, Any]]]], Sequence[float]]
"""From conversations to one number each."""


@dataclass(frozen=True)
class Rewards:
    """The sources of a run's rewards.

    Attributes:
        functions: by name, in the order of `rl.reward_funcs`. weights: one per source, the model's last.
        model: scores conversations; None if there is no reward model.
    """

    functions: Mapping[str, Callable[..., Any]]
    weights: Sequence[float]
    model: Scoring | None = None

    @property
    def names(self) -> list[str]:
        """The sources' names."""
        return [*self.functions, *([MODEL] if self.model else [])]

    def __call__(self, rows: Sequence[str], answers: Sequence[str], ids: Sequence[Sequence[int]]) -> np.ndarray:
        """Return the reward of each answer by source, float64 of shape (rows, sources); NaN where a source has none.

        Args:
            rows: see `tasks.data.chat.prompts.encode_prompt_row`, one for each answer. ids: the answers' tokens.

        Raises:
            TrainingError: a function fails or returns something else, or no source has a reward for an answer.
        """
        read = [json.loads(row) for row in rows]
        prompts = [row["prompt"] for row in read]
        said = [[{"role": "assistant", "content": answer}] for answer in answers]
        columns = {name: [row["columns"].get(name) for row in read] for name in read[0]["columns"]} if read else {}
        given = {**columns, "completion_ids": [list(each) for each in ids]}
        found = [_called(name, function, prompts, said, given) for name, function in self.functions.items()]
        if self.model is not None:
            whole = [[*prompt, *each] for prompt, each in zip(prompts, said, strict=True)]
            found.append(np.asarray(self.model(whole), dtype=np.float64))
        rewards = np.stack(found, axis=1)
        if len(nothing := np.flatnonzero(np.isnan(rewards).all(axis=1))):
            raise TrainingError(f"rl.reward_funcs: none of {', '.join(self.names)} has a reward for the answer "
                                f"{answers[nothing[0]]!r:.80}; return a number for each answer")  # fmt: skip
        return rewards

    def total(self, rewards: np.ndarray) -> np.ndarray:
        """Return the weighted sum over sources, shape (rows,); sources without a reward count as 0."""
        return np.nansum(rewards * np.asarray(self.weights), axis=1)


def rewards_of(options: Mapping[str, Any], model: Scoring | None) -> Rewards:
    """Return the rewards that the section `rl` names.

    Raises:
        ConfigError: there is no such function.
    """
    functions = {result_name(path): reward_function(path) for path in options["reward_funcs"] or []}
    sources = len(functions) + (model is not None)
    return Rewards(functions, options["reward_weights"] or [1.0] * sources, model)


def reward_function(path: str) -> Callable[..., Any]:
    """Return the function of a name or path.

    Raises:
        ConfigError: there is none.
    """
    if ":" not in path and path not in NAMED:
        guess = nearest(path, [*NAMED])
        hint = f"; did you mean {guess!r}?" if guess else ""
        raise ConfigError(f"rl.reward_funcs: {path!r} is not a reward function; valid are {', '.join(NAMED)}, and "
                          f"paths: package.module:function{hint}")  # fmt: skip
    return find(NAMED.get(path, path), "rl.reward_funcs")


def missing_column(path: str, columns: Sequence[str]) -> str:
    """Return which column a reward function needs that rows with these columns lack, in words; empty if none."""
    name, given = result_name(path), {*columns, *GIVEN}
    if path == "final_answer" and not given & {*ANSWERS}:
        return f"final_answer compares with the right answer, a column named {', '.join(ANSWERS)}"
    for each in inspect.signature(reward_function(path)).parameters.values():
        is_named = each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        if is_named and each.default is each.empty and each.name not in given:
            guess = nearest(each.name, columns)
            hint = f" (did you mean {guess!r}?)" if guess else ""
            return f"{name} takes {each.name!r}, which is no column of the rows{hint}"
    return ""


def _called(
    name: str, function: Callable[..., Any], prompts: Sequence[Any], said: Sequence[Any], columns: Mapping[str, Any]
) -> np.ndarray:
    try:
        given = {**columns, "prompts": prompts, "completions": said}
        found = function(**_accepted(function, given))
        values = [np.nan if each is None else float(each) for each in found]
    except Exception as error:
        raise TrainingError(f"rl.reward_funcs: {name} failed: {type(error).__name__}: {error}") from error
    if len(values) != len(said) or np.isinf(values).any():
        what = f"{len(values)} rewards for {len(said)} answers" if len(values) != len(said) else "an infinite reward"
        raise TrainingError(f"rl.reward_funcs: {name} returned {what}; return one finite number (or None) for each")
    return np.asarray(values, dtype=np.float64)


def _accepted(function: Callable[..., Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the arguments that a function takes: all if it has `**kwargs`, as TRL expects, else those it names."""
    parameters = inspect.signature(function).parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return given
    return {each.name: given[each.name] for each in parameters if each.name in given}
