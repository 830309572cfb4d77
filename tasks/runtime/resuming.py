"""What a training resumes from: its own checkpoint, a given one, or the end of the same but shorter training."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats.manifest import MANIFEST, commit, is_whole
from tasks.artifacts.keys.key import key_of
from tasks.artifacts.record import Record
from tasks.artifacts.ref import ArtifactRef
from tasks.artifacts.store import Store
from tasks.config import ConfigError
from tasks.runtime.build import Build, piece_of
from tasks.runtime.context import current
from tasks.runtime.runs import find_run, is_called, runs
from tasks.training.checkpoints import STATE, checkpoints, newest_whole, read_state
from tasks.training.longer import goes_on, without_length

TRAIN, PLAN = "s09_train", "s08_trainer"
FIELD = "train.resume_from_checkpoint"
PREFIX = "checkpoint/"


def checkpoint_files(word: str | None, store: Store, ours: str = "") -> dict[str, Path]:
    """The files of the checkpoint that `train.resume_from_checkpoint` names, by their names in it; none without it.

    Args:
        word: a checkpoint's folder, a folder that holds some, or a run by any of its names. store: of those runs.
        ours: a run that does not count.

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
    if (found / MANIFEST).is_file() and not is_whole(found):
        raise ConfigError(f"{FIELD}: {found} is damaged: its files are not those that its {MANIFEST} names")
    return _files(found)


def _in_folder(folder: Path) -> Path | None:
    """The folder itself, or the newest checkpoint in it."""
    if (folder / STATE).is_file() and (folder / "scheduler.pt").is_file() | (folder / "scheduler.json").is_file():
        return folder
    return next((each for each in reversed(checkpoints(folder)) if (each / STATE).is_file()), None)


def _files(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_file() and path.name != MANIFEST}


def _of_run(store: Store, word: str, ours: str) -> dict[str, Path]:
    """The last checkpoint of the newest run of that name that has one; runs that went on from there do not count."""
    alike = [record for record in runs(store) if record["run"] != ours and is_called(record, word)]
    if not alike:
        try:
            alike = [find_run(store, word)]
        except ConfigError as error:
            raise ConfigError(f"{FIELD}: {word!r} is neither a folder with a checkpoint nor a run of the store at "
                              f"{store.root} ({str(error).removeprefix('RUN: ')})") from None  # fmt: skip
    for record in alike:
        if _started_from(record) != word and (found := _left_by(store, record)):
            return found
    raise ConfigError(f"{FIELD}: run {word} has left no checkpoint; a finished run keeps its last one where "
                      "train.save_strategy is steps or epoch, or train.lr_scheduler_type constant")  # fmt: skip


def _started_from(record: Mapping[str, Any]) -> str | None:
    return ((record.get("config") or {}).get("train") or {}).get("resume_from_checkpoint")


def _left_by(store: Store, record: Mapping[str, Any]) -> dict[str, Path] | None:
    """The newest checkpoint of a run that was stopped, or the kept last one of a finished one."""
    keys = {entry["stage"]: entry["key"] for entry in record.get("stages") or ()}
    keys |= dict([record["building"]]) if record.get("building") else {}
    if TRAIN not in keys:
        return None
    kept = newest_whole(store.work(TRAIN, keys[TRAIN]) / "keep")
    return _files(kept) if kept is not None else _end_of(store, keys)


def _end_of(store: Store, keys: Mapping[str, str]) -> dict[str, Path] | None:
    trained, planned = store.record(TRAIN, keys[TRAIN]), store.lookup(PLAN, keys.get(PLAN, ""))
    if isinstance(trained, Record) and isinstance(planned, ArtifactRef):
        plan = Artifact(planned, store).json("plan.json")
        for step, ref in _ends(store, trained.document, _named(plan)):
            if step == plan["steps"]["total"]:
                return _members(store, ref)
    return None


def _members(store: Store, ref: ArtifactRef) -> dict[str, Path]:
    return {name: store.path(member) for name, member in ref.members.items()}


def _named(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What the end of a training depends on in place of its plan: of a plan whose length does not matter, the rest."""
    return {"plan": key_of(without_length(plan) or dict(plan))}


def _ends(store: Store, document: Mapping[str, Any], named: Mapping[str, Any]) -> Iterator[tuple[int, ArtifactRef]]:
    """The kept ends of trainings that differ from `document`'s in their length only, longest first."""
    wanted = piece_of(document, named, "plan")
    found = []
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
        for end, ref in _ends(store, document, _named(plan)):
            if goes_on(plan, end):
                return end, _members(store, ref)
    return None, None


def resuming(store: Store, document: Mapping[str, Any], *, plan: Any, resume: Any, **_: Any) -> str:
    """`goes on from step 12 of 45`, of the build that `document` is the question of; empty where it starts anew."""
    planned = Artifact(plan, current().open(plan).store).json("plan.json")
    kept = store.work(TRAIN, key_of(document)) / "keep"
    steps = [int(path.name.rsplit("-", 1)[1]) for path in checkpoints(kept) if (path / MANIFEST).is_file()]
    if not steps and (files := checkpoint_files(resume.value, current().store, current().run)):
        steps = [json.loads(files[STATE].read_text())["global_step"]]
    end = max(steps) if steps else _shorter(store, document, planned)[0]
    return f"goes on from step {end} of {planned['steps']['total']}" if end else ""


def begin(build: Build, plan: Mapping[str, Any], take_over: Callable[[Mapping[str, Path]], list[str]]) -> None:
    """Put what a build goes on from into its work folder, unless it left a checkpoint of its own there.

    Args:
        take_over: makes a checkpoint of another training one of this, and says what was different there.

    Raises:
        ConfigError: the checkpoint is of another model, or of a training that is no shorter than this one.
    """
    build.restore()
    told = {name.removeprefix(PREFIX): path for name, path in build.files.items()}
    if newest_whole(build.work) is not None:
        return
    if not told:
        _take_up(build, plan)
        return
    step, total = json.loads(told[STATE].read_text())["global_step"], plan["steps"]["total"]
    if step >= total:
        raise ConfigError(f"{FIELD}: the checkpoint is of step {step}, and this training has {total} steps; raise "
                          "train.num_train_epochs or train.max_steps")  # fmt: skip
    build.say(f"{FIELD}: goes on from step {step} of {total}")
    if other := take_over(told):
        build.warn(f"{FIELD}: the checkpoint's training differed: {'; '.join(other)}")
    if plan["arguments"].get("load_best_model_at_end"):
        build.say(f"{FIELD}: the best checkpoint of the steps from {step} on is kept")


def named_files(resume: Any, **_: Any) -> dict[str, Path]:
    """The files of the checkpoint a training is told to go on from, as they stand in its key."""
    return {
        f"{PREFIX}{name}": path for name, path in checkpoint_files(resume.value, current().store, current().run).items()
    }


def _take_up(build: Build, plan: Mapping[str, Any]) -> None:
    end, files = _shorter(build.store, build.document, plan)
    if end is None or files is None:
        return
    folder = build.work / f"checkpoint-{end}"
    folder.mkdir(parents=True)
    for name, path in files.items():
        shutil.copyfile(path, folder / name)
    commit(folder)


def keeps_end(plan: Mapping[str, Any], watching: Mapping[str, Any]) -> bool:
    """Whether the last checkpoint outlives the training: a longer one may go on from it, or the user asked for it."""
    return without_length(plan) is not None or watching.get("save_strategy") in ("steps", "epoch")


def keep_end(build: Build, plan: Mapping[str, Any]) -> None:
    """Keep the checkpoint of the last step as a part of the artifact."""
    last, total = newest_whole(build.work), plan["steps"]["total"]
    if last is None or last.name != f"checkpoint-{total}":
        return

    def make(out: Path) -> dict[str, Any]:
        for name, path in _files(last).items():
            shutil.copyfile(path, out / name)
        return {"step": total}

    build.piece({**_named(plan), "end": total}, instead_of="plan", make=make)
