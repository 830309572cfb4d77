"""Choice of the column for each role: as set in `data.columns`, else by well-known names; ambiguity is an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.config.errors import DataError
from tasks.data.messages import nearest


@dataclass(frozen=True)
class Role:
    """A column that a task needs, such as `text`, and the column names (lower case) that are recognised for it.

    `beside`, parallel to `names`, is the first-text column that each name requires: `sentence2` is a second text only
    if `sentence1` was recognised as the first; `ANY` accepts any recognised first text. A name in `paired` counts
    only if a matching second text exists (`question` with `sentence` is the first of a pair). A name in `fallback` is
    recognised only where none of `names` is there. Values of a `json` role may be JSON of several types, in text too.
    """

    name: str
    names: tuple[str, ...]
    required: bool
    beside: tuple[str, ...] = ()
    paired: tuple[str, ...] = ()
    fallback: tuple[str, ...] = ()
    json: bool = False


ANY = "*"
TEXT = Role(
    "text",
    ("text", "sentence", "review", "content", "comment", "utterance", "sentence1", "text_a", "premise", "question1"),
    required=True,
    paired=("question", "text1"),
    fallback=("comment_text", "tweet", "message", "body"),
)
TEXT_PAIR = Role(
    "text_pair",
    ("sentence2", "text_b", "hypothesis", "question2", "text2", "sentence", "text_pair"),
    required=False,
    beside=("sentence1", "text_a", "premise", "question1", "text1", "question", ANY),
)
LABEL = Role("label", ("label", "labels", "stars", "category", "class", "target", "intent", "topic", "is_duplicate"),
             required=True, fallback=("sentiment", "emotion"))  # fmt: skip

SCORE = Role(
    "label",
    ("label", "labels", "score", "similarity_score", "similarity", "rating", "target", "value", "stars"),
    required=True,
)
TOKENS = Role("tokens", ("tokens", "words"), required=True)
TAGS = Role("tags", ("ner_tags", "tags", "labels", "ner", "pos_tags", "chunk_tags"), required=True)
SPANS = Role("spans", ("spans", "entities"), required=True)
QUESTION = Role("question", ("question", "query"), required=True)
CONTEXT = Role("context", ("context", "passage", "paragraph", "article"), required=True)
ANSWERS = Role("answers", ("answers", "answer", "answer_text"), required=True)
ANSWER_START = Role("answer_start", ("answer_start",), required=False)
SOURCE = Role(
    "source",
    ("source", "document", "input_text", "article", "dialogue", "input", "src", "text", "prompt"),
    required=True,
)
TARGET = Role(
    "target",
    ("target", "summary", "target_text", "highlights", "headline", "output", "tgt", "title", "completion"),
    required=True,
)
PLAIN = Role("text", ("text", "content", "sentence", "document", "body"), required=True)
WORD = Role("tokens", ("word", "token", "words", "tokens"), required=False)
TAG = Role("tags", ("tag", "ner_tag", "ner", "label", "tags", "ner_tags", "labels"), required=False)
SENTENCE = Role(
    "sentence",
    ("sentence_id", "sentence", "sentence #", "sentence_idx", "sentence_number", "sent_id", "sent_idx"),
    required=False,
)

MESSAGES = Role("messages", ("messages", "conversations", "conversation", "dialog", "dialogue"), required=False,
                json=True)  # fmt: skip
PROMPT = Role("prompt", ("prompt", "instruction", "question", "query"), required=False, json=True)
INPUT = Role("input", ("input",), required=False)
COMPLETION = Role("completion", ("completion", "output", "response", "answer"), required=False, json=True)
SYSTEM = Role("system", ("system", "system_prompt"), required=False)
HISTORY = Role("history", ("history",), required=False, json=True)
TOOLS = Role("tools", ("tools",), required=False, json=True)
RAW = Role("text", ("text",), required=False)
CONVERSATION = (MESSAGES, PROMPT, INPUT, COMPLETION, SYSTEM, HISTORY, TOOLS)
CHOSEN = Role("chosen", ("chosen", "chosen_response", "response_j"), required=True, json=True)
REJECTED = Role("rejected", ("rejected", "rejected_response", "response_k"), required=True, json=True)
MARGIN = Role("margin", ("margin",), required=False)
PREFERENCE = (MESSAGES, PROMPT, INPUT, CHOSEN, REJECTED, SYSTEM, HISTORY, TOOLS)
DESIRABLE = Role("label", ("label", "kto_tag", "desirable"), required=True)
RATED = (*CONVERSATION, DESIRABLE)


def choose(table_columns: list[str], wanted: Mapping[str, Any], roles: Sequence[Role]) -> dict[str, str]:
    """Return `{role: column}` for the required roles and the optional roles that have a column.

    Args:
        wanted: the config's `data.columns`; `None` means not set.

    Raises:
        DataError: for `data.columns.<role>`: no such column, no or several columns match, one column has two roles.
    """
    chosen: dict[str, str] = {}
    for role in roles:
        given = wanted.get(role.name)
        if given is None:
            column = _recognised(role, table_columns, chosen, wanted, _pairs(roles))
        else:
            column = _existing(role, given, table_columns)
        if column is not None:
            chosen[role.name] = column
    for role, column in chosen.items():
        other = next((name for name in chosen if chosen[name] == column and name != role), None)
        if other:
            raise DataError(
                f"data.columns.{role}: column {column!r} is already used as data.columns.{other}; set another column"
            )
    return chosen


def may_be_used(roles: Sequence[Role], wanted: Mapping[str, Any]) -> Callable[[str], bool]:
    """Return whether a column could get one of the roles: it is set in `data.columns`, or has a recognised name."""
    more = (TEXT, SPANS, WORD, TAG, SENTENCE) if any(role.name == "tags" for role in roles) else (PLAIN,)
    known = {name for role in (*roles, *more) for name in (*role.names, *role.paired, *role.fallback)}
    for given in wanted.values():
        known |= {column.lower() for column in ([given] if isinstance(given, str) else given or ())}
    return lambda column: column.lower() in known


def may_be_json(roles: Sequence[Role], wanted: Mapping[str, Any]) -> Callable[[str], bool]:
    """Return whether a column could get a role whose values may be any JSON; see `may_be_used`."""
    some = [role for role in roles if role.json]
    known = {name for role in some for name in role.names} | {str(wanted.get(role.name)).lower() for role in some}
    return lambda column: column.lower() in known


def _existing(role: Role, column: str, columns: list[str]) -> str:
    if column in columns:
        return column
    raise DataError(
        f"data.columns.{role.name}: no column {column!r}; the columns are {_listed(columns)}{nearest(column, columns)}"
    )


def _pairs(roles: Sequence[Role]) -> list[tuple[str, str]]:
    """Return (first text, second text) for all known pairs of column names."""
    return [(first, name) for role in roles for name, first in zip(role.names, role.beside, strict=False)]


def _recognised(
    role: Role, columns: list[str], chosen: Mapping[str, str], wanted: Mapping[str, Any],
    pairs: Sequence[tuple[str, str]],
) -> str | None:  # fmt: skip
    there = {column.lower() for column in columns}
    first_names = there & {*role.names, *role.paired}
    seconds = {second for first, second in pairs if first in first_names} if not role.beside else set()
    known = [*role.names, *(first for first, second in pairs if first in role.paired and second in there)]
    if role.beside:
        # a first text set by the user is taken to be the only text
        guessed = {column.lower() for name, column in chosen.items() if wanted.get(name) is None}
        known = [name for name, first in zip(role.names, role.beside, strict=True)
                 if first in guessed or (first == ANY and guessed)]  # fmt: skip
        seconds = guessed
    free = [column for column in columns if column.lower() not in seconds and column not in wanted.values()]
    fitting = [column for column in free if column.lower() in known]
    fitting = fitting or [column for column in free if column.lower() in role.fallback]
    if len(fitting) > 1:
        raise DataError(f"data.columns.{role.name}: several columns match: {_listed(fitting)}; set it to one of these")
    if not fitting and role.required:
        raise DataError(
            f"data.columns.{role.name}: not set, and none of the columns {_listed(columns)} has a recognised name "
            f"({', '.join((*role.names, *role.fallback))}); set it to one of the columns"
        )
    return fitting[0] if fitting else None


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(repr(column) for column in columns if not column.startswith("__"))
