"""Reads files of any supported format into one Arrow table with the file and line of every row."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.config.errors import ConfigError, DataError, FinetuneError
from tasks.config.formats import FORMATS, Format, by_suffix, format_names, named, packing, suffixes
from tasks.config.plugins import said
from tasks.data.messages import FILE, ROW, count, first, nearest
from tasks.data.sources import parse
from tasks.data.sources.data_file import DataFile, Log, Parsed
from tasks.data.sources.locate import Source
from tasks.data.sources.unpack import unpacking
from tasks.data.tables.plain_types import plain

TXT = ".txt"
FIELD = 16 * 2**20  # maximum bytes of text in a field


@dataclass(frozen=True)
class Read:
    """The rows, and notices to the user on how they were read.

    `table` has the files' columns and two for lineage: `__file` (dictionary-encoded string, `Source.name`) and
    `__row` (int64, 1-based: the line a record begins on in CSV, TSV and JSON lines, else its number in the file).
    """

    table: pa.Table
    notices: tuple[str, ...]


def read(
    sources: list[Source], format: str = "auto", encoding: str = "auto", field: str = "data.train",
    used: Callable[[str], bool] = lambda column: True, mixed: Callable[[str], bool] = lambda column: False,
) -> Read:  # fmt: skip
    """Return all rows of `sources`, in order.

    Args:
        used: whether a column of that name may be used; another one with values of several types is kept as text, with
            a notice, where it would otherwise be an error. mixed: whether a column of that name may have values of
            several types; they are kept as JSON texts.

    `format` is `auto` (by extension) or a format's name; `encoding` is `auto` (UTF-8, else cp1252 with a notice) or a
    Python codec. Raises DataError with the first five problems as `file:line` and the number of others.
    """
    _refuse_unknown(format, encoding)
    log = Log()
    files = [DataFile(source.path, source.name, encoding, log) for source in sources]
    kinds = [format_of(source, format, field) for source in sources]
    of_classes = all(kind.name == "folder" for kind in kinds)
    with unpacking(files, kinds):
        _raise(log.problems, field)
        if of_classes:
            parsed = [kinds[0].load()(files)]
        else:
            maybe = [_parse(file, kind) for file, kind in zip(files, kinds, strict=True)]
            _set_aside(log, used, mixed)
            _raise(log.problems, field)
            parsed = _untyped([one for one in maybe if one is not None], files)
            _check_columns([table for table, _ in parsed], sources, log.problems)
    counts = [1] * len(sources) if of_classes else [table.num_rows for table, _ in parsed]
    _raise(log.problems, field)
    order = parsed[0][0].column_names
    rows = [rows for _, rows in parsed]
    for (some, places), source in zip(parsed, sources if len(parsed) > 1 else sources[:1], strict=True):
        _check_sizes(some, places, source.name, log.problems)
    _raise(log.problems, field)
    names = [source.name for source in sources]
    table = parse.merged([table.select(order) for table, _ in parsed], log.problems, names[: len(parsed)], rows)
    _set_aside(log, used, mixed)
    _raise(log.problems, field)
    assert table is not None
    return Read(_with_lineage(table, sources, counts, rows), tuple(log.notices(field)))


def _set_aside(log: Log, used: Callable[[str], bool], mixed: Callable[[str], bool]) -> None:
    """Problems with columns that are not used become notices; those with columns of mixed types are none."""
    log.problems[:] = [
        each for each in log.problems if not (isinstance(each, parse.ColumnProblem) and mixed(each.column))
    ]
    unused = [each for each in log.problems if isinstance(each, parse.ColumnProblem) and not used(each.column)]
    log.problems[:] = [each for each in log.problems if each not in unused]
    if unused:
        what = "columns that are not used and hold several types are kept as text"
        log.notes.setdefault((what, ""), []).extend(unused)


def _refuse_unknown(format: str, encoding: str) -> None:
    if format not in ("auto", *format_names()):
        names = format_names()
        raise ConfigError(f"data.format: {format!r} is none of auto, {', '.join(names)}{nearest(format, names)}")
    try:
        "".encode("utf-8" if encoding == "auto" else encoding)
    except (LookupError, ValueError):
        raise ConfigError(
            f"data.encoding: {encoding!r} is not a known encoding; examples are utf-8, cp1252, utf-16"
        ) from None


def format_of(source: Source, format: str, field: str) -> Format:
    """Return the format of a file; `format` is a name, or `auto` for that of its suffix.

    Raises:
        DataError: the suffix is unknown. ConfigError: it is that of several formats of other packages.
    """
    if format != "auto":
        return named(format)
    if is_txt(source.name) and "/" in source.name:
        return named("folder")
    if (found := by_suffix(source.name)) is None:
        known = ", ".join(suffix for suffix in suffixes() if suffix != TXT)
        raise DataError(
            f"{field}: the format of {source.name} is not clear from its name (known: {known}, and "
            f"{TXT} in one folder per class); set data.format to one of {', '.join(format_names())}, or give a glob"
        )
    return found


def is_txt(name: str) -> bool:
    """Whether a file's lines are rows, or, if the task has classes, the file is one text of the class of its folder."""
    return name.lower().removesuffix(packing(name)).endswith(TXT)


def _parse(file: DataFile, kind: Format) -> Parsed | None:
    """Return the rows of one file, or None if a problem was added; a file without rows is a problem too."""
    before = len(file.problems)
    if kind.name == "folder":
        file.problems.append(
            f"{file.name} is one text of a folder and cannot be combined with files of rows; give it separately"
        )
        return None
    reader = kind.load()
    parsed = reader(file) if kind.name in FORMATS else _of_other_package(kind, reader, file)
    if len(file.problems) == before and (parsed is None or not parsed[0].num_rows):
        header = " but a header" if file.untyped else ""
        file.problems.append(f"{file.name} holds no rows{header}")
    return parsed


def _of_other_package(kind: Format, reader: Callable[[DataFile], Any], file: DataFile) -> Parsed | None:
    """Return what another package's reader returns, with plain column types; its errors are problems of the file."""
    try:
        if (found := reader(file)) is None:
            return None
        table, places = found
        if len(places) != table.num_rows:
            raise ValueError(f"{table.num_rows} rows, but {len(places)} places")
        columns = {name: plain(column) for name, column in zip(table.column_names, table.columns, strict=True)}
        return pa.table(columns), [int(place) for place in places]
    except FinetuneError:
        raise
    except Exception as error:  # noqa: BLE001 — another package's code may raise anything
        file.problems.append(f"{file.name} cannot be read as {kind.name} ({kind.reader}): {said(error)}")
        return None


def _untyped(parsed: list[Parsed], files: list[DataFile]) -> list[Parsed]:
    """Columns of CSV and TSV are strings until roles are known; so make those of other files with the same name."""
    loose = {name for (table, _), file in zip(parsed, files, strict=True) if file.untyped
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


def _raise(problems: list[str], field: str) -> None:
    if problems:
        shown = "".join(f"\n  {problem}" for problem in problems[:5])
        more = f"\n  and {len(problems) - 5:,} more" if len(problems) > 5 else ""
        raise DataError(f"{field}: {count(len(problems), 'problem')} in the files:{shown}{more}")
