"""Text files: their encoding, and their text piece by piece, so that a large one is never held whole."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tasks.data.tables.spill import LARGE

MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",  # first: UTF-16's begins one of them
         codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip
HEAD = 2**16  # bytes by which an encoding is guessed
DELIMITERS = frozenset('\n\r\t ,;|"{}[]:')  # with their bytes swapped, rare characters or none


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
        guesses = _guesses(file.read(HEAD), encoding)
    line = 1
    for guess in guesses:
        if (line := _undecodable(path, guess)) is None:
            return Text(path, "utf-8-sig" if guess == "utf-8" else guess, None)
    _unread(name, guesses, line, "", problems)
    return Text(path, "utf-8", "")


def _guesses(head: bytes, encoding: str) -> list[str]:
    """The encodings to try in turn, by a file's first bytes where it is `auto`; none for bytes that are no text."""
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
    """Whether bytes among which some are zero are UTF-8 all the same; UTF-16 can pass for it, full of controls."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return 10 * sum(letter < " " and letter not in "\t\n\r" for letter in text) < len(text)


def _wide(head: bytes) -> list[str]:
    """UTF-16 or UTF-32 without a mark, told by where their bytes are zero; nothing if it is neither."""
    head = head[: len(head) // 2 * 2]
    for name, high, plane in (("utf-32-le", 3, 2), ("utf-32-be", 0, 1)):
        if len(head) >= 4 and not any(head[high::4]) and max(head[plane::4]) <= 3:
            return [name]
    texts = {name: head.decode(name, "replace") for name in ("utf-16-le", "utf-16-be")}
    found = {name: sum(letter in DELIMITERS for letter in text) for name, text in texts.items()}
    likely = max(found, key=lambda name: found[name])
    lines = 4 * texts[likely].count("\n") >= head.count(b"\n")  # else they end in the middle of its characters
    return [likely] if lines and len(set(found.values())) > 1 else []


def _unread(name: str, guesses: list[str], line: int, what: str, problems: list[str]) -> None:
    problems.append(
        f"{name}:{line}: {what}is not {' or '.join(guesses)}; set data.encoding"
        if guesses
        else f"{name} holds zero bytes: it is UTF-16 or UTF-32 without a mark, or no text; set data.encoding"
    )


def _undecodable(path: Path, encoding: str) -> int | None:
    """The line of the first byte that is not of the encoding."""
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
    """The text of a file and the encoding it was read with; `auto` is UTF-8 (or UTF-16 or UTF-32, by the mark it begins
    with or by its zero bytes), else cp1252."""
    guesses = _guesses(data[:HEAD], encoding)
    start = 0
    for guess in guesses:
        try:
            return data.decode(guess).removeprefix("\ufeff"), guess
        except UnicodeError as error:
            start = error.start if isinstance(error, UnicodeDecodeError) else 0
    line = data.count(b"\n", 0, start) + 1
    _unread(name, guesses, line, f"byte 0x{data[start]:02x} ", problems)
    return "", "utf-8"
