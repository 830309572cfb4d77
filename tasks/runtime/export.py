"""A saved model artifact as a folder for people: `output_dir`, brought up to date file by file on every run.

With `promote: if_better` a better model that lies there stays. The decision is made anew on every run, by what lies
there then: a run that was refused is refused again for as long as the better model is there.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.backend import fsync
from tasks.artifacts.digests import digest_of
from tasks.artifacts.formats import json
from tasks.runtime.context import current
from tasks.runtime.log import warn
from tasks.runtime.main_metric import better, main_metric

DONE = "finetune.json"
REPORT = "report.html"  # of the run that brought the model here; written when the run ends


def export_folder(
    saved: Artifact, task: str, output_dir: str | None, promote: str, resolved: str, base: Artifact, model_name: str,
    plan: Artifact, evaluated: Artifact, **_: Any,
) -> str:  # fmt: skip
    """Bring the folder to `output_dir`, or leave there what is better; say which."""
    current().kept = None
    if output_dir is None:
        return ""
    folder = Path(output_dir).expanduser().absolute()
    if promote == "if_better":
        best = plan.json("plan.json")["arguments"].get("metric_for_best_model")
        if why := _better_there(folder, saved.ref.key, task, best, evaluated.json("metrics.json")):
            current().kept = f"kept the current model: {why}"
            warn(f"{output_dir}: {current().kept}")
            return current().kept or ""
    folder.mkdir(parents=True, exist_ok=True)
    digests = {name: member.sha256 for name, member in saved.ref.members.items()}
    before = _written_before(folder)
    stale = set(before.get("files", ())) - set(digests)
    # Said first, so that a run killed in between is known to have left these.
    _replace(folder / DONE, json.text({"key": None, "files": dict.fromkeys(sorted({*stale, *digests}))}))
    for name in stale | ({REPORT} if before.get("key") != saved.ref.key else set()):
        (folder / name).unlink(missing_ok=True)
    for name, member in saved.ref.members.items():
        target = folder / name
        if name == "adapter_config.json":
            _replace(target, _adapter_config(saved, base, model_name))
        elif not (target.is_file() and digest_of(saved.store, target) == member.sha256):
            _replace(target, saved.path(name))
    _replace(folder / "config.resolved.yaml", resolved)
    _replace(folder / DONE, json.text({"key": saved.ref.key, "files": digests}))
    return f"written to {output_dir}"


def _better_there(
    folder: Path, key: str, task: str, best: str | None, metrics: Mapping[str, float | None]
) -> str | None:
    """Why the model that lies in `folder` stays; None: there is none, it is no better, or it cannot be compared."""
    there = _written_before(folder).get("key")
    if there is None or there == key:
        return None
    try:
        old = json.read(folder / "metrics.json")
    except (FileNotFoundError, ValueError):
        return None
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


def _written_before(folder: Path) -> dict[str, Any]:
    """What an earlier run wrote here (an adapter left beside new weights would be loaded with them), and under which
    key; none where it was killed at it."""
    try:
        found = json.read(folder / DONE)
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("files"), dict | list) else {}


def _adapter_config(saved: Artifact, base: Artifact, model_name: str) -> str:
    """An adapter's config must say where its base is: by its hub name, or the folder it has on this machine."""
    local = next((path.parent for name, path in base.externals().items() if name == "config.json"), None)
    is_hub = local is None or "snapshots" in local.parts
    config = saved.json("adapter_config.json")
    return json.text(config | {"base_model_name_or_path": model_name if is_hub else str(local)})


def _replace(target: Path, content: str | Path) -> None:
    """Make `target` hold `content` (text, or another file's bytes), whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid4().hex}.tmp")
    try:
        if isinstance(content, Path):
            shutil.copyfile(content, temporary)
        else:
            temporary.write_text(content)
        fsync(temporary)
        os.replace(temporary, target)  # noqa: PTH105
    finally:
        temporary.unlink(missing_ok=True)
