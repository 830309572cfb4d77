"""Rows of conversations: checked, split, and stored as JSON in one format, whatever format they came in."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa

from tasks.config import DataConfig
from tasks.config.errors import DataError
from tasks.data.chat.formats import Conversation, Unreadable, conversation, prompt_of
from tasks.data.messages import count, rows_at
from tasks.data.rows.columns import CONVERSATION, MESSAGES, PROMPT, RAW, Role, choose
from tasks.data.rows.prepare import LINEAGE, Head, Prepared
from tasks.data.rows.prepare import prepare as prepare_rows
from tasks.data.rows.texts import Texts

Read = Callable[[Mapping[str, Any]], Conversation]
T = TypeVar("T")
C = TypeVar("C")


@dataclass(frozen=True)
class Conversations(Texts):
    """A conversation as JSON in `messages`, and its text before the last answer in `prompt`."""

    texts: tuple[str, ...] = ("messages",)
    identity: tuple[str, ...] = ("prompt",)


def prepare(tables: Mapping[str, pa.Table], data: DataConfig, roles: Sequence[Role]) -> Prepared:
    """Prepare conversations, in each split of any format. See `tasks.data.chat.formats` for these,
    `tasks.data.rows.prepare.prepare` for the rest.

    Raises:
        DataError: rows without a conversation, or without an answer of the assistant; with file and line.
    """
    columns = {name: columns_of_split(table, f"data.{name}", lambda given: chosen_columns(given, data, labelled=True))
               for name, table in tables.items()}  # fmt: skip
    found = {name: normalized(table, columns[name], f"data.{name}", _answered) for name, table in tables.items()}
    kept = data.model_copy(update={"columns": type(data.columns)(messages="messages", prompt="prompt")})
    prepared = prepare_rows(found, kept, (MESSAGES, PROMPT), Conversations(), ("messages",))
    warnings = [*prepared.warnings, *(line for name in tables for line in _of_texts(columns[name], f"data.{name}"))]
    return Prepared(**{**prepared.__dict__, "columns": columns["train"], "warnings": warnings})


def inference_rows(
    table: pa.Table, data: DataConfig, roles: Sequence[Role], head: Head, field: str, labelled: bool
) -> tuple[pa.Table, list[str]]:
    """Return rows for inference: conversations to continue, or with answers that are scored. See `prepare`."""
    columns = chosen_columns(table, data, labelled)
    notices = _of_texts(columns, field) if labelled else []
    return normalized(table, columns, field, _answered if labelled else prompt_of), notices


def answered_rows(table: pa.Table, data: DataConfig, field: str) -> pa.Table:
    """Return conversations with an answer."""
    return normalized(table, chosen_columns(table, data, labelled=True), field, _answered)


def chosen_columns(table: pa.Table, data: DataConfig, labelled: bool) -> dict[str, str]:
    """Return the column of each role.

    Raises:
        DataError: no column with messages, and none with prompts (and, if `labelled`, completions) or with raw texts,
            which to continue must be set in `data.columns.text`, since the model may have been trained on messages.
    """
    names = [name for name in table.column_names if name not in LINEAGE]
    wanted = data.columns.model_dump()
    roles = (*CONVERSATION, RAW)
    columns = choose(names, {**dict.fromkeys(role.name for role in roles), **wanted}, roles)
    given, raw = {role for role, name in wanted.items() if name is not None}, columns.pop("text", None)
    if "text" in given and (other := sorted(given - {"text"})):
        raise DataError(f"data.columns.text: is for rows of one raw text, and data.columns.{other[0]} is set too; "
                        "leave one of the two out")  # fmt: skip
    if raw and ("text" in given or (labelled and not columns.keys() & {"messages", "prompt", "completion"})):
        return {"text": raw}
    if "messages" in columns and wanted.get("prompt") is None and wanted.get("completion") is None:
        return {role: name for role, name in columns.items() if role in ("messages", "system", "tools")}
    needed = ("prompt", "completion") if labelled else ("prompt",)
    if lacking := [role for role in needed if role not in columns]:
        raise DataError(
            f"data.columns.{lacking[0]}: not set, and the columns {', '.join(map(repr, names))} have the names of no "
            "known format: messages; prompt and completion; instruction, input and output; text; set "
            "data.columns.messages, or data.columns.prompt and data.columns.completion, or data.columns.text"
        )
    return {role: name for role, name in columns.items() if role != "messages"}


def columns_of_split(table: pa.Table, field: str, choose_columns: Callable[[pa.Table], C]) -> C:
    """Return the columns chosen for a split; the message of a DataError begins with its field."""
    try:
        return choose_columns(table)
    except DataError as error:
        raise DataError(str(error) if field == "data.train" else f"{field}: {error}") from error


def normalized(table: pa.Table, columns: Mapping[str, str], field: str, read: Read) -> pa.Table:
    """Return the table with the columns `messages` (JSON of a `Conversation`) and `prompt` (the text before the last
    answer) in place of those of the roles.

    Raises:
        DataError: rows without a conversation, all of them, by reason.
    """
    found = read_rows(table, columns, field, read)
    kept = [name for name in table.column_names if name not in (*columns.values(), "messages", "prompt")]
    texts = {"messages": [to_json(each) for each in found], "prompt": [before_answer(each) for each in found]}
    return pa.table({name: pa.array(values, pa.string()) for name, values in texts.items()}
                    | {name: table[name] for name in kept})  # fmt: skip


def read_rows(
    table: pa.Table, columns: Mapping[str, str], field: str, read: Callable[[Mapping[str, Any]], T]
) -> list[T]:
    """Return what `read` makes of each row, given as `{role: value}`.

    Raises:
        DataError: the rows that are unreadable, all of them, by reason.
    """
    found: list[T] = []
    bad: dict[str, list[int]] = {}
    for at, row in enumerate(_values(table, columns)):
        try:
            found.append(read(row))
        except Unreadable as error:
            bad.setdefault(str(error), []).append(at)
    if bad:
        raise DataError("\n".join(f"{field}: {count(len(rows), 'row')} whose {why}: {rows_at(table, rows)}"
                                  for why, rows in bad.items()))  # fmt: skip
    return found


def to_json(found: Conversation) -> str:
    """Return the conversation as one line of JSON, keys in a fixed order."""
    fields = {name: value for name, value in found.__dict__.items() if name != "text" or value is not None}
    return json.dumps(fields, sort_keys=True, ensure_ascii=False)


def from_json(text: str) -> Conversation:
    """Return what `to_json` wrote."""
    return Conversation(**json.loads(text))


def _of_texts(columns: Mapping[str, str], field: str) -> list[str]:
    if "text" not in columns:
        return []
    return [f"{field}: the rows are raw texts (column {columns['text']!r}), not conversations: they are not rendered, "
            "the end token is appended, and the loss is on all tokens (data.train_on: all)"]  # fmt: skip


def _answered(row: Mapping[str, Any]) -> Conversation:
    found = conversation(row)
    if found.text is None and not any(turn["role"] == "assistant" for turn in found.messages[found.given or 0 :]):
        raise Unreadable("messages have no answer of the assistant to learn from")
    return found


def before_answer(found: Conversation) -> str:
    """Return the text of the messages before the last one of the assistant: what makes two rows the same question."""
    if found.text is not None:
        return found.text
    places = [at for at, turn in enumerate(found.messages) if turn["role"] == "assistant"]
    before = found.messages[: places[-1]] if places else found.messages
    return "\n".join(str(turn["content"] or "") for turn in before) or str(found.messages[0]["content"])


def _values(table: pa.Table, columns: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
    for batch in table.select(list(columns.values())).to_batches(max_chunksize=1000):
        for row in batch.to_pylist():
            yield {role: row[name] for role, name in columns.items()}
