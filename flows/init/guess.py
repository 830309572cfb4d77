"""Guess the task of rows from their columns' names and values."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.config.errors import DataError
from tasks.data.messages import first
from tasks.data.rows.columns import CONVERSATION, LABEL, SENTENCE, SPANS, TAG, TEXT, WORD, Role, choose
from tasks.data.rows.labels import as_numbers, is_real
from tasks.data.tables.class_names import names_in_order
from tasks.objectives import OBJECTIVES, objective_of
from tasks.objectives.base import Objective

PROSE = 3  # mean words of a column of texts; labels have fewer
MANY = 30  # classes; more whole numbers than that are amounts
# Column names of a prompt and its answer that other tasks do not have.
CHAT_PAIRS = (("instruction", "output"), ("instruction", "response"), ("prompt", "completion"), ("prompt", "response"))
PLAIN_TASKS = {
    "language-generation": "a causal model learns to continue the texts",
    "language-modeling": "a masked model, such as BERT, learns to fill in words",
    "token-detection": "a model learns to detect replaced words",
}


@dataclass(frozen=True)
class Guess:
    """A task, why it was guessed, and what else the rows could be for."""

    task: str
    why: str
    others: tuple[str, ...] = ()


def guess(table: pa.Table, wanted: Mapping[str, Any], masks: bool | None = None) -> Guess:
    """Return the task of rows.

    Args:
        table: some rows as they were read. wanted: the config's `data.columns`.
        masks: whether the model's tokenizer has a mask token; None: the model is not known.

    Raises:
        DataError: no task fits; lists the columns and what is in them.
    """
    for name in (name for name, column in wanted.items() if isinstance(column, str)):
        choose(visible(table), wanted, (Role(name, (), False),))  # raises if there is no such column
    if found := [*_candidates(table, wanted)]:
        others = [f"{each.task} ({each.why})" for each in found[1:]]
        return Guess(found[0].task, found[0].why, (*found[0].others, *others))
    for role in (TEXT, LABEL):
        named = [] if wanted.get(role.name) else [name for name in visible(table) if name.lower() in role.names]
        if len(named) > 1:
            raise DataError(
                f"data.columns.{role.name}: several columns match: {first([*map(repr, named)])}; set it to one of "
                f"these, such as data.columns.{role.name}={named[0]}"
            )
    if not columns_of(table, objective_of("language-modeling"), wanted):
        raise DataError(
            f"data.train: the task cannot be guessed from the columns {described(table)}; set --task to one of "
            f"{', '.join(OBJECTIVES)}, and name its columns, such as data.columns.text=COLUMN"
        )
    task = "language-modeling" if masks else "language-generation"
    mask = "" if masks is None else f", and the model has {'a' if masks else 'no'} mask token"
    why = f"there are texts and no labels{mask}"
    labels = [name for name in visible(table) if look(table[name]) in ("classes", "numbers")]
    also = [f"text-classification or regression (set data.columns.label, such as {labels[0]})"] if labels else []
    return Guess(task, why, (*also, *(f"{name} ({what})" for name, what in PLAIN_TASKS.items() if name != task)))


def columns_of(table: pa.Table, objective: Objective, wanted: Mapping[str, Any]) -> dict[str, str]:
    """Return `{role: column}` by the columns' names, else by their values where only one column fits; empty if a
    required role has none."""
    names, given = visible(table), dict(wanted)
    for roles in _shapes(objective):
        try:
            return _without_repeats(choose(names, given, roles), given)
        except DataError:
            continue
    for role in objective.roles:
        if not role.required or given.get(role.name) or _by_name(names, given, role):
            continue
        taken = {column for column in given.values() if isinstance(column, str)}
        known = {_by_name(names, given, each) for each in objective.roles if each.name != role.name}
        fitting = [name for name in names if name not in taken | known and _fits(table[name], role, objective.name)]
        if len(fitting) == 1:
            given[role.name] = fitting[0]
    try:
        return choose(names, given, objective.roles)
    except DataError:
        return {}


def _without_repeats(found: Mapping[str, str], wanted: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns of roles without those that repeat a part of `messages`, which take precedence."""
    unused = ("prompt", "input", "history", "completion") if "messages" in found else ()
    return {role: column for role, column in found.items() if role not in unused or wanted.get(role)}


def visible(table: pa.Table) -> list[str]:
    """Return the names of the columns without those of lineage."""
    return [name for name in table.column_names if not name.startswith("__")]


def described(table: pa.Table) -> str:
    """Return each column with what its values look like, for messages."""
    return first([f"{name!r} ({look(table[name])})" for name in visible(table)], 12)


def look(column: pa.ChunkedArray) -> str:
    """Return what values look like: texts, classes, numbers (with fractions), lists, objects, other."""
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return "lists"
    if pa.types.is_nested(kind):
        return "objects"
    if is_real(column):
        return "numbers"
    column = column.drop_null()
    if not len(column):
        return "no values"
    few = 2 <= (distinct := pc.count_distinct(column).as_py()) <= len(column) / 2
    if not pa.types.is_string(kind):
        return "classes" if few and distinct <= MANY else "numbers" if few else "other"
    if few and mean_words(column) <= PROSE:
        return "classes" if distinct <= MANY or np.isnan(as_numbers(column)).any() else "numbers"
    long = mean_words(column) >= PROSE or pc.mean(pc.utf8_length(column)).as_py() >= 15  # scripts without spaces
    return "texts" if long and distinct > 1 else "other"


def mean_words(column: pa.ChunkedArray) -> float:
    """Return the mean number of words of texts."""
    return pc.mean(pc.add(pc.count_substring_regex(pc.utf8_trim_whitespace(column), r"\s+"), 1)).as_py() or 0.0


def _shapes(objective: Objective) -> Iterator[Sequence[Role]]:
    """Yield the sets of roles that a task's rows may have."""
    if any(role.name == "tags" for role in objective.roles):
        yield tuple(Role(role.name, role.names, True) for role in (SENTENCE, WORD, TAG))
        yield objective.roles
        yield TEXT, SPANS
    else:
        yield objective.roles


def _by_name(names: list[str], wanted: Mapping[str, Any], role: Role) -> str | None:
    try:
        return choose(names, wanted, (role,)).get(role.name)
    except DataError:
        return None


def _fits(column: pa.ChunkedArray, role: Role, task: str) -> bool:
    """Whether values suit a role."""
    if role.name == "label":
        return look(column) in (("numbers",) if task == "regression" else ("classes",))
    return role.name in ("text", "source", "target", "question", "context") and look(column) == "texts"


def _candidates(table: pa.Table, wanted: Mapping[str, Any]) -> Iterator[Guess]:
    """Yield the tasks that need more than texts, the most specific first."""

    def columns(task: str) -> dict[str, str]:
        return columns_of(table, objective_of(task), wanted)

    found = columns("token-classification")
    if found and ("spans" in found or "sentence" in found or _are_lists(table[found["tokens"]])):
        yield Guess("token-classification", f"{_listed(found)}: words or spans with a tag each")
        return
    if found := columns("question-answering"):
        yield Guess("question-answering", f"{_listed(found)}: questions with answers in a text")
        return
    if found := columns("dpo"):
        yield Guess(
            "dpo", f"{_listed(found)}: a preferred answer and another", ("reward (a model that scores answers)",)
        )
        return
    if (found := columns("kto")) and _are_true_or_false(table[found["label"]]):
        yield Guess("kto", f"{_listed(found)}: answers that are desirable or not", ("sft (without the label)",))
        return
    if found := _conversation(table, wanted):
        yield Guess("sft", f"{_listed(found)}: conversations, or prompts with answers")
        pairs = [*_pairs(table, columns("sequence-sequence"))]
        yield from (each for each, _ in pairs)
        return
    label = wanted.get("label")
    if isinstance(label, list):
        yield Guess("text-classification", f"data.columns.label lists {len(label)} columns, one a class")
        return
    pairs, found = [*_pairs(table, columns("sequence-sequence"))], columns("text-classification")
    if pairs and pairs[0][1]:
        yield pairs.pop()[0]
    if found and (labelled := _labelled(table, found["label"])):
        known = wanted.get("label") or found["label"].lower() in (*LABEL.names, *LABEL.fallback)
        plain = () if known else ("language-generation (the texts alone)",)
        yield Guess(labelled.task, labelled.why, (*labelled.others, *plain))
    elif (found := columns("regression")) and not np.isnan(as_numbers(table[found["label"]])).all():
        yield Guess("regression", f"column {found['label']!r} holds numbers", _as_classes(table[found["label"]], found))
    yield from (each for each, _ in pairs)


def _conversation(table: pa.Table, wanted: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns of conversations, if there are any whose names mean nothing else."""
    try:
        found = choose(visible(table), {**dict.fromkeys(role.name for role in CONVERSATION), **wanted}, CONVERSATION)
    except DataError:
        return {}
    named = {role: column for role, column in found.items() if wanted.get(role) or role == "messages"}
    names = {role: column.lower() for role, column in found.items()}
    pair = (names.get("prompt"), names.get("completion")) in CHAT_PAIRS
    return found if named or pair else {}


def _pairs(table: pa.Table, found: Mapping[str, str]) -> Iterator[tuple[Guess, bool]]:
    """Yield `sequence-sequence` if rows have a source and a target text, and whether the names mean nothing else."""
    if "translation" in table.column_names and pa.types.is_struct(table.schema.field("translation").type):
        yield Guess("sequence-sequence", "column 'translation' holds a text and its translation"), True
    elif found:
        only, kind = found["source"].lower() not in (*TEXT.names, *TEXT.fallback), look(table[found["target"]])
        if kind == "texts" or (only and kind == "other" and pa.types.is_string(table[found["target"]].type)):
            yield Guess("sequence-sequence", f"{_listed(found)}: a text and a text to produce"), only


def _labelled(table: pa.Table, name: str) -> Guess | None:
    """Return the task of a label column; None if it holds whole texts."""
    column = table[name]
    kind = look(column)
    if names_in_order(table, name) is not None:
        return Guess("text-classification", f"column {name!r} holds ids of named classes")
    if kind == "lists":
        return Guess("text-classification", f"column {name!r} holds a list of labels per row")
    if is_real(column):
        return Guess("regression", f"column {name!r} holds numbers with fractions")
    if kind == "objects":
        return None
    classes = pc.count_distinct(column).as_py()
    whole = not np.isnan(as_numbers(column)).any() and not pa.types.is_boolean(column.type)
    if kind == "texts" and not pa.types.is_nested(column.type):
        return None
    if whole and classes > MANY and not _are_ids(column, classes):
        other = f"text-classification (each of the {classes} numbers is a class)"
        return Guess("regression", f"column {name!r} holds {classes} different whole numbers", (other,))
    also = ("regression (the numbers are amounts, such as stars)",) if whole and classes > 2 else ()
    return Guess("text-classification", f"column {name!r} holds {classes} classes", also)


def _are_ids(column: pa.ChunkedArray, classes: int) -> bool:
    """Whether whole numbers are 0 to `classes` - 1, each in two rows on average, as ids of classes are."""
    numbers = as_numbers(column)
    return numbers.min() == 0 and numbers.max() == classes - 1 and len(numbers) >= 2 * classes


def _as_classes(column: pa.ChunkedArray, found: Mapping[str, str]) -> tuple[str, ...]:
    if is_real(column):
        return ()
    return (f"text-classification (each number is a class: data.columns.label={found['label']})",)


def _are_true_or_false(column: pa.ChunkedArray) -> bool:
    return pa.types.is_boolean(column.type)


def _are_lists(column: pa.ChunkedArray) -> bool:
    """Whether values are lists, also written as text."""
    if pa.types.is_string(column.type):
        return bool(pc.all(pc.starts_with(pc.utf8_trim_whitespace(column), "[")).as_py())
    return look(column) == "lists"


def _listed(columns: Mapping[str, str]) -> str:
    return f"columns {', '.join(map(repr, columns.values()))}"
