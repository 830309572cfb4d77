"""Rows of preferences: two answers to a prompt, one of them preferred; or one answer that is desirable or not.

| format | columns |
|---|---|
| explicit prompt (TRL, LLaMA-Factory) | `prompt` or `messages`, `chosen`, `rejected`: texts or messages |
| implicit prompt (TRL) | `chosen`, `rejected`: messages with a common beginning |
| unpaired (KTO) | as instruction tuning, and `label`: true or false |
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from tasks.config import DataConfig
from tasks.config.errors import DataError
from tasks.data.chat.formats import Conversation, Unreadable, conversation, listed
from tasks.data.chat.rows import (
    answered_rows,
    before_answer,
    chosen_columns,
    columns_of_split,
    inference_rows,
    read_rows,
    to_json,
)
from tasks.data.messages import rows_at
from tasks.data.rows.columns import DESIRABLE, MESSAGES, PROMPT, Role, choose
from tasks.data.rows.prepare import LINEAGE, Head, Prepared
from tasks.data.rows.prepare import prepare as prepare_rows
from tasks.data.rows.texts import Texts

SIDES = ("chosen", "rejected")
TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

Columns: TypeAlias = "dict[str, pa.Array | pa.ChunkedArray]"


@dataclass(frozen=True)
class Preferences(Texts):
    """Two conversations as JSON in `chosen` and `rejected`, and the text they answer in `prompt`."""

    texts: tuple[str, ...] = SIDES
    identity: tuple[str, ...] = ("prompt",)


@dataclass(frozen=True)
class Scores(Preferences):
    """Preferences for a model that gives each answer a score."""

    def head(self, train: pa.Table, columns: Mapping[str, str], data: DataConfig) -> Head:
        return {**super().head(train, columns, data), "problem_type": "regression"}


@dataclass(frozen=True)
class Rated(Texts):
    """A conversation as JSON in `messages`, the text it answers in `prompt`, and whether it is desirable."""

    texts: tuple[str, ...] = ("messages",)
    identity: tuple[str, ...] = ("prompt",)

    def validate_encoded(self, train: pa.Table, head: Head) -> list[str]:
        kinds = set(train["label"].unique().to_pylist())
        if len(kinds) > 1:
            return []
        which = "desirable" if kinds == {1} else "undesirable"
        return [f"data.train: all answers are {which}; KTO learns from the difference between both kinds"]


def prepare(tables: Mapping[str, pa.Table], data: DataConfig, roles: Sequence[Role]) -> Prepared:
    """Prepare rows with a chosen and a rejected answer. See `tasks.data.rows.prepare.prepare`.

    Raises:
        DataError: rows that are no preference, with file and line.
    """
    return _prepare_pairs(tables, data, roles, Preferences())


def prepare_scores(tables: Mapping[str, pa.Table], data: DataConfig, roles: Sequence[Role]) -> Prepared:
    """Prepare rows of a reward model: `prepare`, maybe with `margin`, a number.

    Raises:
        DataError: rows that are no preference, or a margin that is no number; with file and line.
    """
    return _prepare_pairs(tables, data, roles, Scores())


def prepare_rated(tables: Mapping[str, pa.Table], data: DataConfig, roles: Sequence[Role]) -> Prepared:
    """Prepare conversations whose last answer is desirable or not (`label`). See `tasks.data.rows.prepare.prepare`.

    Raises:
        DataError: rows without an answer or a label, with file and line.
    """

    def columns(table: pa.Table) -> dict[str, str]:
        found = chosen_columns(table, data, labelled=True)
        names = [name for name in table.column_names if name not in (*LINEAGE, *found.values())]
        return found | choose(names, {"label": data.columns.label}, (DESIRABLE,))

    def rows(table: pa.Table, used: Mapping[str, str], field: str) -> Columns:
        found = read_rows(table, used, field, rated)
        label = pa.array([int(desirable) for _, desirable in found], pa.int8())
        return {**_texts({"messages": [one for one, _ in found]}), "label": label}

    return _prepare(tables, data, columns, rows, (MESSAGES, PROMPT, DESIRABLE), Rated())


def no_labelled_rows(
    table: pa.Table, data: DataConfig, roles: Sequence[Role], head: Head, field: str, labelled: bool
) -> tuple[pa.Table, list[str]]:
    """Return rows for inference: conversations to continue.

    Raises:
        DataError: rows with preferences are to be scored, for which the reference model is missing.
    """
    if labelled:
        raise DataError(f"{field}: preferences are scored against the reference model, which is not saved with the "
                        "trained one; set data.test in the run's config, and run it again")  # fmt: skip
    return inference_rows(table, data, roles, head, field, labelled)


def rows_to_score(
    table: pa.Table, data: DataConfig, roles: Sequence[Role], head: Head, field: str, labelled: bool
) -> tuple[pa.Table, list[str]]:
    """Return rows for inference with a reward model: preferences if `labelled`, else conversations with an answer."""
    if not labelled:
        return answered_rows(table, data, field), []
    columns = _pair_columns(table, data, roles)
    return _beside(_pair_rows(table, columns, field), table, columns), []


def preference(row: Mapping[str, Any]) -> tuple[Conversation, Conversation]:
    """Return the chosen and the rejected conversation of a row, with where their answers begin (`given`).

    Args:
        row: values by role: `chosen` and `rejected`, and `messages`, or `prompt` with `input`, `system`, `history`,
            `tools`; without both, the prompt is what `chosen` and `rejected` begin with.

    Raises:
        Unreadable: an answer is missing, both are equal, or they have no common beginning.
    """
    before = {name: listed(value, name) if name == "prompt" else value for name, value in row.items()
              if name not in SIDES}  # fmt: skip
    if before.get("messages") is not None:
        before["prompt"] = conversation({"messages": before.pop("messages")}).messages
    answers = {side: [row[side]] if isinstance(row[side], Mapping) else listed(row[side], side) for side in SIDES}
    for side, answer in answers.items():
        if not answer or (isinstance(answer, str) and not answer.strip()):
            raise Unreadable(f"{side} answer is empty")
    chosen, rejected = (_side(side, answers[side], before) for side in SIDES)
    if chosen.given is None or rejected.given is None:
        chosen, rejected = _common(chosen, rejected)
        _check_begins(before, [*chosen.messages, *rejected.messages])
    if chosen.messages == rejected.messages:
        raise Unreadable("chosen and rejected answers are equal")
    for side, found in zip(SIDES, (chosen, rejected), strict=True):
        if not any(turn["role"] == "assistant" for turn in found.messages[found.given :]):
            raise Unreadable(f"{side} answer is not by the assistant")
        if found.messages[found.given or 0]["role"] == found.messages[(found.given or 0) - 1]["role"] == "assistant":
            raise Unreadable(f"messages before the {side} answer end with another answer of the assistant")
    return chosen, rejected


def rated(row: Mapping[str, Any]) -> tuple[Conversation, bool]:
    """Return the conversation of a row, with where its last answer begins, and whether it is desirable.

    Raises:
        Unreadable: there is no answer or no label.
    """
    found = conversation({name: value for name, value in row.items() if name != "label"})
    if found.text is not None:
        raise Unreadable("text is no conversation")
    turns = [at for at, turn in enumerate(found.messages) if turn["role"] == "assistant"]
    if not turns or turns[-1] < (found.given or 0):
        raise Unreadable("messages have no answer of the assistant")
    label = row["label"]
    text = str(int(label) if isinstance(label, float) and label.is_integer() else label).strip().lower()
    if text not in TRUTH:
        raise Unreadable(f"label is {label!r}; valid are true and false, or 1 and 0")
    return (found if found.given is not None else replace(found, given=turns[-1])), TRUTH[text]


def _side(side: str, answer: Any, before: Mapping[str, Any]) -> Conversation:
    """Return the conversation that ends with an answer; without `given` if the answer repeats the prompt."""
    try:
        if not isinstance(answer, str):
            whole = {"messages": answer, "tools": before.get("tools")}
            if conversation(whole).messages[0]["role"] not in ("assistant", "tool"):
                return conversation({**whole, "system": before.get("system")})
        if before.get("prompt") is None:
            raise Unreadable("there is no prompt, and the answer is not a list of messages that begins with one")
        return conversation({**before, "completion": answer})
    except Unreadable as error:
        raise Unreadable(f"{side} answer: {error}") from error


def _common(chosen: Conversation, rejected: Conversation) -> tuple[Conversation, Conversation]:
    """Return both with the end of their common beginning as `given`."""
    pairs = [*zip(chosen.messages, rejected.messages, strict=False)]
    same = next((at for at, (one, other) in enumerate(pairs) if one != other), len(pairs))
    if chosen.given is not None or rejected.given is not None or not same:
        raise Unreadable("chosen and rejected messages have no common beginning")
    if any(turn["role"] not in ("assistant", "tool") for pair in pairs[same : same + 1] for turn in pair):
        raise Unreadable("chosen and rejected messages differ before an answer of the assistant")
    return replace(chosen, given=same), replace(rejected, given=same)


def _check_begins(before: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> None:
    """Raise if a row's own prompt has messages that its answers, which begin with one, do not have."""
    if not any(before.get(name) for name in ("prompt", "input", "history")):
        return
    has = {(turn["role"], str(turn["content"]).strip()) for turn in messages}
    asked = conversation({**before, "completion": "-"}).messages[:-1]
    if any((turn["role"], str(turn["content"]).strip()) not in has for turn in asked):
        raise Unreadable("chosen and rejected messages begin with another prompt than that of the row")


def _prepare_pairs(
    tables: Mapping[str, pa.Table], data: DataConfig, roles: Sequence[Role], kind: Preferences
) -> Prepared:
    kept = (PROMPT, *(role for role in roles if role.name in (*SIDES, "margin")))
    return _prepare(tables, data, lambda table: _pair_columns(table, data, roles), _pair_rows, kept, kind)


def _pair_columns(table: pa.Table, data: DataConfig, roles: Sequence[Role]) -> dict[str, str]:
    """Return the column of each role; a list of messages takes precedence over a prompt."""
    names = [name for name in table.column_names if name not in LINEAGE]
    wanted = {**{role.name: None for role in roles}, **data.columns.model_dump()}
    columns = choose(names, wanted, roles)
    unused = ("prompt", "input", "history") if "messages" in columns and wanted["prompt"] is None else ("messages",)
    return {role: name for role, name in columns.items() if role not in unused}


def _pair_rows(table: pa.Table, columns: Mapping[str, str], field: str) -> Columns:
    found = read_rows(table, {role: name for role, name in columns.items() if role != "margin"}, field, preference)
    texts = {side: [pair[at] for pair in found] for at, side in enumerate(SIDES)}
    margin = {"margin": _numbers(table, columns["margin"], field)} if "margin" in columns else {}
    return {**_texts(texts), **margin}


def _prepare(
    tables: Mapping[str, pa.Table], data: DataConfig, choose_columns: Callable[[pa.Table], dict[str, str]],
    rows: Callable[[pa.Table, Mapping[str, str], str], Columns], kept: Sequence[Role], kind: Texts,
) -> Prepared:  # fmt: skip
    columns = {name: columns_of_split(table, f"data.{name}", choose_columns) for name, table in tables.items()}
    found = {name: _beside(rows(table, columns[name], f"data.{name}"), table, columns[name])
             for name, table in tables.items()}  # fmt: skip
    there = [role for role in kept if all(role.name in table.column_names for table in found.values())]
    settings = data.model_copy(update={"columns": type(data.columns)(**{role.name: role.name for role in there})})
    answers = [role.name for role in there if role is not PROMPT]
    return replace(prepare_rows(found, settings, there, kind, answers), columns=columns["train"])


def _beside(made: Columns, table: pa.Table, columns: Mapping[str, str]) -> pa.Table:
    """Return the columns made of those of the roles, and all others."""
    others = [name for name in table.column_names if name not in (*columns.values(), *made)]
    return pa.table(made | {name: table[name] for name in others})


def _texts(conversations: Mapping[str, Sequence[Conversation]]) -> Columns:
    """Return the conversations as columns of JSON, and `prompt`."""
    first = next(iter(conversations.values()))
    texts = {name: [to_json(each) for each in values] for name, values in conversations.items()}
    return {name: pa.array(values, pa.string())
            for name, values in {**texts, "prompt": [_prompt(each) for each in first]}.items()}  # fmt: skip


def _prompt(found: Conversation) -> str:
    return before_answer(Conversation([*found.messages[: found.given], {"role": "assistant", "content": ""}]))


def _numbers(table: pa.Table, column: str, field: str) -> pa.ChunkedArray:
    try:
        found = table[column].cast(pa.float32())
    except pa.ArrowInvalid as error:
        raise DataError(
            f"data.columns.margin: column {column!r} of {field} has values that are no number: {error}"
        ) from error
    if len(places := np.flatnonzero(~np.isfinite(found.to_numpy()))):  # of a null, NaN
        raise DataError(f"{field}: margin is missing or not finite: {rows_at(table, places)}")
    return found
