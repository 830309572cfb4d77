"""Reads files of any supported format into one Arrow table with the file and line of every row."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.config.errors import ConfigError, DataError
from tasks.data.messages import FILE, ROW, count, first, nearest
from tasks.data.sources import parse, parse_delimited
from tasks.data.sources.locate import Source
from tasks.data.sources.parse_documents import document
from tasks.data.sources.parse_text import conll, text_lines
from tasks.data.sources.text_file import Text, text_of

FIELD = 16 * 2**20  # maximum bytes of text in a field
FORMATS = ("csv", "tsv", "json", "jsonl", "parquet", "arrow", "folder", "text", "conll")
SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".iob2": "conll",
}


@dataclass(frozen=True)
class Read:
    """The rows, and notices to the user on how they were read.

    `table` has the files' columns and two for lineage: `__file` (dictionary-encoded string, `Source.name`) and
    `__row` (int64, 1-based: the line a record begins on in CSV, TSV and JSON lines, else its number in the file).
    """

    table: pa.Table
    notices: tuple[str, ...]


@dataclass
class _Log:
    """Problems and notices of all files, collected so that they are reported together."""

    problems: list[str] = dataclass_field(default_factory=list)
    encodings: dict[str, list[str]] = dataclass_field(default_factory=dict)
    quoted: list[str] = dataclass_field(default_factory=list)
    columns: list[str] = dataclass_field(default_factory=list)
    separators: dict[str, list[str]] = dataclass_field(default_factory=dict)
    unused: list[str] = dataclass_field(default_factory=list)


def read(
    sources: list[Source], format: str = "auto", encoding: str = "auto", field: str = "data.train",
    used: Callable[[str], bool] = lambda column: True,
) -> Read:  # fmt: skip
    """Return all rows of `sources`, in order.

    Args:
        used: whether a column of that name may be used; another one with values of several types is kept as text, with
            a notice, where it would otherwise be an error.

    `format` is `auto` (by extension) or one of FORMATS; `encoding` is `auto` (UTF-8, else cp1252 with a notice) or a
    Python codec. Raises DataError with the first five problems as `file:line` and the number of others.
    """
    _refuse_unknown(format, encoding)
    kinds = [_format(source, format, field) for source in sources]
    log = _Log()
    if set(kinds) == {"folder"}:
        texts = [_text(source, encoding, log).read() for source in sources]
        table, rows = parse.folder_rows([s.path for s in sources], [s.name for s in sources], texts)
        parsed = [(table, rows)]
        counts = [1] * len(sources)
    else:
        maybe = [_parse(source, kind, encoding, log) for source, kind in zip(sources, kinds, strict=True)]
        _set_aside(log, used)
        _raise(log.problems, field)
        parsed = _untyped([one for one in maybe if one is not None], kinds)
        counts = [table.num_rows for table, _ in parsed]
        _check_columns([table for table, _ in parsed], sources, log.problems)
    _raise(log.problems, field)
    order = parsed[0][0].column_names
    rows = [rows for _, rows in parsed]
    for (some, places), source in zip(parsed, sources if len(parsed) > 1 else sources[:1], strict=True):
        _check_sizes(some, places, source.name, log.problems)
    _raise(log.problems, field)
    names = [source.name for source in sources]
    table = parse.merged([table.select(order) for table, _ in parsed], log.problems, names[: len(parsed)], rows)
    _set_aside(log, used)
    _raise(log.problems, field)
    assert table is not None
    return Read(_with_lineage(table, sources, counts, rows), _notices(log, field))


def _set_aside(log: _Log, used: Callable[[str], bool]) -> None:
    """Problems with columns that are not used become notices."""
    unused = [each for each in log.problems if isinstance(each, parse.ColumnProblem) and not used(each.column)]
    log.problems[:] = [each for each in log.problems if each not in unused]
    log.unused += unused


def _refuse_unknown(format: str, encoding: str) -> None:
    if format not in ("auto", *FORMATS):
        raise ConfigError(f"data.format: {format!r} is none of auto, {', '.join(FORMATS)}{nearest(format, FORMATS)}")
    try:
        "".encode("utf-8" if encoding == "auto" else encoding)
    except (LookupError, ValueError):
        raise ConfigError(
            f"data.encoding: {encoding!r} is not a known encoding; examples are utf-8, cp1252, utf-16"
        ) from None


def _format(source: Source, format: str, field: str) -> str:
    if format != "auto":
        return format
    name = PurePosixPath(source.name)
    if name.suffix == ".txt" and len(name.parts) > 1:
        return "folder"
    if name.suffix == ".txt":
        return "text"
    kind = SUFFIXES.get(name.suffix.lower())
    if kind is None:
        raise DataError(
            f"{field}: the format of {source.name} is not clear from its name (known: {', '.join(SUFFIXES)}, and "
            f".txt in one folder per class); set data.format to one of {', '.join(FORMATS)}, or give a glob"
        )
    return kind


def _text(source: Source, encoding: str, log: _Log) -> Text:
    try:
        text = text_of(source.path, source.name, encoding, log.problems)
    except OSError as error:
        log.problems.append(f"{source.name} cannot be read: {error.strerror}")
        return Text(source.path, "utf-8", "\n")
    if text.encoding not in ("utf-8", "utf-8-sig", encoding):
        log.encodings.setdefault(text.encoding, []).append(source.name)
    return text


def _parse(source: Source, kind: str, encoding: str, log: _Log) -> parse.Parsed | None:
    """Return the rows of one file, or None if a problem was added; a file without rows is a problem too."""
    before = len(log.problems)
    if kind == "folder":
        log.problems.append(
            f"{source.name} is one text of a folder and cannot be combined with files of rows; give it separately"
        )
        return None
    if kind in ("parquet", "arrow"):
        parsed = parse.arrow_rows(source.path, source.name, kind, log.problems)
    else:
        text = _text(source, encoding, log)
        if len(log.problems) > before:
            return None
        if kind == "csv":
            separator = parse_delimited.separator_of(text)
            if separator != ",":
                log.separators.setdefault(separator, []).append(source.name)
            parsed = parse_delimited.delimited(source.name, text, separator, True, log.problems)
        elif kind == "tsv" and (other := parse_delimited.other_separator(text)):
            log.problems.append(f"{source.name}:1: its header has no tab, but {other!r}; set data.format to csv")
            return None
        elif kind == "tsv":
            quoted = parse_delimited.tsv_is_quoted(text)
            if quoted:
                log.quoted.append(source.name)
            parsed = parse_delimited.delimited(source.name, text, "\t", quoted, log.problems)
        elif kind in ("text", "conll"):
            parsed = (text_lines if kind == "text" else conll)(source.name, text.read(), log.problems)
        else:
            document_like = kind == "json" and text.head().lstrip()[:1] == "{"  # JSON lines have one row per line
            whole = document(source.name, text, log.problems, log.columns) if document_like else None
            if whole is None and len(log.problems) == before:
                whole = parse.json_objects(source.name, text, log.problems)
            parsed = whole
    if len(log.problems) == before and (parsed is None or not parsed[0].num_rows):
        header = " but a header" if kind in ("csv", "tsv") else ""
        log.problems.append(f"{source.name} holds no rows{header}")
    return parsed


def _untyped(parsed: list[parse.Parsed], kinds: list[str]) -> list[parse.Parsed]:
    """Columns of CSV and TSV are strings until roles are known; so make those of other files with the same name."""
    loose = {name for (table, _), kind in zip(parsed, kinds, strict=True) if kind in ("csv", "tsv")
             for name in table.column_names}  # fmt: skip
    return [(_as_texts(table, loose), rows) for table, rows in parsed]


def _as_texts(table: pa.Table, names: set[str]) -> pa.Table:
    for at, field in enumerate(table.schema):
        simple = pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_boolean(field.type)
        if simple and field.name in names:
            table = table.set_column(at, field.name, table[field.name].cast(pa.string()))
    return table


def _check_columns(tables: list[pa.Table], sources: list[Source], problems: list[str]) -> None:
    """Report files with other columns than the first (in any order), and columns with the names of lineage."""
    wanted = tables[0].column_names
    for table, source in zip(tables, sources, strict=True):
        names = table.column_names
        if set(names) != set(wanted):
            missing = [name for name in wanted if name not in names]
            more = [name for name in names if name not in wanted]
            differences = [f"lacks {first(missing)}"] * bool(missing) + [f"also has {first(more)}"] * bool(more)
            problems.append(
                f"{source.name}: columns differ from those of {sources[0].name}: it {' and '.join(differences)}"
            )
        for name in sorted({FILE, ROW} & set(names)):
            problems.append(f"{source.name}: the column name {name!r} is reserved for lineage; rename it")


def _check_sizes(table: pa.Table, rows: Sequence[int], name: str, problems: list[str]) -> None:
    """Report files with too many columns or too long texts: processing them would need gigabytes of memory."""
    if table.num_columns > parse.COLUMNS:
        problems.append(f"{name}: {table.num_columns:,} columns, the limit is {parse.COLUMNS:,}: "
                        f"{table.column_names[parse.COLUMNS]!r} is the first one over")  # fmt: skip
        return
    for column in table.column_names:
        if table[column].nbytes > FIELD:
            sizes = np.concatenate([_text_bytes(chunk) for chunk in table[column].chunks])
            problems.extend(
                f"{name}:{rows[at]}: {column!r} holds {sizes[at] / 2**20:.1f} MiB of text, the limit is "
                f"{FIELD / 2**20:.0f}"
                for at in np.flatnonzero(sizes > FIELD).tolist()
            )


def _text_bytes(values: pa.Array) -> np.ndarray:
    """Return the bytes of text in each value, nested lists and objects included."""
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pc.fill_null(pc.binary_length(values), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    sizes = np.zeros(len(values), np.int64)
    if pa.types.is_struct(kind):
        return sum((_text_bytes(each) for each in values.flatten()), sizes)
    if pa.types.is_map(kind):
        return _text_bytes(values.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)]))))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        np.add.at(sizes, pc.list_parent_indices(values).to_numpy(), _text_bytes(pc.list_flatten(values)))
    return sizes


def _with_lineage(table: pa.Table, sources: list[Source], counts: list[int], rows: Sequence[Sequence[int]]) -> pa.Table:
    of = np.repeat(np.arange(len(sources), dtype=np.int32), counts)
    files = pa.DictionaryArray.from_arrays(pa.array(of), pa.array([source.name for source in sources], pa.string()))
    numbers = np.concatenate([np.asarray(some, dtype=np.int64) for some in rows])
    return table.append_column(FILE, files).append_column(ROW, pa.array(numbers)).replace_schema_metadata(None)


def _notices(log: _Log, field: str) -> tuple[str, ...]:
    notices = [
        f"{field}: {count(len(names), 'file')} read as {encoding}, not UTF-8: {first(names)} "
        "(set data.encoding if that is wrong)"
        for encoding, names in log.encodings.items()
    ]
    notices += [
        f"{field}: {count(len(names), 'file')} separated by {separator!r}, not ',': {first(names)}"
        for separator, names in log.separators.items()
    ]
    if log.columns:
        notices.append(f"{field}: read as columns, each a list with one value per row: {first(log.columns)} "
                       "(set data.format: jsonl to read such an object as one row)")  # fmt: skip
    if log.quoted:
        notices.append(f"{field}: tab-separated, but read with quotes as in CSV: {first(log.quoted)}")
    if log.unused:
        notices.append(f"{field}: columns that are not used and hold several types are kept as text: "
                       f"{first(log.unused)}")  # fmt: skip
    return tuple(notices)


def _raise(problems: list[str], field: str) -> None:
    if problems:
        shown = "".join(f"\n  {problem}" for problem in problems[:5])
        more = f"\n  and {len(problems) - 5:,} more" if len(problems) > 5 else ""
        raise DataError(f"{field}: {count(len(problems), 'problem')} in the files:{shown}{more}")
