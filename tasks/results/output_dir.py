"""`output_dir`: whether a run may write there, and a lock so that only one run does at a time.

A folder is ours if its `finetune.json` lists the files a run wrote and at least one of them is there with the digest
that is listed. `config.resolved.yaml` says which config the model is of. Everything else in it belongs to the user.
"""

import fcntl
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tasks.artifacts.backend import sha256_file
from tasks.artifacts.names import are_files
from tasks.artifacts.store import Store
from tasks.config import ConfigError, RunConfig, to_yaml
from tasks.config.reading.yaml_file import parse_document, read
from tasks.runtime.log import warn

DONE = "finetune.json"
REPORT = "report.html"  # of the run that wrote the model; written when that run ends
RESOLVED = "config.resolved.yaml"
GRID = "grid"  # a sweep writes it even if no cell finishes
STORE_FOLDERS = ("blobs", "records", "runs", "work", "locks", "leases", "memo")
SHOWN = 3
IDENTITY = ("task", "model.name", "data.train")  # of a config without a name
# Fields that do not change the model.
NEUTRAL = ("output_dir", "name", "store", "secrets", "checkpoint", "export.promote", "export.overwrite")

LENGTHS = ("data.max_length", "data.stride")


@dataclass(frozen=True)
class Written:
    """What a run wrote: the model's key (None: the run was killed while writing), the run, and the digests that each
    file may have."""

    key: str | None
    run: str | None
    files: Mapping[str, frozenset[str]]


class _Done(BaseModel):
    key: str | None = None
    run: str | None = None
    files: dict[str, str | None]
    before: dict[str, list[str]] = {}


def written(folder: Path) -> Written | None:
    """What the `finetune.json` in `folder` lists; None if there is none, or not one that a run wrote."""
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
    """Hold the lock on `folder`, after waiting for any other run that writes there."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            warn(f"{folder} cannot be locked ({error.strerror}); do not let two runs write there at once")
        yield
    finally:
        os.close(descriptor)


def check_output(config: RunConfig, store: Store, overwrite: bool, varied: Collection[str] = ()) -> str | None:
    """Refuse an `output_dir` with files that must not be lost; return what a run overwrites there, if anything.

    Args:
        varied: fields that a sweep varies: they may differ from those of the model in the folder.

    Raises:
        ConfigError: it is the base, the store, a folder that data are read from, the home folder or `/`; or, unless
            `overwrite`, it holds files that no run wrote, or the model of another config or of an unknown one.
    """
    assert config.output_dir is not None
    folder = Path(os.path.realpath(Path(config.output_dir).expanduser()))  # of a loop of links too
    _refuse_places(config, store, folder)
    return check_owner(config.output_dir, folder, to_yaml(config, {}), overwrite, varied)


def check_owner(shown: str, folder: Path, resolved: str, overwrite: bool, varied: Collection[str] = ()) -> str | None:
    """The part of `check_output` that depends only on the content of `folder`; `resolved` is the config as YAML."""
    if not folder.is_dir():
        return None
    found, advice = written(folder), "name another, or replace its files: export.overwrite: true, or --overwrite"
    if found is None or not _is_proved(folder, found):
        others = sorted(each.name for each in folder.iterdir() if each.name != GRID and not _is_left(each.name, found))
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
        if here and found.key is not None and not overwrite:  # a run that was killed has not written it yet
            raise ConfigError(f"output_dir: {shown!r} holds a model of an unknown config ({error}); {advice}") from None
        there = {}
    there = {name: value for name, value in there.items() if name not in varied}
    if there and here and not overwrite and (other := _another(there, here)):
        raise ConfigError(f"output_dir: {shown!r} holds the model of another config ({other}); {advice}")
    return _differences(shown, found, there, here)


def _is_proved(folder: Path, found: Written) -> bool:
    """Whether a file that a run wrote is still there as it was; the smallest ones are read first."""
    there = [folder / name for name in found.files if (folder / name).is_file()]
    there.sort(key=lambda path: path.stat().st_size)
    return any(sha256_file(path) in found.files[path.relative_to(folder).as_posix()] for path in there)


def _is_left(name: str, found: Written | None) -> bool:
    """Whether a killed run left it: a probe, a staged or half-written file, or the list of files to come."""
    return name.startswith(".finetune-") or (name == DONE and found is not None)


def _refuse_places(config: RunConfig, store: Store, folder: Path) -> None:
    """Refuse what is never an output folder, whatever is in it."""
    base = Path(config.model.name).expanduser()
    for each in (base, _base_of_adapter(base)):
        if each is not None and folder.exists() and os.path.exists(each) and folder.samefile(each):  # noqa: PTH110
            whose = "the folder of model.name" if each == base else f"the base of the adapter {config.model.name!r}"
            raise ConfigError(f"output_dir: {config.output_dir!r} is {whose}, whose weights would be overwritten; "
                              "name another")  # fmt: skip
    if folder in (Path(folder.anchor), Path.home().resolve()):
        raise ConfigError(f"output_dir: {config.output_dir!r} is {folder}; name a folder of the model's own")
    if store.local is not None:
        root = store.local.root.resolve()
        if folder == root or any(folder.is_relative_to(root / name) for name in STORE_FOLDERS):
            raise ConfigError(f"output_dir: {config.output_dir!r} is the store; name another folder")
    for split in ("train", "validation", "test"):
        given = getattr(config.data, split) or []
        for source in [given] if isinstance(given, str) else given:
            data = os.path.expanduser(source.removeprefix("file://"))  # noqa: PTH111 — a source may be no path at all
            if os.path.isdir(data) and folder.is_relative_to(Path(data).resolve()):  # noqa: PTH112
                raise ConfigError(f"output_dir: {config.output_dir!r} is in the folder that data.{split} reads, so "
                                  "the model's files would be read as data; name another")  # fmt: skip


def _base_of_adapter(folder: Path) -> Path | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return Path(json.loads((folder / "adapter_config.json").read_bytes())["base_model_name_or_path"])
    return None


def _config_there(folder: Path) -> dict[str, Any]:
    """The values of the config beside a model by dotted name.

    Raises:
        ConfigError: it cannot be read, or is not a whole one.
    """
    found = _flat(read(folder / RESOLVED).values)
    if lacking := [name for name in IDENTITY if name not in found]:
        raise ConfigError(f"{RESOLVED} has no {', '.join(lacking)}")
    return found


def _another(there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """What tells two configs apart: their names or, if one has none, the first of `IDENTITY` that differs."""
    one, other = there.get("name"), here.get("name")
    if one and other:
        return None if one == other else f"name: {one}, here {other}"
    for field in IDENTITY:
        if field in there and there[field] != here.get(field):
            return f"{field}: {there[field]}, here {here.get(field)}; configs of one `name` may differ in it"
    return None


def _differences(shown: str, found: Written, there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)
             and not name.startswith(NEUTRAL) and not _lowered(name, there.get(name), here.get(name))]  # fmt: skip
    if found.key is None or not there or not here or not names:
        return None
    changes = [f"{name} {json.dumps(there.get(name))} → {json.dumps(here.get(name))}" for name in names[:SHOWN]]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{shown} holds the model of run {found.run or 'unknown'} ({', '.join(changes)}{more})"


def _lowered(name: str, there: Any, here: Any) -> bool:
    """Whether a saved length is the requested one, cut to what the base allows: a model's config has the latter."""
    return name in LENGTHS and isinstance(there, int) and (here is None or there < here)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
