"""Parsers of plain text: lines, CoNLL columns, folders of texts by class."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from io import StringIO
from itertools import dropwhile, groupby

import pyarrow as pa

from tasks.data.sources.data_file import DataFile, Parsed

BLANKS = " \t"
STRAY = "neither a word with a tag nor a comment before a sentence"
TAG = re.compile(r"O|[BIESLUM]-\S+")
WORDS = pa.list_(pa.string())
_Line = tuple[int, str, list[str]]


def read_lines(file: DataFile) -> Parsed | None:
    """Read a text file, one row per line."""
    text = file.text()
    return None if text is None else text_lines(file.name, text.read(), file.problems)


def read_conll(file: DataFile) -> Parsed | None:
    """Read a CoNLL file, one row per sentence."""
    text = file.text()
    return None if text is None else conll(file.name, text.read(), file.problems)


def read_folder(files: Sequence[DataFile]) -> Parsed:
    """Read one row per file: `text`, its first line as `title`, the rest as `body`, its folder as `label`."""
    read = [text.read() if (text := file.text()) else "" for file in files]
    parts = [text.lstrip().partition("\n") for text in read]
    columns = {
        "text": read,
        "title": [title.strip() for title, _, _ in parts],
        "body": [body.strip() for _, _, body in parts],
        "label": [file.path.parent.name for file in files],
        "file": [file.name for file in files],
    }
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), [1] * len(files)


def text_lines(name: str, text: str, problems: list[str]) -> Parsed | None:
    """Return one row per line, in a column `text`; blank lines are skipped."""
    kept = [(number, line) for number, line in _numbered(text) if line.strip()]
    if not kept:
        problems.append(f"{name} is empty")
        return None
    return pa.table({"text": pa.array([line for _, line in kept], pa.string())}), [number for number, _ in kept]


def conll(name: str, text: str, problems: list[str]) -> Parsed | None:
    """Parse sentences separated by blank lines, one word per line: `tokens` from the first column, `ner_tags` from the
    last.

    Columns are separated by tabs, or else by spaces; all lines of a sentence have the same number. `-DOCSTART-` lines
    are skipped, as are comments before a sentence (`# …` with a space, as in CoNLL-U); a line with as many columns as
    the file's words and a tag at its end is the word `#`. A sentence's line is that of its first word.
    """
    tokens, tags, lines = [], [], []
    rows = [(number, line, _fields(line)) for number, line in _numbered(text) if not line.startswith("-DOCSTART-")]
    plain = [(line, fields) for _, line, fields in rows if line.strip() and not line.startswith("#")]
    known = {(len(fields), fields[-1]) for _, fields in plain}
    tabs = any("\t" in line for line, _ in plain)

    def is_comment(row: _Line) -> bool:
        return f"{row[1]} ".startswith("# ") and not (("\t" in row[1] or not tabs) and _is_word(row[2], known))

    for has_words, some in groupby(rows, lambda row: bool(row[1].strip())):
        words = list(dropwhile(is_comment, some)) if has_words else []
        if not words:
            continue
        width = len(words[0][2])
        found = [(row[0], STRAY if is_comment(row) else _wrong(row[2], width)) for row in words]
        problems.extend(f"{name}:{number}: {what}" for number, what in found if what)
        if not any(what for _, what in found):
            lines.append(words[0][0])
            tokens.append([fields[0] for _, _, fields in words])
            tags.append([fields[-1] for _, _, fields in words])
    if not lines and not problems:
        problems.append(f"{name} is empty")
    return (pa.table({"tokens": pa.array(tokens, WORDS), "ner_tags": pa.array(tags, WORDS)}), lines) if lines else None


def _is_word(fields: list[str], known: set[tuple[int, str]]) -> bool:
    """Whether a line that begins like a comment has as many columns as the words, and ends in a tag."""
    tag = fields[-1]
    return (len(fields), tag) in known or (bool(TAG.fullmatch(tag)) and any(len(fields) == width for width, _ in known))


def _wrong(fields: list[str], width: int) -> str:
    if len(fields) < 2:
        return "a word without a tag"
    if len(fields) != width:
        return f"{len(fields)} columns, the first word of its sentence has {width}"
    if not fields[-1]:
        return f"the word {fields[0]!r} has an empty tag"
    return "" if fields[0].strip() else f"the tag {fields[-1]!r} has no word"


def _fields(line: str) -> list[str]:
    if "\t" not in line:
        return re.split(" +", line.strip(BLANKS))
    first, *rest = line.split("\t")
    return [first, *rest[:-1], rest[-1].strip()]


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    """Yield numbered lines, split at \\n, \\r\\n or \\r; `str.splitlines` would split at form feeds and U+2028 too."""
    return enumerate((line.removesuffix("\n") for line in StringIO(text, newline=None)), 1)
