"""A text as a path of this machine: what no file system could hold is told apart before it is asked for."""

from __future__ import annotations

import os
from pathlib import Path

from tasks.artifacts.names import LONGEST

LONGEST_PATH = 4095  # bytes, on Linux


class NoPath(ValueError):
    """A text that cannot be a path; says why."""


def local_path(text: str) -> Path:
    """The path that a text names (`file://` and `~` are understood), whether or not something is there.

    Raises:
        NoPath: it is blank, holds a zero byte, is longer than file systems allow, or names an unknown user's home.
    """
    text = text.removeprefix("file://")
    if not text.strip():
        raise NoPath("it is blank")
    if "\0" in text:
        raise NoPath("it holds a zero byte")
    try:
        path = Path(text).expanduser()
        sizes = [len(os.fsencode(part)) for part in path.parts]
    except RuntimeError:
        raise NoPath(f"there is no user {text.partition('/')[0]!r}") from None
    except UnicodeEncodeError:
        raise NoPath("it holds half of a character") from None
    if max(sizes, default=0) > LONGEST or sum(sizes) + len(sizes) > LONGEST_PATH:
        raise NoPath(f"it is longer than file systems allow ({LONGEST} bytes a name, {LONGEST_PATH} a path)")
    return path
