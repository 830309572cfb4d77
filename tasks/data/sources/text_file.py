"""Text files: their encoding, and their text piece by piece, so that a large one is never held whole."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tasks.data.tables.spill import LARGE

UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Text:
    """A file's text: held whole, or, where it is large, read from the file anew each time it is opened."""

    path: Path
    encoding: str
    whole: str | None

    def open(self) -> IO[str]:
        if self.whole is not None:
            return io.StringIO(self.whole, newline="")
        return self.path.open(encoding=self.encoding, newline="")

    def head(self) -> str:
        """The first characters, without the mark some files begin with."""
        with self.open() as file:
            return file.read(4096).removeprefix("\ufeff")

    def read(self) -> str:
        """All of it, for the formats that cannot be read piece by piece."""
        with self.open() as file:
            return file.read().removeprefix("\ufeff")

    def is_blank(self) -> bool:
        with self.open() as file:
            return not any(line.strip("\ufeff \t\r\n") for line in file)


def unmarked(lines: Iterable[str]) -> Iterator[str]:
    """Lines without the mark some files begin with."""
    for at, line in enumerate(lines):
        yield line if at else line.removeprefix("\ufeff")


def text_of(path: Path, name: str, encoding: str, problems: list[str]) -> Text:
    """Open a text file; a large one is looked through for bytes that are not of its encoding, and not held."""
    size = path.stat().st_size
    if size <= LARGE:
        text, used = decode(name, path.read_bytes(), encoding, problems)
        return Text(path, used, text)
    with path.open("rb") as file:
        mark = file.read(2)
    guesses = [encoding] if encoding != "auto" else ["utf-16"] if mark in UTF16 else ["utf-8-sig", "cp1252"]
    line = 1
    for guess in guesses:
        if (line := _undecodable(path, guess)) is None:
            return Text(path, guess, None)
    problems.append(f"{name}:{line}: is not {' or '.join(guesses)}; set data.encoding")
    return Text(path, guesses[-1], "")


def _undecodable(path: Path, encoding: str) -> int | None:
    """The line of the first byte that is not of the encoding."""
    decoder, line = codecs.getincrementaldecoder(encoding)(), 1
    with path.open("rb") as file:
        while block := file.read(2**20):
            try:
                decoder.decode(block)
            except UnicodeDecodeError:
                return line
            line += block.count(b"\n")
    return None


def decode(name: str, data: bytes, encoding: str, problems: list[str]) -> tuple[str, str]:
    """The text of a file and the encoding it was read with; `auto` is UTF-8 (or UTF-16 by its mark), else cp1252."""
    guesses = [encoding] if encoding != "auto" else ["utf-16"] if data[:2] in UTF16 else ["utf-8", "cp1252"]
    start = 0
    for guess in guesses:
        try:
            return data.decode(guess).removeprefix("\ufeff"), guess
        except UnicodeDecodeError as error:
            start = error.start
    line = data.count(b"\n", 0, start) + 1
    problems.append(f"{name}:{line}: byte 0x{data[start]:02x} is not {' or '.join(guesses)}; set data.encoding")
    return "", guesses[-1]
