"""Strings as local paths; those that no file system allows are refused before they are used."""

from __future__ import annotations

import os
from pathlib import Path

from tasks.artifacts.names import LONGEST

LONGEST_PATH = 4095  # bytes, on Linux


class InvalidPath(ValueError):
    """A string cannot be a path; the message says why."""


def local_path(text: str) -> Path:
    """Return the path that a string names (`file://` and `~` are understood), whether or not it exists.

    Raises:
        NoPath: it is blank, has a null byte or a lone surrogate, is too long, or names an unknown user's home.
    """
    text = text.removeprefix("file://")
    if not text.strip():
        raise InvalidPath("it is blank")
    if "\0" in text:
        raise InvalidPath("it contains a null byte")
    try:
        path = Path(text).expanduser()
        sizes = [len(os.fsencode(part)) for part in path.parts]
    except RuntimeError:
        raise InvalidPath(f"there is no user {text.partition('/')[0]!r}") from None
    except UnicodeEncodeError:
        raise InvalidPath("it contains a lone surrogate") from None
    if max(sizes, default=0) > LONGEST or sum(sizes) + len(sizes) > LONGEST_PATH:
        raise InvalidPath(f"it is longer than file systems allow ({LONGEST} bytes a name, {LONGEST_PATH} a path)")
    return path
