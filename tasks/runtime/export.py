"""A saved model artifact as a folder for people: `output_dir`, brought up to date file by file on every run."""

import os
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.backend import fsync
from tasks.artifacts.digests import digest_of
from tasks.artifacts.formats import json

DONE = "finetune.json"


def export_folder(
    saved: Artifact, output_dir: str | None, resolved: str, base: Artifact, model_name: str, **_: Any
) -> str:
    """Bring the folder to `output_dir`; say where it is."""
    if output_dir is None:
        return ""
    folder = Path(output_dir).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    digests = {name: member.sha256 for name, member in saved.ref.members.items()}
    stale = _written_before(folder) - set(digests)
    # Said first, so that a run killed in between is known to have left these.
    _replace(folder / DONE, json.text({"key": None, "files": dict.fromkeys(sorted({*stale, *digests}))}))
    for name in stale:
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


def _written_before(folder: Path) -> set[str]:
    """What an earlier run wrote here: an adapter left beside new weights would be loaded with them."""
    try:
        return set(json.read(folder / DONE)["files"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return set()


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
