"""CSV and TSV -> Arrow columns of strings and the line each record begins on."""

from __future__ import annotations

import csv
import re
from array import array
from collections import Counter
from collections.abc import Iterator
from itertools import islice

import pyarrow as pa

from tasks.data.messages import first
from tasks.data.sources.parse import COLUMNS, Parsed
from tasks.data.sources.text_file import Text, unmarked
from tasks.data.tables.spill import BATCH, spilled

FIELD = 2**28  # characters after which a field is read no further: its quote was never closed
SEPARATORS = ",;\t|"
HINT = re.compile(r"sep=([^\"\s]|\t)\r?\n")  # Excel's first line


def tsv_is_quoted(text: Text) -> bool:
    """Whether a tab-separated file quotes as CSV does; most do not, and then a quote is a character like any other.

    It does if it shows a sign of it (a doubled quote, a quoted header) and reads as such without one misplaced quote.
    """
    with text.open() as file:
        if not (text.head().startswith('"') or any('""' in line for line in file)):
            return False
    limit = csv.field_size_limit(FIELD)
    try:
        with text.open() as file:
            return len({len(values) for values in csv.reader(file, delimiter="\t", strict=True) if values}) == 1
    except csv.Error:
        return False
    finally:
        csv.field_size_limit(limit)


def separator_of(text: Text) -> str:
    """What stands between the fields of a CSV: a comma, or a semicolon, a tab or a bar where it divides the first
    records evenly and the comma does not (as Excel writes them where the comma is the decimal mark). Where none does,
    it is the first of them that divides the header: records it does not divide as often are then named."""
    if hint := HINT.match(text.head()):
        return hint[1]
    found = {separator: _widths(text, separator) for separator in SEPARATORS}
    even = (separator for separator, widths in found.items() if len(set(widths)) == 1 and widths[0] > 1)
    headed = (separator for separator, widths in found.items() if widths and widths[0] > 1)
    return next(even, None) or next(headed, None) or ","


def _widths(text: Text, separator: str) -> list[int]:
    """How many fields each of the first records has, up to one that cannot be read."""
    widths: list[int] = []
    limit = csv.field_size_limit(FIELD)
    try:
        with text.open() as file:
            records = csv.reader(unmarked(file), delimiter=separator)
            widths.extend(len(values) for values in islice(records, 20) if values)
    except csv.Error:
        pass
    finally:
        csv.field_size_limit(limit)
    return widths


def other_separator(text: Text) -> str | None:
    """What a file called tab-separated is separated by, if its header has no tab."""
    with text.open() as file:
        header = next((line for line in unmarked(file) if line.strip()), "")
    separator = separator_of(text)
    return separator if "\t" not in header and separator in header else None


def delimited(name: str, text: Text, delimiter: str, quoted: bool, problems: list[str]) -> Parsed | None:
    """CSV or TSV; `quoted` is RFC 4180 (quotes, newlines within them). All columns are strings.

    A record stands on the line it begins on. Blank lines are skipped, as everywhere.
    """
    if text.is_blank():
        problems.append(f"{name} is empty")
        return None
    limit = csv.field_size_limit(FIELD)  # the module's own, for all: put back below
    try:
        records = _records(name, text, delimiter, quoted, problems)
        header = next(records, (1, []))[1]
        repeated = sorted(column for column, times in Counter(header).items() if times > 1)
        if repeated:
            problems.append(f"{name}:1: the header names {first([repr(column) for column in repeated])} twice")
        if len(header) > COLUMNS:
            problems.append(f"{name}:1: {len(header):,} columns, and at most {COLUMNS:,} are read: {header[COLUMNS]!r} "
                            "is one too many")  # fmt: skip
        if repeated or len(header) > COLUMNS:
            return None
        schema = pa.schema([(column, pa.string()) for column in header])
        lines = array("q")
        apart = "" if delimiter in ",\t" else f" (separated by {delimiter!r})"

        def tables() -> Iterator[pa.Table]:
            while some := list(islice(records, BATCH)):
                good = [(line, values) for line, values in some if len(values) == len(header)]
                bad = [(line, values) for line, values in some if len(values) != len(header)]
                problems.extend(
                    f"{name}:{line}: {len(v)} fields, the header has {len(header)}{apart}" for line, v in bad
                )
                lines.extend(line for line, _ in good)
                columns = list(zip(*(values for _, values in good), strict=True)) or [()] * len(header)
                yield pa.table([pa.array(column, pa.string()) for column in columns], schema=schema)

        return pa.concat_tables([schema.empty_table(), *spilled(tables())]), lines
    finally:
        csv.field_size_limit(limit)


def _records(
    name: str, text: Text, delimiter: str, quoted: bool, problems: list[str]
) -> Iterator[tuple[int, list[str]]]:
    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    skipped = int(bool(HINT.match(text.head())))
    line = 1 + skipped
    try:
        with text.open() as file:
            lines = islice(unmarked(file), skipped, None)
            reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
            for values in reader:
                if values:
                    yield line, values
                line = reader.line_num + 1 + skipped
    except csv.Error as error:  # after a stray quote nothing that follows can be trusted
        why = "its quote is never closed" if "end of data" in str(error) else str(error)
        problems.append(f"{name}:{line}: cannot be read on from here: {why}")
