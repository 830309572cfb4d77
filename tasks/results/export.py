"""Writes a saved model artifact to `output_dir`, and updates it on every run.

New files are first copied to a staging folder (a full disk or a kill leaves the old model intact), then renamed into
place under a lock, `finetune.json` last. A file is removed only if `finetune.json` lists it and its digest still
matches; paths that lead out of the folder are never followed.

With `promote: if_better`, a better model that is already there stays. Each run decides again by what is there then:
a refused run is refused again as long as the better model is there.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.backend import fsync, sha256_file
from tasks.artifacts.formats import json
from tasks.artifacts.keys.digests import digest_of
from tasks.config import ConfigError
from tasks.models.bases.files import ADAPTER_CONFIG, INSIDE
from tasks.models.bases.hub import commit_of
from tasks.objectives.base import Objective
from tasks.results.output_dir import DONE, REPORT, RESOLVED, WrittenFiles, check_owner, only_writer, written
from tasks.runtime.context import current
from tasks.runtime.log import warn
from tasks.runtime.main_metric import better, main_metric

STAGING = ".finetune-staging-"
_Metrics = TypeAdapter(dict[str, float | None])


def export_folder(
    saved: Artifact, objective: Objective, output_dir: str | None, promote: str, resolved: str, base: Artifact,
    model_name: str, plan: Artifact, evaluated: Artifact, **_: object,
) -> str:  # fmt: skip
    """Write the model to `output_dir`, unless a better one is there; return a sentence on what was done.

    Raises:
        ConfigError: files were added there since the run started.
    """
    context = current()
    context.kept = None
    if output_dir is None:
        return ""
    folder = Path(output_dir).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with only_writer(folder):
        if promote == "if_better":
            arguments = plan.json("plan.json")["arguments"]
            if why := _better_there(folder, saved.ref.key, objective.name, arguments, evaluated.json("metrics.json")):
                context.kept = f"kept the current model: {why}"
                warn(f"{output_dir}: {context.kept}")
                return context.kept
        check_owner(output_dir, folder, resolved, context.overwrite)
        contents: dict[str, Path | str] = {name: saved.path(name) for name in saved.ref.members}
        if "adapter_config.json" in contents:
            contents["adapter_config.json"] = adapter_config(saved, base.externals(), model_name)
        before = written(folder) or WrittenFiles(None, None, {})
        _write_model(folder, contents, saved, before, context.run, resolved)
    was = f", in place of run {before.run}'s" if before.run and before.key not in (None, saved.ref.key) else ""
    return f"written to {output_dir}{was}"


def write_report(folder: Path, key: str, text: Callable[[], str]) -> None:
    """Write the report of the run that wrote the model `key`, unless there is one, or another model is there now."""
    with only_writer(folder):
        found = written(folder)
        if found is not None and found.key == key and not (folder / REPORT).exists():
            _replace(folder / REPORT, text())


def _write_model(
    folder: Path, contents: Mapping[str, Path | str], saved: Artifact, before: WrittenFiles, run: str, resolved: str
) -> None:
    """Replace what an earlier run wrote by `contents`; the caller holds the folder's lock."""
    digests = {name: _digest(content, saved, name) for name, content in contents.items()}
    names = {*digests, *before.files}
    for name in names:
        if not (folder / name).parent.resolve().is_relative_to(folder.resolve()):
            raise ConfigError(
                f"output_dir: {folder / name} is behind a symbolic link out of the folder; remove the link"
            )
    there = {name: digest_of(saved.store, folder / name) for name in names if (folder / name).is_file()}
    changed = {name: content for name, content in contents.items() if there.get(name) != digests[name]}
    if not changed and names == digests.keys() and before.key == saved.ref.key:
        _replace(folder / RESOLVED, resolved)
        return
    for left in folder.glob(f"{STAGING}*"):
        shutil.rmtree(left, ignore_errors=True)  # from a run that was killed while writing
    staging = folder / f"{STAGING}{uuid4().hex}"
    try:
        for name, content in changed.items():
            _stage(content, staging / name, saved, name)
        # Written first, so that the files of a run killed before the end are known.
        known = {name: sorted(digests) for name, digests in before.files.items()}
        _replace(folder / DONE, json.text({"key": None, "run": run, "files": digests, "before": known}))
        if before.key != saved.ref.key:
            (folder / REPORT).unlink(missing_ok=True)
        for name in there.keys() - digests.keys():
            _remove(folder, name, there[name], before)
        for name in changed:
            if there.get(name, digests[name]) not in before.files.get(name, frozenset()) | {digests[name]}:
                warn(f"output_dir: {folder / name} was changed since a run wrote it; it is replaced")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging / name, folder / name)  # noqa: PTH105
        fsync(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    _replace(folder / RESOLVED, resolved)  # before the last write, which marks the model complete
    _replace(folder / DONE, json.text({"key": saved.ref.key, "run": run, "files": digests}))


def _digest(content: Path | str, saved: Artifact, name: str) -> str:
    return sha256(content.encode()).hexdigest() if isinstance(content, str) else saved.ref.members[name].sha256


def _stage(content: Path | str, target: Path, saved: Artifact, name: str) -> None:
    """Write a file to the staging folder, durably.

    Raises:
        DamagedBlob: the store's bytes do not match their digest.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        target.write_text(content)
    else:
        shutil.copyfile(content, target)
        if saved.store.verify == "size" and sha256_file(target) != saved.ref.members[name].sha256:
            saved.store.discard(saved.ref.members[name])
    fsync(target)


def _remove(folder: Path, name: str, digest: str, before: WrittenFiles) -> None:
    """Remove a file that an earlier run wrote and this one does not (an adapter left beside new weights would be loaded
    with them), if it is unchanged."""
    unverified = before.run is None and name == "adapter_config.json"  # earlier versions listed another file's digest
    if digest not in before.files[name] and not unverified:
        warn(f"output_dir: {folder / name} was changed since a run wrote it: not removed, but not part of this model")
        return
    (folder / name).unlink()
    with suppress(OSError):
        if (folder / name).parent != folder:
            (folder / name).parent.rmdir()


def _better_there(
    folder: Path, key: str, task: str, arguments: Mapping[str, Any], metrics: Mapping[str, float | None]
) -> str | None:
    """Return why the model in `folder` is kept; None if there is none, it is no better, or it cannot be compared."""
    found = written(folder)
    if found is None or found.key is None or found.key == key:
        return None
    try:
        measured = _Metrics.validate_json((folder / "metrics.json").read_bytes())
    except (FileNotFoundError, IsADirectoryError, ValidationError):
        return None
    old = {name: value for name, value in measured.items() if value is not None}
    best, given = arguments.get("metric_for_best_model"), arguments.get("greater_is_better")
    shown, name = main_metric(task, best, old), main_metric(task, best, old, metrics)
    if shown is None:
        return None
    ours = metrics[name] if name else None
    if name is None or ours is None:
        return f"it has {shown} {_short(old[shown])}, the new one has none"
    if not better(task, name, old[name], ours, given):
        return None
    return f"{name} {_short(old[name])} {'>' if old[name] > ours else '<'} {_short(ours)}"


def _short(value: float) -> str:
    return f"{value:.6g}"


def adapter_config(saved: Artifact, files: Mapping[str, Path], model_name: str) -> str:
    """Return the adapter's config with its base's hub name and commit, or the local folder of the base's `files`; if it
    continues another adapter, with that one's base."""
    config = saved.json("adapter_config.json")
    if (other := files.get(INSIDE + ADAPTER_CONFIG)) is not None:
        named = json.read(other)
        return json.text(config | {name: named.get(name) for name in ("base_model_name_or_path", "revision")})
    commit, local = commit_of(files), files.get("config.json")
    where = model_name if commit or local is None else str(local.parent.absolute())
    return json.text(config | {"base_model_name_or_path": where, "revision": commit})


def _replace(target: Path, text: str) -> None:
    """Write `text` to `target` atomically."""
    temporary = target.with_name(f".finetune-{uuid4().hex}.tmp")
    try:
        temporary.write_text(text)
        fsync(temporary)
        os.replace(temporary, target)  # noqa: PTH105
    finally:
        temporary.unlink(missing_ok=True)
