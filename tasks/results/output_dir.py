"""`output_dir`: whether a run may write there, and a lock so that only one run does at a time.

A folder was written by a run if its `finetune.json` lists files at least one of which is there with the listed digest.
`config.resolved.yaml` holds the model's config. Everything else in the folder belongs to the user.
"""

import fcntl
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from glob import has_magic
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tasks.artifacts.backend import sha256_file
from tasks.artifacts.names import are_files
from tasks.artifacts.store import Store
from tasks.config import ConfigError, RunConfig, to_yaml
from tasks.config.json_types import JsonObject
from tasks.config.reading.yaml_file import parse_document, read
from tasks.runtime.log import warn

DONE = "finetune.json"
REPORT = "report.html"  # of the run that wrote the model; written when that run ends
RESOLVED = "config.resolved.yaml"
GRID = "grid"  # a sweep writes it even if no cell finishes
STORE_FOLDERS = ("blobs", "records", "runs", "work", "locks", "leases", "memo", "steps")
EXPORTED = ("config.json", "README.md", "vocab.txt", "model.safetensors")  # a file of each kind that a run writes
SHOWN = 3
IDENTITY = ("task", "model.name", "data.train")  # identifies a config without a name
# Fields that do not change the model.
NEUTRAL = ("output_dir", "name", "store", "secrets", "checkpoint", "export.promote", "export.overwrite")

LENGTHS = ("data.max_length", "data.stride")


@dataclass(frozen=True)
class WrittenFiles:
    """What a run wrote: the model's key (None if the run was killed while writing), the run, and each file's possible
    digests."""

    key: str | None
    run: str | None
    files: Mapping[str, frozenset[str]]


class _Done(BaseModel):
    key: str | None = None
    run: str | None = None
    files: dict[str, str | None]
    before: dict[str, list[str]] = {}


def written(folder: Path) -> WrittenFiles | None:
    """Return what `finetune.json` in `folder` lists; None if there is none, or it is not a valid one."""
    try:
        done = _Done.model_validate_json((folder / DONE).read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValidationError):
        return None
    if not are_files({*done.files, *done.before} - {DONE}):
        return None
    known = {name: {*done.before.get(name, ())} for name in {**done.files, **done.before}}
    for name, digest in done.files.items():
        known[name] |= {digest} if digest else set()
    return WrittenFiles(done.key, done.run, {name: frozenset(digests) for name, digests in known.items()})


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the lock on `folder`, after waiting for any other run that writes there."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            warn(f"{folder} cannot be locked ({error.strerror}); do not run two that write there at the same time")
        yield
    finally:
        os.close(descriptor)


def check_output(config: RunConfig, store: Store, overwrite: bool, varied: Collection[str] = ()) -> str | None:
    """Refuse an `output_dir` with files that must not be lost; return what a run would overwrite there, if anything.

    Args:
        varied: fields that a sweep varies, which may differ from those of the model in the folder.

    Raises:
        ConfigError: it is the base, the store, a folder that data is read from, the home folder or `/`; or, without
            `overwrite`, it holds files that no run wrote, or a model of another or an unknown config.
    """
    assert config.output_dir is not None
    folder = Path(os.path.realpath(Path(config.output_dir).expanduser()))  # works for a loop of links too
    _refuse_places(config, store, folder)
    return check_owner(config.output_dir, folder, to_yaml(config, {}), overwrite, varied)


def check_owner(shown: str, folder: Path, resolved: str, overwrite: bool, varied: Collection[str] = ()) -> str | None:
    """The part of `check_output` that depends only on the content of `folder`; `resolved` is the config as YAML."""
    if not folder.is_dir():
        return None
    found, advice = (
        written(folder),
        "choose another folder, or replace its files with export.overwrite: true or --overwrite",
    )
    if found is None or not _is_verified(folder, found):
        others = sorted(
            each.name for each in folder.iterdir() if each.name != GRID and not _is_leftover(each.name, found)
        )
        if not others:
            return None
        names = ", ".join(others[:SHOWN]) + (", …" if len(others) > SHOWN else "")
        if not overwrite:
            raise ConfigError(f"output_dir: {shown!r} holds files that no run wrote ({names}); {advice}")
        return f"{shown} holds files that no run wrote ({names})"
    here = _flat(parse_document(resolved, RESOLVED).values) if resolved else {}
    try:
        there = _config_there(folder)
    except ConfigError as error:
        if here and found.key is not None and not overwrite:  # a killed run may not have written it yet
            raise ConfigError(f"output_dir: {shown!r} holds a model of an unknown config ({error}); {advice}") from None
        there = {}
    there = {name: value for name, value in there.items() if name not in varied}
    if there and here and not overwrite and (other := _another(there, here)):
        raise ConfigError(f"output_dir: {shown!r} holds the model of another config ({other}); {advice}")
    return _differences(shown, found, there, here)


def _is_verified(folder: Path, found: WrittenFiles) -> bool:
    """Whether any file that a run wrote is there unchanged; the smallest are read first."""
    there = [folder / name for name in found.files if (folder / name).is_file()]
    there.sort(key=lambda path: path.stat().st_size)
    return any(sha256_file(path) in found.files[path.relative_to(folder).as_posix()] for path in there)


def _is_leftover(name: str, found: WrittenFiles | None) -> bool:
    """Whether a killed run left it: a probe, a staging folder, a temporary file, or the list of files to write."""
    return name.startswith(".finetune-") or (name == DONE and found is not None)


def _refuse_places(config: RunConfig, store: Store, folder: Path) -> None:
    """Refuse folders that can never be an output folder, whatever they contain."""
    base = Path(config.model.name).expanduser()
    for each in (base, _base_of_adapter(base)):
        if each is not None and folder.exists() and os.path.exists(each) and folder.samefile(each):  # noqa: PTH110
            model = "the folder of model.name" if each == base else f"the base of the adapter {config.model.name!r}"
            raise ConfigError(f"output_dir: {config.output_dir!r} is {model}, so its weights would be overwritten; "
                              "choose another folder")  # fmt: skip
    if folder in (Path(folder.anchor), Path.home().resolve()):
        raise ConfigError(f"output_dir: {config.output_dir!r} is {folder}; choose a folder for the model alone")
    if store.local is not None:
        root = store.local.root.resolve()
        if folder == root or any(folder.is_relative_to(root / name) for name in STORE_FOLDERS):
            raise ConfigError(f"output_dir: {config.output_dir!r} is in the store; choose another folder")
    for split in ("train", "validation", "test"):
        given = getattr(config.data, split) or []
        for source in [given] if isinstance(given, str) else given:
            data = os.path.expanduser(source.removeprefix("file://"))  # noqa: PTH111 — a source may not be a path
            if _reads(data, folder):
                raise ConfigError(f"output_dir: data.{split} ({source!r}) reads the files in {config.output_dir!r}, so "
                                  "the model's files would be read as data; choose another folder")  # fmt: skip


def _reads(data: str, folder: Path) -> bool:
    """Whether a source (a folder or a pattern of files) includes what is written to `folder`."""
    if os.path.isdir(data):  # noqa: PTH112 — it may not be a path
        return folder.is_relative_to(Path(data).resolve())
    if not has_magic(data) or "://" in data:
        return False
    fixed = next(parent for parent in Path(data).absolute().parents if not has_magic(str(parent)))
    pattern = fixed.resolve() / Path(data).absolute().relative_to(fixed)
    files = [folder / name for name in EXPORTED]
    if "**" in pattern.parts:
        return any(fnmatch(str(file), str(pattern).replace("**/", "*")) for file in files)
    return any(file.match(str(pattern)) for file in files)


def _base_of_adapter(folder: Path) -> Path | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return Path(json.loads((folder / "adapter_config.json").read_bytes())["base_model_name_or_path"])
    return None


def _config_there(folder: Path) -> JsonObject:
    """Return the values of the config beside a model by dotted name.

    Raises:
        ConfigError: it cannot be read, or is incomplete.
    """
    found = _flat(read(folder / RESOLVED).values)
    if lacking := [name for name in IDENTITY if name not in found]:
        raise ConfigError(f"{RESOLVED} has no {', '.join(lacking)}")
    return found


def _another(there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """Return what distinguishes two configs: their names or, if one has none, the first of `IDENTITY` that differs."""
    one, other = there.get("name"), here.get("name")
    if one and other:
        return None if one == other else f"name: {one}, here {other}"
    for field in IDENTITY:
        if field in there and there[field] != here.get(field):
            return f"{field}: {there[field]}, here {here.get(field)}; configs with the same `name` may differ in it"
    return None


def _differences(shown: str, found: WrittenFiles, there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)
             and not name.startswith(NEUTRAL) and not _lowered(name, there.get(name), here.get(name))]  # fmt: skip
    if found.key is None or not there or not here or not names:
        return None
    changes = [f"{name} {json.dumps(there.get(name))} → {json.dumps(here.get(name))}" for name in names[:SHOWN]]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{shown} holds the model of run {found.run or 'unknown'} ({', '.join(changes)}{more})"


def _lowered(name: str, there: Any, here: Any) -> bool:
    """Whether a saved length is the requested one, lowered to what the base allows."""
    return name in LENGTHS and isinstance(there, int) and (here is None or there < here)


def _flat(values: Mapping[str, Any], prefix: str = "") -> JsonObject:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
