"""Refuse a run that learns from rewards before it generates anything: answers without room, rows without a column
that a reward function needs."""

from collections.abc import Sequence

from tasks.artifacts.ref import ArtifactRef
from tasks.config import ConfigError, RunConfig
from tasks.data.chat.prompts import other_columns, refuse_empty
from tasks.evaluation.reward_functions import ANSWERS
from tasks.evaluation.rewards import missing_column
from tasks.runtime.context import current

SPLITS = ("train", "validation", "test")


def refuse_unrewardable(run: RunConfig, base: ArtifactRef, rows: ArtifactRef, summary: ArtifactRef) -> None:
    """Refuse what could only fail once answers are generated; nothing for other tasks, and for what a plan does not
    know yet.

    Args:
        summary: of the tokens, `summary.json`.

    Raises:
        ConfigError: answers that do not fit in the model after its longest prompt; a reward function takes a column
            that the rows lack. DataError: rows without the right answer for `final_answer`.
    """
    if run.rl.max_completion_length and base.members and summary.members:
        _refuse_long_answers(run, run.rl.max_completion_length, base, summary)
    for split in SPLITS if run.rl.reward_funcs and rows.members else ():
        if f"{split}.arrow" in rows.members:
            _refuse_missing_columns(run.rl.reward_funcs or (), rows, split)


def _refuse_long_answers(run: RunConfig, limit: int, base: ArtifactRef, summary: ArtifactRef) -> None:
    from tasks.models.generation import positions_in
    from tasks.models.load import config_of

    folder, virtual = current().open(base).view(), run.peft.virtual_tokens
    positions = positions_in(config_of(folder, run.model.trust_remote_code)) - virtual
    tokens = current().open(summary).json("summary.json")
    longest = max(tokens[split]["longest"] for split in SPLITS if split in tokens)
    if longest + limit > positions:
        beside = f" beside {virtual} virtual tokens" if virtual else ""
        lower = f"set it to at most {positions - longest}, or " if positions > longest else ""
        raise ConfigError(f"rl.max_completion_length: {limit} tokens after prompts of up to {longest} are more than "
                          f"the model's {positions} positions{beside}; {lower}lower data.max_length with "
                          "data.overlong: drop")  # fmt: skip


def _refuse_missing_columns(functions: Sequence[str], rows: ArtifactRef, split: str) -> None:
    path = current().open(rows).path(f"{split}.arrow")
    columns = other_columns(path)
    for each in functions:
        if why := missing_column(each, columns):
            raise ConfigError(f"rl.reward_funcs: {why}; the rows of data.{split} have {', '.join(columns) or 'none'}")
    if "final_answer" in functions and columns:
        refuse_empty(path, next(name for name in ANSWERS if name in columns), f"data.{split}")
