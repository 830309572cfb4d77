"""Rows of conversations: checked, split, and stored as JSON in one format, whatever format they came in."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from tasks.config import DataConfig
from tasks.config.errors import DataError
from tasks.data.chat.formats import Conversation, Unreadable, conversation, prompt_of
from tasks.data.messages import count, rows_at
from tasks.data.rows.columns import CONVERSATION, MESSAGES, PROMPT, Role, choose
from tasks.data.rows.prepare import LINEAGE, Head, Prepared
from tasks.data.rows.prepare import prepare as prepare_rows
from tasks.data.rows.texts import Texts

Read = Callable[[Mapping[str, object]], Conversation]


@dataclass(frozen=True)
class Conversations(Texts):
    """A conversation as JSON in `messages`, and its text before the last answer in `prompt`."""

    texts: tuple[str, ...] = ("messages",)
    identity: tuple[str, ...] = ("prompt",)


def prepare(tables: Mapping[str, pa.Table], data: DataConfig, roles: Sequence[Role]) -> Prepared:
    """Prepare conversations. See `tasks.data.chat.formats` for the formats, `tasks.data.rows.prepare.prepare` for the
    rest.

    Raises:
        DataError: rows without a conversation, or without an answer of the assistant; with file and line.
    """
    columns = chosen_columns(tables["train"], data, labelled=True)
    found = {name: normalized(table, columns, f"data.{name}", _answered) for name, table in tables.items()}
    kept = data.model_copy(update={"columns": type(data.columns)(messages="messages", prompt="prompt")})
    prepared = prepare_rows(found, kept, (MESSAGES, PROMPT), Conversations())
    return Prepared(**{**prepared.__dict__, "columns": columns})


def inference_rows(
    table: pa.Table, data: DataConfig, roles: Sequence[Role], head: Head, field: str, labelled: bool
) -> tuple[pa.Table, list[str]]:
    """Return rows for inference: conversations to continue, or with answers that are scored. See `prepare`."""
    columns = chosen_columns(table, data, labelled)
    return normalized(table, columns, field, _answered if labelled else prompt_of), []


def chosen_columns(table: pa.Table, data: DataConfig, labelled: bool) -> dict[str, str]:
    """Return the column of each role.

    Raises:
        DataError: no column with messages, and none with prompts (and, if `labelled`, completions).
    """
    names = [name for name in table.column_names if name not in LINEAGE]
    wanted = data.columns.model_dump()
    columns = choose(names, {**dict.fromkeys(role.name for role in CONVERSATION), **wanted}, CONVERSATION)
    if "messages" in columns and wanted.get("prompt") is None and wanted.get("completion") is None:
        return {role: name for role, name in columns.items() if role in ("messages", "system", "tools")}
    needed = ("prompt", "completion") if labelled else ("prompt",)
    if lacking := [role for role in needed if role not in columns]:
        raise DataError(
            f"data.columns.{lacking[0]}: not set, and the columns {', '.join(map(repr, names))} have the names of no "
            "known format: messages; prompt and completion; instruction, input and output; set data.columns.messages, "
            "or data.columns.prompt and data.columns.completion"
        )
    return {role: name for role, name in columns.items() if role != "messages"}


def normalized(table: pa.Table, columns: Mapping[str, str], field: str, read: Read) -> pa.Table:
    """Return the table with the columns `messages` (JSON of a `Conversation`) and `prompt` (the text before the last
    answer) in place of those of the roles.

    Raises:
        DataError: rows without a conversation, all of them, by reason.
    """
    found: list[Conversation | None] = []
    bad: dict[str, list[int]] = {}
    for at, row in enumerate(_values(table, columns)):
        try:
            found.append(read(row))
        except Unreadable as error:
            found.append(None)
            bad.setdefault(str(error), []).append(at)
    if bad:
        raise DataError("\n".join(f"{field}: {count(len(rows), 'row')} whose {why}: {rows_at(table, rows)}"
                                  for why, rows in bad.items()))  # fmt: skip
    kept = [name for name in table.column_names if name not in (*columns.values(), "messages", "prompt")]
    whole = [each for each in found if each is not None]
    texts = {"messages": [to_json(each) for each in whole], "prompt": [_before_answer(each) for each in whole]}
    return pa.table({name: pa.array(values, pa.string()) for name, values in texts.items()}
                    | {name: table[name] for name in kept})  # fmt: skip


def to_json(found: Conversation) -> str:
    """Return the conversation as one line of JSON, keys in a fixed order."""
    return json.dumps(found.__dict__, sort_keys=True, ensure_ascii=False)


def from_json(text: str) -> Conversation:
    """Return what `to_json` wrote."""
    return Conversation(**json.loads(text))


def _answered(row: Mapping[str, object]) -> Conversation:
    found = conversation(row)
    if not any(turn["role"] == "assistant" for turn in found.messages[found.given or 0 :]):
        raise Unreadable("messages have no answer of the assistant to learn from")
    return found


def _before_answer(found: Conversation) -> str:
    """Return the text of the messages before the last one of the assistant: what makes two rows the same question."""
    places = [at for at, turn in enumerate(found.messages) if turn["role"] == "assistant"]
    before = found.messages[: places[-1]] if places else found.messages
    return "\n".join(str(turn["content"] or "") for turn in before) or str(found.messages[0]["content"])


def _values(table: pa.Table, columns: Mapping[str, str]) -> Iterator[Mapping[str, object]]:
    for batch in table.select(list(columns.values())).to_batches(max_chunksize=1000):
        for row in batch.to_pylist():
            yield {role: row[name] for role, name in columns.items()}
