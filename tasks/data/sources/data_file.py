"""A data file as the reader of its format gets it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa

from tasks.data.messages import count, first
from tasks.data.sources.text_file import Text, text_of

Parsed: TypeAlias = "tuple[pa.Table, Sequence[int]]"  # rows, and the line (or number) of each


@dataclass
class Log:
    """Problems and notices of all files, collected so that they are reported together."""

    problems: list[str] = field(default_factory=list)
    notes: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def notices(self, of: str) -> list[str]:
        """Return one line for each kind of note, with the first files it is about; `of` is their config field."""
        return [f"{of}: {what.replace('N files', count(len(names), 'file'))}: {first(names)}{advice}"
                for (what, advice), names in self.notes.items()]  # fmt: skip


@dataclass
class DataFile:
    """A file to read.

    Attributes:
        name: for messages and lineage, relative to what the user gave.
        encoding: `auto` (UTF-8, else cp1252 with a notice) or a Python codec.
        untyped: set by a reader whose columns are all text until roles are known, as in CSV.
    """

    path: Path
    name: str
    encoding: str
    log: Log
    untyped: bool = False

    @property
    def problems(self) -> list[str]:
        """Where a reader adds what is wrong, as `name:line: what`; it reads on, to find all problems."""
        return self.log.problems

    def text(self) -> Text | None:
        """Return the decoded text; None, with a problem added, if it cannot be read or decoded."""
        before = len(self.problems)
        try:
            text = text_of(self.path, self.name, self.encoding, self.problems)
        except OSError as error:
            self.problems.append(f"{self.name} cannot be read: {error.strerror}")
            return None
        if text.encoding not in ("utf-8", "utf-8-sig", self.encoding):
            self.note(f"N files read as {text.encoding}, not UTF-8", " (set data.encoding if that is wrong)")
        return text if len(self.problems) == before else None

    def note(self, what: str, advice: str = "") -> None:
        """Tell the user how the file was read: one line for all files with the same note, `what: files advice`, in
        which `N files` is replaced by their number."""
        self.log.notes.setdefault((what, advice), []).append(self.name)
