"""Parses CSV and TSV into Arrow columns of strings and the line on which each record begins."""

from __future__ import annotations

import csv
import re
from array import array
from collections import Counter
from collections.abc import Iterator
from itertools import islice

import pyarrow as pa

from tasks.data.messages import first
from tasks.data.sources.data_file import DataFile, Parsed
from tasks.data.sources.parse import COLUMNS
from tasks.data.sources.text_file import Text, without_bom
from tasks.data.tables.spill import BATCH, spilled

FIELD = 2**28  # characters; a longer field has a quote that was never closed
SEPARATORS = ",;\t|"
HINT = re.compile(r"sep=([^\"\s]|\t)\r?\n")  # Excel's first line


def read_csv(file: DataFile) -> Parsed | None:
    """Read a CSV file, separated by commas, semicolons, tabs or bars."""
    if (text := file.text()) is None:
        return None
    file.untyped = True
    if (separator := separator_of(text)) != ",":
        file.note(f"N files separated by {separator!r}, not ','")
    return delimited(file.name, text, separator, True, file.problems)


def read_tsv(file: DataFile) -> Parsed | None:
    """Read a TSV file, quoted or not."""
    if (text := file.text()) is None:
        return None
    file.untyped = True
    if other := other_separator(text):
        file.problems.append(f"{file.name}:1: its header has no tab, but {other!r}; set data.format to csv")
        return None
    if quoted := tsv_is_quoted(text):
        file.note("tab-separated, but read with quotes as in CSV")
    return delimited(file.name, text, "\t", quoted, file.problems)


def tsv_is_quoted(text: Text) -> bool:
    """Whether a tab-separated file is quoted like CSV; in most, a quote is an ordinary character.

    It is if it has a doubled quote or a quoted header, and parses as quoted without a misplaced quote.
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
    """Return the separator of a CSV: the first of comma, semicolon, tab and bar that splits the first records into
    equally many fields (Excel writes semicolons in locales with a decimal comma). If none does, the first that splits
    the header: records with another number of fields are then reported."""
    if hint := HINT.match(text.head()):
        return hint[1]
    found = {separator: _widths(text, separator) for separator in SEPARATORS}
    even = (separator for separator, widths in found.items() if len(set(widths)) == 1 and widths[0] > 1)
    headed = (separator for separator, widths in found.items() if widths and widths[0] > 1)
    return next(even, None) or next(headed, None) or ","


def _widths(text: Text, separator: str) -> list[int]:
    """Return the number of fields of each of the first records, up to one that cannot be parsed."""
    widths: list[int] = []
    limit = csv.field_size_limit(FIELD)
    try:
        with text.open() as file:
            records = csv.reader(without_bom(file), delimiter=separator)
            widths.extend(len(values) for values in islice(records, 20) if values)
    except csv.Error:
        pass
    finally:
        csv.field_size_limit(limit)
    return widths


def other_separator(text: Text) -> str | None:
    """Return the separator of a file named as tab-separated whose header has no tab; else None."""
    with text.open() as file:
        header = next((line for line in without_bom(file) if line.strip()), "")
    separator = separator_of(text)
    return separator if "\t" not in header and separator in header else None


def delimited(name: str, text: Text, delimiter: str, quoted: bool, problems: list[str]) -> Parsed | None:
    """Parse CSV or TSV; `quoted` means RFC 4180 (quotes, with newlines within them). All columns are strings.

    A record's line is the one it begins on. Blank lines are skipped, as in all formats.
    """
    if text.is_blank():
        problems.append(f"{name} is empty")
        return None
    limit = csv.field_size_limit(FIELD)  # a global setting of the module, restored below
    try:
        records = _records(name, text, delimiter, quoted, problems)
        header = next(records, (1, []))[1]
        repeated = sorted(column for column, times in Counter(header).items() if times > 1)
        if repeated:
            problems.append(f"{name}:1: the header has {first([repr(column) for column in repeated])} twice")
        if len(header) > COLUMNS:
            problems.append(f"{name}:1: {len(header):,} columns, the limit is {COLUMNS:,}: {header[COLUMNS]!r} "
                            "is the first one over")  # fmt: skip
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
            lines = islice(without_bom(file), skipped, None)
            reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
            for values in reader:
                if values:
                    yield line, values
                line = reader.line_num + 1 + skipped
    except csv.Error as error:  # after a stray quote the rest cannot be parsed reliably
        why = "a quote is never closed" if "end of data" in str(error) else str(error)
        problems.append(f"{name}:{line}: cannot be parsed from here on: {why}")
