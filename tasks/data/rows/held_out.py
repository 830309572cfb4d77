"""Plain texts from a source beside a run's rows: held-out text, on which forgetting is measured."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.config.errors import ConfigError, DataError
from tasks.data.messages import count, rows_at
from tasks.data.rows.columns import PLAIN, choose, may_be_used
from tasks.data.rows.prepare import LINEAGE
from tasks.data.sources.locate import Source, locate
from tasks.data.sources.read import format_of, is_txt, read

FIELD = "eval.forgetting"
SPLIT = "data.test"  # whose rules apply: of a saved `DatasetDict`, the split of that name is read
# Files are read by their names and as UTF-8, so messages must not lead to fields that are for the run's rows.
OTHERS = (
    (r"set data\.format to one of [^;]*, or give a glob", "rename it, or give a glob"),
    (r"set data\.format(?: to|:) (\w+)", r"rename it to .\1"),
    (r"set data\.encoding", "convert it to UTF-8"),
    (r"data\.columns\.text", f"{FIELD}.column"),
    (r"data\.test", f"{FIELD}.data"),
)


def text_files(spec: str | list[str]) -> Mapping[str, Path]:
    """Return the files of a source, in order, by names `<number>/<name>` without absolute paths.

    Raises:
        DataError: there are none. ConfigError: what reads such a source is not installed.
    """
    with _of_forgetting():
        return {f"{at:05d}/{source.name}": source.path for at, source in enumerate(locate(spec, SPLIT))}


def text_readers(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the reader (`module:attribute`) of each format among the files, by the format's name.

    Raises:
        DataError: the format of a file is unknown.
    """
    sources = _sources(files)
    with _of_forgetting():
        found = [format_of(source, _format(sources), SPLIT) for source in sources]
    return {each.name: each.reader for each in found}


def read_texts(files: Mapping[str, Path], column: str | None, most: int) -> tuple[pa.Table, list[str]]:
    """Return at most `most` of the texts that are not blank, drawn at random but always the same: `text` and the
    lineage; and notices on how they were read.

    Args:
        files: of `text_files`. column: of the texts; None: found by its usual names.

    Raises:
        DataError: files that cannot be read, no such column, values that are no texts, or only blank ones.
    """
    sources = _sources(files)
    with _of_forgetting():
        found = read(sources, _format(sources), "auto", SPLIT, may_be_used((PLAIN,), {"text": column}))
        names = [name for name in found.table.column_names if name not in LINEAGE]
        chosen = choose(names, {"text": column}, (PLAIN,))["text"]
    texts = found.table[chosen]
    if not pa.types.is_string(texts.type):
        raise DataError(f"{FIELD}.column: {chosen!r} holds {texts.type} values, not texts: {rows_at(found.table, [0])}")
    kept = np.flatnonzero(pc.fill_null(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(texts)), 0), False))
    blank = len(texts) - len(kept)
    notices = [_named(line) for line in found.notices]
    notices += [f"{FIELD}.data: {count(blank, 'blank text')} left out"] if blank else []
    if not len(kept):
        raise DataError(f"{FIELD}.data: all {len(texts)} texts are blank")
    if len(kept) > most:
        kept = np.sort(np.random.Generator(np.random.PCG64(0)).choice(kept, most, replace=False))
    table = found.table.select([chosen, *LINEAGE]).rename_columns(["text", *LINEAGE])
    return table.take(pa.array(kept)), notices


def _sources(files: Mapping[str, Path]) -> list[Source]:
    return [Source(path, name.partition("/")[2]) for name, path in files.items()]


def _format(sources: list[Source]) -> str:
    """Return the format: each line of a `.txt` file is a text."""
    return "text" if all(is_txt(source.path.name) for source in sources) else "auto"


def _named(message: str) -> str:
    for pattern, ours in OTHERS:
        message = re.sub(pattern, ours, message)
    return message


@contextmanager
def _of_forgetting() -> Iterator[None]:
    """Within, errors name the fields of `eval.forgetting`."""
    try:
        yield
    except (DataError, ConfigError) as error:
        raise type(error)(_named(str(error))) from error
