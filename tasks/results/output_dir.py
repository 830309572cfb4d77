"""`output_dir`: whose folder it is, and that one run at a time writes there.

A folder is ours if its `finetune.json` says which files a run brought and by which digests; whatever else lies there is
a person's. `config.resolved.yaml` beside it says of which config the model is.
"""

import fcntl
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tasks.artifacts.names import are_files
from tasks.artifacts.store import Store
from tasks.config import ConfigError, RunConfig, to_yaml
from tasks.config.reading.yaml_file import parse_document, read
from tasks.runtime.log import warn

DONE = "finetune.json"
REPORT = "report.html"  # of the run that brought the model here; written when the run ends
RESOLVED = "config.resolved.yaml"
GRID = "grid"  # of a sweep, which writes it whether or not a cell comes to a model
ROOMS = ("blobs", "records", "runs", "work", "locks", "leases", "memo")
SHOWN = 3
IDENTITY = ("task", "model.name", "data.train")  # of a config without a name
# What may differ and leave the model what it is.
BESIDE = ("output_dir", "name", "store", "secrets", "checkpoint", "export.promote", "export.overwrite")

LENGTHS = ("data.max_length", "data.stride")


@dataclass(frozen=True)
class Written:
    """What a run says it brought: the model's key (None: it was killed at it), its run, and by which digests each of
    its files may be known."""

    key: str | None
    run: str | None
    files: Mapping[str, frozenset[str]]


class _Done(BaseModel):
    key: str | None = None
    run: str | None = None
    files: dict[str, str | None]
    before: dict[str, list[str]] = {}


def written(folder: Path) -> Written | None:
    """What an earlier run wrote into `folder`; None if it is not ours."""
    try:
        done = _Done.model_validate_json((folder / DONE).read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValidationError):
        return None
    if not are_files({*done.files, *done.before} - {DONE}):
        return None
    known = {name: {*done.before.get(name, ())} for name in {**done.files, **done.before}}
    for name, digest in done.files.items():
        known[name] |= {digest} if digest else set()
    return Written(done.key, done.run, {name: frozenset(digests) for name, digests in known.items()})


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Be the only run that writes into `folder`; another one that is at it is waited for."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            warn(f"{folder} cannot be locked ({error.strerror}); let no two runs write there at once")
        yield
    finally:
        os.close(descriptor)


def check_output(config: RunConfig, store: Store, overwrite: bool, varied: Collection[str] = ()) -> str | None:
    """Refuse an `output_dir` that holds what is not to be lost; return what a run overwrites there, if anything.

    Args:
        varied: fields that a sweep varies: they may differ from those of the model that lies there.

    Raises:
        ConfigError: it is the base, the store, a folder that data are read from, or `/`; or it is somebody else's, or
            holds the model of another config, and `overwrite` is false.
    """
    assert config.output_dir is not None
    folder = Path(config.output_dir).expanduser().absolute().resolve()
    _refuse_places(config, store, folder)
    return check_owner(config.output_dir, folder, to_yaml(config, {}), overwrite, varied)


def check_owner(shown: str, folder: Path, resolved: str, overwrite: bool, varied: Collection[str] = ()) -> str | None:
    """The same for what lies in `folder` alone; `resolved` is the config as YAML."""
    if not folder.is_dir():
        return None
    found, mend = written(folder), "name another, or replace what lies there: export.overwrite: true, or --overwrite"
    if found is None:
        ours = (GRID, RESOLVED, REPORT)
        others = sorted(each.name for each in folder.iterdir() if each.name not in ours and not _is_left(each.name))
        if not others:
            return None
        names = ", ".join(others[:SHOWN]) + (", …" if len(others) > SHOWN else "")
        if not overwrite:
            raise ConfigError(f"output_dir: {shown!r} holds files that no run brought there ({names}); {mend}")
        return f"{shown} holds files that no run brought there ({names})"
    there, here = _config_there(folder), _flat(parse_document(resolved, RESOLVED).values) if resolved else {}
    there = {name: value for name, value in there.items() if name not in varied}
    if there and here and not overwrite and (other := _another(there, here)):
        raise ConfigError(f"output_dir: {shown!r} holds the model of another config ({other}); {mend}")
    return _differences(shown, found, there, here)


def _is_left(name: str) -> bool:
    """Whether a run that was killed left it: a probe, a staged or half-written file."""
    return name.startswith(".finetune-")


def _refuse_places(config: RunConfig, store: Store, folder: Path) -> None:
    """Places that are never an output folder."""
    base = Path(config.model.name).expanduser()
    if folder.exists() and base.exists() and folder.samefile(base):
        raise ConfigError(f"output_dir: {config.output_dir!r} is the folder of model.name, whose weights would be "
                          "overwritten; name another")  # fmt: skip
    if folder in (Path(folder.anchor), Path.home().resolve()):
        raise ConfigError(f"output_dir: {config.output_dir!r} is {folder}; name a folder of the model's own")
    if store.local is not None:
        root = store.local.root.resolve()
        if folder == root or any(folder.is_relative_to(root / room) for room in ROOMS):
            raise ConfigError(f"output_dir: {config.output_dir!r} is the store; name another folder")
    for split in ("train", "validation", "test"):
        given = getattr(config.data, split) or []
        for source in [given] if isinstance(given, str) else given:
            data = Path(source.removeprefix("file://")).expanduser()
            if data.is_dir() and folder.is_relative_to(data.resolve()):
                raise ConfigError(f"output_dir: {config.output_dir!r} lies in the folder that data.{split} reads, so "
                                  "the model's files would be read as data; name another")  # fmt: skip


def _config_there(folder: Path) -> dict[str, Any]:
    try:
        return _flat(read(folder / RESOLVED).values)
    except ConfigError:
        return {}


def _another(there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """What tells two configs apart: their names or, where one has none, what is trained on what for which task."""
    one, other = there.get("name"), here.get("name")
    if one and other:
        return None if one == other else f"name: {one}, here {other}"
    for field in IDENTITY:
        if field in there and there[field] != here.get(field):
            return f"{field}: {there[field]}, here {here.get(field)}; configs of one `name` may differ in it"
    return None


def _differences(shown: str, found: Written, there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)
             and not name.startswith(BESIDE) and not _lowered(name, there.get(name), here.get(name))]  # fmt: skip
    if found.key is None or not there or not here or not names:
        return None
    said = [f"{name} {json.dumps(there.get(name))} → {json.dumps(here.get(name))}" for name in names[:SHOWN]]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{shown} holds the model of run {found.run or 'of before'} ({', '.join(said)}{more})"


def _lowered(name: str, there: Any, here: Any) -> bool:
    """Whether a length may be what the base allows of the one that is asked for now: saved is what was used."""
    return name in LENGTHS and isinstance(there, int) and (here is None or there < here)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
