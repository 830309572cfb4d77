"""Text files: detects their encoding, and streams large ones instead of loading them."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tasks.data.tables.spill import LARGE

MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",  # before UTF-16's, a prefix
         codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip
HEAD = 2**16  # bytes used to guess an encoding
DELIMITERS = frozenset('\n\r\t ,;|"{}[]:')  # with their bytes swapped, rare characters or none


@dataclass(frozen=True)
class Text:
    """A file's text: in memory (`whole`), or, if it is large, read from the file each time it is opened."""

    path: Path
    encoding: str
    whole: str | None

    def open(self) -> IO[str]:
        if self.whole is not None:
            return io.StringIO(self.whole, newline="")
        return self.path.open(encoding=self.encoding, newline="")

    def head(self) -> str:
        """Return the first characters, without a byte order mark."""
        with self.open() as file:
            return file.read(4096).removeprefix("\ufeff")

    def read(self) -> str:
        """Return the whole text, without a byte order mark, for formats that cannot be streamed."""
        with self.open() as file:
            return file.read().removeprefix("\ufeff")

    def is_blank(self) -> bool:
        with self.open() as file:
            return not any(line.strip("\ufeff \t\r\n") for line in file)


def without_bom(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines without a byte order mark."""
    for at, line in enumerate(lines):
        yield line if at else line.removeprefix("\ufeff")


def text_of(path: Path, name: str, encoding: str, problems: list[str]) -> Text:
    """Open a text file; a large one is checked for undecodable bytes, and not loaded."""
    size = path.stat().st_size
    if size <= LARGE:
        text, used = decode(name, path.read_bytes(), encoding, problems)
        return Text(path, used, text)
    with path.open("rb") as file:
        guesses = _guesses(file.read(HEAD), encoding)
    line = 1
    for guess in guesses:
        if (line := _undecodable(path, guess)) is None:
            return Text(path, "utf-8-sig" if guess == "utf-8" else guess, None)
    _report_undecodable(name, guesses, line, "", problems)
    return Text(path, "utf-8", "")


def _guesses(head: bytes, encoding: str) -> list[str]:
    """Return the encodings to try in turn, for `auto` by a file's first bytes; none if they are not text."""
    if encoding != "auto":
        return [encoding]
    if marked := next((name for mark, name in MARKS.items() if head.startswith(mark)), None):
        return [marked]
    if b"\0" not in head:
        return ["utf-8", "cp1252"]
    if _is_utf8(head):
        return ["utf-8"]
    return _wide(head)


def _is_utf8(head: bytes) -> bool:
    """Whether bytes with null bytes are UTF-8; UTF-16 may decode as UTF-8, but with many control characters."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return 10 * sum(letter < " " and letter not in "\t\n\r" for letter in text) < len(text)


def _wide(head: bytes) -> list[str]:
    """Detect UTF-16 or UTF-32 without a mark by the position of null bytes; empty if it is neither."""
    head = head[: len(head) // 2 * 2]
    for name, high, plane in (("utf-32-le", 3, 2), ("utf-32-be", 0, 1)):
        if len(head) >= 4 and not any(head[high::4]) and max(head[plane::4]) <= 3:
            return [name]
    texts = {name: head.decode(name, "replace") for name in ("utf-16-le", "utf-16-be")}
    found = {name: sum(letter in DELIMITERS for letter in text) for name, text in texts.items()}
    likely = max(found, key=lambda name: found[name])
    lines = 4 * texts[likely].count("\n") >= head.count(b"\n")  # else newline bytes are halves of other characters
    return [likely] if lines and len(set(found.values())) > 1 else []


def _report_undecodable(name: str, guesses: list[str], line: int, what: str, problems: list[str]) -> None:
    problems.append(
        f"{name}:{line}: {what}is not {' or '.join(guesses)}; set data.encoding"
        if guesses
        else f"{name} contains null bytes: it is UTF-16 or UTF-32 without a mark, or not text; set data.encoding"
    )


def _undecodable(path: Path, encoding: str) -> int | None:
    """Return the line of the first byte that cannot be decoded; None if all can."""
    decoder, line = codecs.getincrementaldecoder(encoding)(), 1
    with path.open("rb") as file:
        while True:
            block = file.read(2**20)
            try:
                decoder.decode(block, final=not block)
            except UnicodeError:
                return line
            if not block:
                return None
            line += block.count(b"\n")


def decode(name: str, data: bytes, encoding: str, problems: list[str]) -> tuple[str, str]:
    """Return the text of a file and the encoding it was read with; `auto` is UTF-8 (or UTF-16 or UTF-32, detected by
    a byte order mark or null bytes), else cp1252."""
    guesses = _guesses(data[:HEAD], encoding)
    start = 0
    for guess in guesses:
        try:
            return data.decode(guess).removeprefix("\ufeff"), guess
        except UnicodeError as error:
            start = error.start if isinstance(error, UnicodeDecodeError) else 0
    line = data.count(b"\n", 0, start) + 1
    _report_undecodable(name, guesses, line, f"byte 0x{data[start]:02x} ", problems)
    return "", "utf-8"
