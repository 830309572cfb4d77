"""Find the checkpoint to resume from: the training's own, a given one, or the last of the same but shorter training."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats.manifest import MANIFEST, commit, is_complete
from tasks.artifacts.keys.key import key_of
from tasks.artifacts.record import Record
from tasks.artifacts.ref import ArtifactRef
from tasks.artifacts.runs import own_stages
from tasks.artifacts.store import Store
from tasks.config import ConfigError
from tasks.config.json_types import JsonObject
from tasks.runtime.build import Build, piece_of
from tasks.runtime.context import current
from tasks.runtime.inputs import Unkeyed
from tasks.runtime.runs import find_run, has_name, runs
from tasks.training.checkpoints import STATE, checkpoints, newest_whole, read_state
from tasks.training.longer import is_prefix, without_length

TRAIN, PLAN = "s09_train", "s08_trainer"
FIELD = "train.resume_from_checkpoint"
PREFIX = "checkpoint/"


def checkpoint_files(word: str | None, store: Store, ours: str = "") -> dict[str, Path]:
    """Return the files, by name, of the checkpoint that `train.resume_from_checkpoint` names; none if it is unset.

    Args:
        word: a checkpoint's folder, a folder of checkpoints, or any name of a run. store: of those runs.
        ours: a run to ignore.

    Raises:
        ConfigError: there is none, or it is damaged.
    """
    if word is None:
        return {}
    folder = Path(word).expanduser()
    found = _in_folder(folder) if folder.is_dir() else None
    if found is None:
        return _of_run(store, word, ours)
    try:
        read_state(found / STATE)
    except ConfigError as error:
        raise ConfigError(f"{FIELD}: {error}") from error
    if (found / MANIFEST).is_file() and not is_complete(found):
        raise ConfigError(f"{FIELD}: {found} is damaged: its files differ from those listed in its {MANIFEST}")
    return _files(found)


def _in_folder(folder: Path) -> Path | None:
    """Return the folder itself, or the newest checkpoint in it."""
    if (folder / STATE).is_file() and (folder / "scheduler.pt").is_file() | (folder / "scheduler.json").is_file():
        return folder
    return next((each for each in reversed(checkpoints(folder)) if (each / STATE).is_file()), None)


def _files(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_file() and path.name != MANIFEST}


def _of_run(store: Store, word: str, ours: str) -> dict[str, Path]:
    """Return the last checkpoint of the newest run with that name, not counting runs that resumed from `word`."""
    alike = [record for record in runs(store) if record["run"] != ours and has_name(record, word)]
    if not alike:
        try:
            alike = [find_run(store, word)]
        except ConfigError as error:
            raise ConfigError(f"{FIELD}: {word!r} is neither a folder with a checkpoint nor a run of the store at "
                              f"{store.root} ({str(error).removeprefix('RUN: ')})") from None  # fmt: skip
    for record in alike:
        if _started_from(record) != word and (found := _checkpoint_of(store, record)):
            return found
    raise ConfigError(f"{FIELD}: run {word} has no checkpoint; a finished run keeps its last one if "
                      "train.save_strategy is steps or epoch, or train.lr_scheduler_type constant")  # fmt: skip


def _started_from(record: Mapping[str, Any]) -> str | None:
    config: JsonObject = record.get("config") or {}
    train: JsonObject = config.get("train") or {}
    return train.get("resume_from_checkpoint")


def _checkpoint_of(store: Store, record: Mapping[str, Any]) -> dict[str, Path] | None:
    """Return the newest checkpoint of a stopped run, or the last one of a finished run."""
    keys = {entry["stage"]: entry["key"] for entry in own_stages(record)}
    keys |= dict([record["building"]]) if record.get("building") else {}
    if TRAIN not in keys:
        return None
    kept = newest_whole(store.work(TRAIN, keys[TRAIN]) / "keep")
    return _files(kept) if kept is not None else _final_checkpoint(store, keys)


def _final_checkpoint(store: Store, keys: Mapping[str, str]) -> dict[str, Path] | None:
    trained, planned = store.record(TRAIN, keys[TRAIN]), store.lookup(PLAN, keys.get(PLAN, ""))
    if isinstance(trained, Record) and isinstance(planned, ArtifactRef):
        plan = Artifact(planned, store).json("plan.json")
        for step, ref in _final_checkpoints(store, trained.document, _plan_key(plan)):
            if step == plan["steps"]["total"]:
                return _members(store, ref)
    return None


def _members(store: Store, ref: ArtifactRef) -> dict[str, Path]:
    return {name: store.path(member) for name, member in ref.members.items()}


def _plan_key(plan: Mapping[str, Any]) -> dict[str, str]:
    """Return the key of the final checkpoint in place of the plan: if the schedule does not depend on the length,
    without the length."""
    return {"plan": key_of(without_length(plan) or dict(plan))}


def _final_checkpoints(
    store: Store, document: Mapping[str, Any], named: Mapping[str, Any]
) -> Iterator[tuple[int, ArtifactRef]]:
    """Yield the final checkpoints of trainings that differ from `document` only in their length, longest first."""
    wanted = piece_of(document, named, "plan")
    found: list[tuple[int, str]] = []
    for record in store.records(wanted["stage"]):
        piece = dict(record.document.get("piece", {}))
        if (end := piece.pop("end", None)) and {**record.document, "piece": piece} == wanted:
            found.append((end, record.key))
    for end, key in sorted(found, reverse=True):
        if isinstance(ref := store.lookup(wanted["stage"], key), ArtifactRef):
            yield end, ref


def _shorter(
    store: Store, document: Mapping[str, Any], plan: Mapping[str, Any]
) -> tuple[int, dict[str, Path]] | tuple[None, None]:
    if without_length(plan) is not None:
        for end, ref in _final_checkpoints(store, document, _plan_key(plan)):
            if is_prefix(plan, end):
                return end, _members(store, ref)
    return None, None


def resuming(store: Store, document: Mapping[str, Any], *, plan: ArtifactRef, resume: Unkeyed, **_: object) -> str:
    """Return `resumes from step 12 of 45` for the build with this key; empty if it starts from the beginning."""
    planned = Artifact(plan, current().open(plan).store).json("plan.json")
    kept = store.work(TRAIN, key_of(document)) / "keep"
    steps = [int(path.name.rsplit("-", 1)[1]) for path in checkpoints(kept) if (path / MANIFEST).is_file()]
    if not steps and (files := checkpoint_files(resume.value, current().store, current().run)):
        steps = [json.loads(files[STATE].read_text())["global_step"]]
    end = max(steps) if steps else _shorter(store, document, planned)[0]
    return f"resumes from step {end} of {planned['steps']['total']}" if end else ""


def begin(build: Build, plan: Mapping[str, Any], take_over: Callable[[Mapping[str, Path]], list[str]]) -> None:
    """Put the checkpoint to resume from into the work folder, unless the build has one of its own there.

    Args:
        take_over: converts a checkpoint of another training, and returns how that training differed.

    Raises:
        ConfigError: the checkpoint is of another model, or not before this training's last step.
    """
    build.restore()
    files = {name.removeprefix(PREFIX): path for name, path in build.files.items()}
    if newest_whole(build.work) is not None:
        return
    if not files:
        _continue_shorter(build, plan)
        return
    step, total = json.loads(files[STATE].read_text())["global_step"], plan["steps"]["total"]
    if step >= total:
        raise ConfigError(f"{FIELD}: the checkpoint is of step {step}, and this training has {total} steps; raise "
                          "train.num_train_epochs or train.max_steps")  # fmt: skip
    build.info(f"{FIELD}: resumes from step {step} of {total}")
    if differences := take_over(files):
        build.warn(f"{FIELD}: the checkpoint's training differed: {'; '.join(differences)}")
    if plan["arguments"].get("load_best_model_at_end"):
        build.info(f"{FIELD}: the best checkpoint of the steps from {step} on is kept")


def named_files(resume: Unkeyed, **_: object) -> dict[str, Path]:
    """Return the files of the checkpoint that a training is configured to resume from, as they enter its key."""
    return {
        f"{PREFIX}{name}": path for name, path in checkpoint_files(resume.value, current().store, current().run).items()
    }


def _continue_shorter(build: Build, plan: Mapping[str, Any]) -> None:
    end, files = _shorter(build.store, build.document, plan)
    if end is None or files is None:
        return
    folder = build.work / f"checkpoint-{end}"
    folder.mkdir(parents=True)
    for name, path in files.items():
        shutil.copyfile(path, folder / name)
    commit(folder)


def keeps_end(plan: Mapping[str, Any], watching: Mapping[str, Any]) -> bool:
    """Whether to keep the last checkpoint after training: for a longer run, or because of `save_strategy`."""
    return without_length(plan) is not None or watching.get("save_strategy") in ("steps", "epoch")


def keep_end(build: Build, plan: Mapping[str, Any]) -> None:
    """Keep the checkpoint of the last step as a part of the artifact."""
    last, total = newest_whole(build.work), plan["steps"]["total"]
    if last is None or last.name != f"checkpoint-{total}":
        return

    def make(out: Path) -> dict[str, int]:
        for name, path in _files(last).items():
            shutil.copyfile(path, out / name)
        return {"step": total}

    build.piece({**_plan_key(plan), "end": total}, instead_of="plan", make=make)
