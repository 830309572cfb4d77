"""Writes a saved model artifact to `output_dir`, and updates it on every run.

What is new is first copied beside (a full disk, or a kill, leaves the old model as it is), then renamed into place
while no other run writes there, `finetune.json` last. Removed is only what `finetune.json` lists and still has the
bytes it says; a name that leads out of the folder is never followed.

With `promote: if_better` a better model that lies there stays. The decision is made anew on every run, by what lies
there then: a run that was refused is refused again for as long as the better model is there.
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
from tasks.models.bases.hub import commit_of
from tasks.objectives.base import Objective
from tasks.results.output_dir import DONE, REPORT, RESOLVED, Written, check_owner, only_writer, written
from tasks.runtime.context import current
from tasks.runtime.log import warn
from tasks.runtime.main_metric import better, main_metric

STAGING = ".finetune-staging-"
_Metrics = TypeAdapter(dict[str, float | None])


def export_folder(
    saved: Artifact, objective: Objective, output_dir: str | None, promote: str, resolved: str, base: Artifact,
    model_name: str, plan: Artifact, evaluated: Artifact, **_: Any,
) -> str:  # fmt: skip
    """Write the model to `output_dir`, unless a better one is there; return what was done, in words.

    Raises:
        ConfigError: files were put there since the run began.
    """
    context = current()
    context.kept = None
    if output_dir is None:
        return ""
    folder = Path(output_dir).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with only_writer(folder):
        if promote == "if_better":
            best = plan.json("plan.json")["arguments"].get("metric_for_best_model")
            if why := _better_there(folder, saved.ref.key, objective.name, best, evaluated.json("metrics.json")):
                context.kept = f"kept the current model: {why}"
                warn(f"{output_dir}: {context.kept}")
                return context.kept
        check_owner(output_dir, folder, resolved, context.overwrite)
        contents: dict[str, Path | str] = {name: saved.path(name) for name in saved.ref.members}
        if "adapter_config.json" in contents:
            contents["adapter_config.json"] = _adapter_config(saved, base, model_name)
        before = written(folder) or Written(None, None, {})
        _bring(folder, contents, saved, before, context.run, resolved)
    was = f", in place of run {before.run}'s" if before.run and before.key not in (None, saved.ref.key) else ""
    return f"written to {output_dir}{was}"


def beside_the_model(folder: Path, key: str, text: Callable[[], str]) -> None:
    """Write the report of the run that wrote the model `key`, unless there is one, or another model is there now."""
    with only_writer(folder):
        found = written(folder)
        if found is not None and found.key == key and not (folder / REPORT).exists():
            _replace(folder / REPORT, text())


def _bring(
    folder: Path, contents: Mapping[str, Path | str], saved: Artifact, before: Written, run: str, resolved: str
) -> None:
    """Replace what a run wrote before by `contents`; the caller is the folder's only writer."""
    digests = {name: _digest(content, saved, name) for name, content in contents.items()}
    names = {*digests, *before.files}
    for name in names:
        if not (folder / name).parent.resolve().is_relative_to(folder.resolve()):
            raise ConfigError(f"output_dir: {folder / name} lies behind a link that leads elsewhere; remove the link")
    there = {name: digest_of(saved.store, folder / name) for name in names if (folder / name).is_file()}
    changed = {name: content for name, content in contents.items() if there.get(name) != digests[name]}
    if not changed and names == digests.keys() and before.key == saved.ref.key:
        _replace(folder / RESOLVED, resolved)
        return
    for left in folder.glob(f"{STAGING}*"):
        shutil.rmtree(left, ignore_errors=True)  # of a run that was killed while writing
    staging = folder / f"{STAGING}{uuid4().hex}"
    try:
        for name, content in changed.items():
            _stage(content, staging / name, saved, name)
        # Written first, so that the files of a run killed in between are known.
        known = {name: sorted(digests) for name, digests in before.files.items()}
        _replace(folder / DONE, json.text({"key": None, "run": run, "files": digests, "before": known}))
        if before.key != saved.ref.key:
            (folder / REPORT).unlink(missing_ok=True)
        for name in there.keys() - digests.keys():
            _remove(folder, name, there[name], before)
        for name in changed:
            if there.get(name, digests[name]) not in before.files.get(name, frozenset()) | {digests[name]}:
                warn(f"output_dir: {folder / name} was not as a run had written it; it is replaced")
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
    """Put a file beside its place, durably.

    Raises:
        DamagedBlob: the store's bytes are not those that were written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        target.write_text(content)
    else:
        shutil.copyfile(content, target)
        if saved.store.verify == "size" and sha256_file(target) != saved.ref.members[name].sha256:
            saved.store.discard(saved.ref.members[name])
    fsync(target)


def _remove(folder: Path, name: str, digest: str, before: Written) -> None:
    """Remove what an earlier run wrote and this one does not (an adapter left beside new weights would be loaded with
    them), if it still is what that run wrote."""
    unsaid = before.run is None and name == "adapter_config.json"  # earlier versions listed another file's digest
    if digest not in before.files[name] and not unsaid:
        warn(f"output_dir: {folder / name} was changed since a run wrote it, and stays; it is no part of this model")
        return
    (folder / name).unlink()
    with suppress(OSError):
        if (folder / name).parent != folder:
            (folder / name).parent.rmdir()


def _better_there(
    folder: Path, key: str, task: str, best: str | None, metrics: Mapping[str, float | None]
) -> str | None:
    """Why the model in `folder` is kept; None: there is none, it is no better, or it cannot be compared."""
    found = written(folder)
    if found is None or found.key is None or found.key == key:
        return None
    try:
        measured = _Metrics.validate_json((folder / "metrics.json").read_bytes())
    except (FileNotFoundError, IsADirectoryError, ValidationError):
        return None
    old = {name: value for name, value in measured.items() if value is not None}
    shown, name = main_metric(task, best, old), main_metric(task, best, old, metrics)
    if shown is None:
        return None
    ours = metrics[name] if name else None
    if name is None or ours is None:
        return f"it has {shown} {_short(old[shown])}, the new one has none"
    if not better(task, name, old[name], ours):
        return None
    return f"{name} {_short(old[name])} {'>' if old[name] > ours else '<'} {_short(ours)}"


def _short(value: float) -> str:
    return f"{value:.6g}"


def _adapter_config(saved: Artifact, base: Artifact, model_name: str) -> str:
    """An adapter's config must say where its base is: by hub name and commit, or the folder it has on this machine."""
    files, config = base.externals(), saved.json("adapter_config.json")
    commit, local = commit_of(files), files.get("config.json")
    where = model_name if commit or local is None else str(local.parent.absolute())
    return json.text(config | {"base_model_name_or_path": where, "revision": commit})


def _replace(target: Path, text: str) -> None:
    """Make `target` hold `text`, whole or not at all."""
    temporary = target.with_name(f".finetune-{uuid4().hex}.tmp")
    try:
        temporary.write_text(text)
        fsync(temporary)
        os.replace(temporary, target)  # noqa: PTH105
    finally:
        temporary.unlink(missing_ok=True)
