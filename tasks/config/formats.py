"""Data formats: one reader and one row each. Users add their own through the entry point group
`finetune_flow.formats`, whose entries name a `Format`. Readers are named, not imported, so that a config is checked
without them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from tasks.config.errors import ConfigError
from tasks.config.plugins import imported, installed

PACKINGS = (".gz", ".bz2", ".xz")
GROUP = "finetune_flow.formats"
SUFFIX = re.compile(r"(\.[^./\sA-Z]+)+")


@dataclass(frozen=True)
class Format:
    """A format of data files.

    Attributes:
        name: as users write it in `data.format`.
        suffixes: of its files, in lower case; may have several parts (`.kv.gz`). Those of built-in formats stay theirs.
        reader: `module:attribute` of a function from a `tasks.data.sources.data_file.DataFile` to its rows: a
            `pyarrow.Table` and the line (or number, from 1) of each row; None if it reported problems instead. Its
            module and what that imports of its package are part of the cache keys of runs that use it.

    Raises:
        ValueError: an invalid suffix.
    """

    name: str
    suffixes: tuple[str, ...]
    reader: str

    def __post_init__(self) -> None:
        if wrong := [suffix for suffix in self.suffixes if not SUFFIX.fullmatch(suffix)]:
            raise ValueError(f"format {self.name}: {wrong[0]!r} given in suffixes; valid: a tuple of texts such as "
                             "'.kv', in lower case")  # fmt: skip

    def load(self) -> Callable[..., Any]:
        """Import and return the reader.

        Raises:
            ConfigError: it cannot be imported.
        """
        return imported(self.reader, f"data.format: {self.name}")


_SOURCES = "tasks.data.sources"
FORMATS: Mapping[str, Format] = {
    each.name: each
    for each in (
        Format("csv", (".csv",), f"{_SOURCES}.parse_delimited:read_csv"),
        Format("tsv", (".tsv",), f"{_SOURCES}.parse_delimited:read_tsv"),
        Format("json", (".json",), f"{_SOURCES}.parse_documents:read_json"),
        Format("jsonl", (".jsonl", ".ndjson"), f"{_SOURCES}.parse:read_jsonl"),
        Format("parquet", (".parquet", ".pq"), f"{_SOURCES}.parse:read_parquet"),
        Format("arrow", (".arrow", ".feather"), f"{_SOURCES}.parse:read_arrow"),
        Format("folder", (), f"{_SOURCES}.parse_text:read_folder"),  # of .txt files; its reader gets all files at once
        Format("text", (".txt",), f"{_SOURCES}.parse_text:read_lines"),
        Format("conll", (".conll", ".bio", ".iob", ".iob2"), f"{_SOURCES}.parse_text:read_conll"),
    )
}


def format_names() -> list[str]:
    """Return the names of all formats, without importing those of other packages."""
    return [*FORMATS, *sorted({entry.name for entry in entry_points(group=GROUP)} - {*FORMATS})]


@cache
def formats() -> Mapping[str, Format]:
    """Return every known format by name: built-in ones, and those of installed packages.

    Raises:
        ConfigError: a package's cannot be loaded.
    """
    return {**FORMATS, **installed(GROUP, Format), **FORMATS}  # ours first, and never replaced


def named(name: str) -> Format:
    """Return a format by its name."""
    return FORMATS.get(name) or formats()[name]


def suffixes() -> list[str]:
    """Return the suffixes of all formats."""
    return [suffix for each in formats().values() for suffix in each.suffixes]


def packing(file: str) -> str:
    """Return the suffix of a compressed file, in lower case; empty for any other file."""
    return next((suffix for suffix in PACKINGS if file.lower().endswith(suffix)), "")


def by_suffix(file: str) -> Format | None:
    """Return the format that a file's name tells, the one with the longest suffix; of a compressed file, that of the
    name before `.gz`, unless a format has the whole suffix. None if there is none.

    Raises:
        ConfigError: several packages have formats with this suffix.
    """
    name = file.lower()
    ours = next((each for each in FORMATS.values() if name.endswith(each.suffixes)), None)
    if ours is not None:
        return ours
    found = {(len(suffix), each.name) for each in formats().values() for suffix in each.suffixes
             if name.endswith(suffix)}  # fmt: skip
    best = sorted(name for size, name in found if size == max(found)[0])
    if len(best) > 1:
        raise ConfigError(f"data.format: {file} may be {' or '.join(best)} by its suffix; set data.format to one")
    if best:
        return formats()[best[0]]
    unpacked = file[: len(file) - len(packing(file))]
    return by_suffix(unpacked) if unpacked != file and not packing(unpacked) else None
