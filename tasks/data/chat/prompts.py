"""Rows of prompts that the trained model answers itself, with all other columns kept for reward functions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.config import DataConfig
from tasks.config.errors import DataError
from tasks.data.chat.encode import tokenize
from tasks.data.chat.formats import prompt_of
from tasks.data.chat.rows import columns_of_split, from_json, inference_rows, normalized
from tasks.data.chat.template import Renderer
from tasks.data.messages import count, rows_at
from tasks.data.rows.columns import MESSAGES, PROMPT, Role, choose
from tasks.data.rows.prepare import LINEAGE, Head, Prepared
from tasks.data.rows.prepare import prepare as prepare_rows
from tasks.data.rows.texts import Texts
from tasks.data.tables.arrow_file import open_table
from tasks.data.tokens.encode import Encoded, Piece, Shape, Tokenizer, Windows, batches

COLUMNS = "__columns"
"""Of prepared rows: the columns that have no role, as JSON."""


@dataclass(frozen=True)
class Prompts(Texts):
    """A conversation to continue, as JSON in `messages`, and its text in `prompt`."""

    texts: tuple[str, ...] = ("messages",)
    identity: tuple[str, ...] = ("prompt",)


def prepare(tables: Mapping[str, pa.Table], data: DataConfig, roles: Sequence[Role]) -> Prepared:
    """Prepare prompts; the last answers of conversations are left out. See `tasks.data.rows.prepare.prepare`.

    Raises:
        DataError: rows without a prompt, with file and line.
    """

    def columns(table: pa.Table) -> dict[str, str]:
        return _columns(table, data, roles)

    used = {name: columns_of_split(table, f"data.{name}", columns) for name, table in tables.items()}
    found = {name: _read(table, used[name], f"data.{name}") for name, table in tables.items()}
    kept = data.model_copy(update={"columns": type(data.columns)(messages="messages", prompt="prompt")})
    return replace(prepare_rows(found, kept, (MESSAGES, PROMPT), Prompts()), columns=used["train"])


def encode_prompt_row(rows: pa.Table, tokenizer: Tokenizer, shape: Shape, field: str, labelled: bool) -> Encoded:
    """Tokenize `messages` with the beginning of an answer.

    Returns:
        `input_ids` (list of int32); an overlong prompt keeps its end. `row` (string): JSON of the messages (`prompt`)
        and of the columns without a role (`columns`).

    Raises:
        DataError: `overlong` is `error` and there are overlong rows.
    """
    renderer, length = Renderer(tokenizer), shape["max_length"]
    found = Windows(("input_ids",))
    whole: list[str] = []
    for start, batch in batches(rows):
        given = zip(batch["messages"].to_pylist(), batch[COLUMNS].to_pylist(), strict=True)
        for at, (text, others) in enumerate(given, start):
            conversation = from_json(text)
            ids, _ = tokenize(tokenizer, renderer.prompt(conversation))
            pieces = [Piece({"input_ids": ids[-length:]})] * (2 if len(ids) > length else 1)
            found.add(at, pieces, shape["overlong"])
            whole.append(json.dumps({"prompt": conversation.messages, "columns": json.loads(others)}))
    found.refuse(rows, shape, field)
    texts = pa.array(whole, pa.string())
    return found.encoded(rows, {"row": lambda origins: texts.take(origins)})


def other_columns(prepared: Path) -> Sequence[str]:
    """Return the columns without a role of a file of prepared rows, which reward functions get."""
    table = open_table(prepared)
    return list(json.loads(table[COLUMNS][0].as_py())) if COLUMNS in table.column_names and table.num_rows else []


def refuse_empty(prepared: Path, name: str, field: str) -> None:
    """Raise DataError if rows have no right answer in the column `name`, with file and line."""
    table = open_table(prepared)
    empty = [at for at, text in enumerate(table[COLUMNS].to_pylist()) if json.loads(text)[name] in (None, "")]
    if empty:
        raise DataError(f"{field}: {count(len(empty), 'row')} without the right answer in {name!r}, with which "
                        f"final_answer compares: {rows_at(table, empty)}")  # fmt: skip


def no_labelled_rows(
    table: pa.Table, data: DataConfig, roles: Sequence[Role], head: Head, field: str, labelled: bool
) -> tuple[pa.Table, list[str]]:
    """Return rows for inference: conversations to continue.

    Raises:
        DataError: answers are to be rewarded, but what rewards them is not saved with the model.
    """
    if labelled:
        raise DataError(f"{field}: answers are rewarded by functions and models that are not saved with the trained "
                        "one; set data.test in the run's config, and run it again")  # fmt: skip
    return inference_rows(table, data, roles, head, field, labelled)


def _columns(table: pa.Table, data: DataConfig, roles: Sequence[Role]) -> dict[str, str]:
    names = [name for name in table.column_names if name not in LINEAGE]
    wanted = data.columns.model_dump()
    found = choose(names, {**{role.name: None for role in roles}, **wanted}, roles)
    if "messages" in found and wanted.get("prompt") is None:
        return {role: name for role, name in found.items() if role in ("messages", "system", "tools")}
    if "prompt" not in found:
        raise DataError(f"data.columns.prompt: not set, and the columns {', '.join(map(repr, names))} have no prompts "
                        "under a usual name (prompt, question, instruction, messages); set it")  # fmt: skip
    return {role: name for role, name in found.items() if role != "messages"}


def _read(table: pa.Table, columns: Mapping[str, str], field: str) -> pa.Table:
    found = normalized(table, columns, field, prompt_of)
    others = [name for name in table.column_names if name not in (*columns.values(), *LINEAGE)]
    values = [_json(row) for row in table.select(others).to_pylist()] if others else ["{}"] * table.num_rows
    return found.append_column(COLUMNS, pa.array(values, pa.string()))


def _json(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, sort_keys=True, default=str)
