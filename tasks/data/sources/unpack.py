"""Unpacks compressed files, one data file each, such as `rows.csv.gz`."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tasks.artifacts.scratch import Scratch
from tasks.config.formats import Format, packing
from tasks.data.sources.data_file import DataFile

OPENERS: Mapping[str, Callable[..., IO[Any]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


@contextmanager
def unpacking(files: Sequence[DataFile], kinds: Sequence[Format]) -> Iterator[None]:
    """Unpack the compressed files among these into a folder that is removed at the end; what cannot be unpacked is a
    problem. A file is left as it is if its suffix is one that its format knows."""
    packed = [file for file, kind in zip(files, kinds, strict=True)
              if packing(file.name) and not file.name.lower().endswith(kind.suffixes)]  # fmt: skip
    if not packed:
        yield
        return
    with Scratch() as scratch:
        for at, file in enumerate(packed):
            target = scratch / str(at) / file.path.parent.name / file.path.name  # a text's folder is its class
            target.parent.mkdir(parents=True)
            _unpack(file, target)
            file.path = target
        yield


def _unpack(file: DataFile, target: Path) -> None:
    suffix = packing(file.name)
    try:
        with OPENERS[suffix](file.path, "rb") as source, target.open("wb") as out:
            shutil.copyfileobj(source, out)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the file system, such as a full disk
        file.problems.append(f"{file.name} is not a readable {suffix} file (truncated, or another format): {error}")
