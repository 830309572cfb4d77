"""Stage 11: model, tokenizer, metrics and card become one folder.

In: the trained weights, the tokenizer, metrics, plan and counts. Out: an artifact that *is* the model folder (weights
and tokenizer adopted by digest, not copied again). On every run, found or built, the folder is brought to
`output_dir`: files that already hold those bytes are left alone, others are replaced one by one, `finetune.json`
last. Without `output_dir` nothing is written outside the store.

A stage of its own because a model is not saved until it can be loaded elsewhere, with its labels and its limits.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.backend import fsync_file
from tasks.artifacts.digests import digest_of
from tasks.artifacts.formats import json
from tasks.config import ExportConfig
from tasks.evaluation.card import card
from tasks.runtime.build import Build
from tasks.runtime.stage import stage

DONE = "finetune.json"
LEFT_OUT = ("base.json", "history.json", "padding.json")


def _export(saved: Artifact, output_dir: str | None, resolved: str, base: Artifact, model_name: str, **_: Any) -> str:
    """Bring the folder to `output_dir`; say where it is."""
    if output_dir is None:
        return ""
    folder = Path(output_dir).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    for name, member in saved.ref.members.items():
        target = folder / name
        if name == "adapter_config.json":
            _replace(target, _adapter_config(saved, base, model_name))
        elif not (target.is_file() and digest_of(saved.store, target) == member.sha256):
            _replace(target, saved.path(name))
    _replace(folder / "config.resolved.yaml", resolved)
    digests = {name: member.sha256 for name, member in saved.ref.members.items()}
    _replace(folder / DONE, json.text({"key": saved.ref.key, "files": digests}))
    return f"written to {output_dir}"


@stage(libraries=("transformers", "peft"), after=_export)
def save(
    build: Build,
    *,
    name: str | None,
    model_name: str,
    export: ExportConfig,
    base: Artifact,
    data: Artifact,
    labels: Artifact,
    model: Artifact,
    plan: Artifact,
    trained: Artifact,
    evaluated: Artifact,
    output_dir: str | None,
    resolved: str,
) -> Mapping[str, Any]:
    """Write the model folder.

    Args:
        output_dir, resolved: where the folder goes, and the config that made it; not in the key.
    """
    adapted = "adapter_config.json" in trained
    weights = trained
    if adapted and export.merge:
        from tasks.models.assemble import trained_model

        merged = trained_model(trained.view(), model.view(), base.externals(), model.json("load.json"), merge=True)
        merged.save_pretrained(build.out)
        adapted = False
    else:
        build.adopted.update(_members(weights))
    build.adopted.update(_members(base, but=("config.json",)))
    if adapted:
        build.adopted["config.json"] = model.ref.members["config.json"]
    metrics = evaluated.json("metrics.json")
    json.write(metrics, build.out / "metrics.json")
    json.write(plan.json("plan.json"), build.out / "training_plan.json")
    if export.card:
        text = card(
            name or "fine-tuned model", model_name, plan.json("plan.json"), data.json("data.json"),
            labels.json("labels.json"), metrics, adapted,
        )  # fmt: skip
        (build.out / "README.md").write_text(text)
    return {"adapter": adapted}


def _members(artifact: Artifact, but: tuple[str, ...] = ()) -> dict[str, Any]:
    return {name: member for name, member in artifact.ref.members.items() if name not in LEFT_OUT + but}


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
        fsync_file(temporary)
        os.replace(temporary, target)  # noqa: PTH105
    finally:
        temporary.unlink(missing_ok=True)
