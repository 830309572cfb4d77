"""The checkpoints of one training: committed atomically, validated when found, removed only after a newer commit."""

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

from tasks.artifacts.formats.manifest import MANIFEST, commit, is_complete
from tasks.config.errors import ConfigError
from tasks.config.json_types import JsonObject

STATE = "trainer_state.json"
NAME = re.compile(r"checkpoint-[0-9]+")
NUMBERS = ("epoch", "max_steps", "num_train_epochs", "train_batch_size", "logging_steps", "eval_steps", "save_steps",
           "total_flos", "num_input_tokens_seen")  # fmt: skip


def step_of(checkpoint: Path) -> int:
    """Return the optimizer step after which a checkpoint was saved."""
    return int(checkpoint.name.rsplit("-", 1)[1])


def checkpoints(folder: Path) -> list[Path]:
    """Return all checkpoint folders, complete or not, oldest first."""
    return sorted((path for path in folder.glob("checkpoint-*/") if NAME.fullmatch(path.name)), key=step_of)


def read_state(path: Path) -> JsonObject:
    """Return the Trainer's state in a file.

    Raises:
        ConfigError: it is not a valid state.
    """
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not the state of a Trainer: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} is not the state of a Trainer: it contains {found!r:.40}, not an object")
    step = found.get("global_step")
    if type(step) is not int or step < 1:
        raise ConfigError(
            f"{path} is not the state of a Trainer: global_step is {step!r:.40}, not a whole number from 1"
        )
    wrong = [name for name in NUMBERS if not _is_number(found.get(name))]
    wrong += ["log_history"] if not isinstance(found.get("log_history", []), list) else []
    wrong += ["best_model_checkpoint"] if not isinstance(found.get("best_model_checkpoint"), str | None) else []
    if wrong:
        raise ConfigError(f"{path} is not the state of a Trainer: {wrong[0]} is {found[wrong[0]]!r:.40}")
    return found


def _is_number(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and math.isfinite(value))


def newest_whole(folder: Path) -> Path | None:
    """Return the newest complete checkpoint. Remove incomplete ones, and those whose best checkpoint is missing or
    incomplete, so that the last weights are not mistaken for the best."""
    for checkpoint in reversed(checkpoints(folder)):
        if is_complete(checkpoint) and _has_its_best(checkpoint):
            return checkpoint
        remove(checkpoint)
    return None


def remove(checkpoint: Path) -> None:
    """Remove a checkpoint; if it is a link, only the link."""
    if checkpoint.is_symlink():
        checkpoint.unlink()
    else:
        shutil.rmtree(checkpoint)


def _has_its_best(checkpoint: Path) -> bool:
    try:
        best = read_state(checkpoint / STATE).get("best_model_checkpoint")
    except ConfigError:
        return False
    return not best or Path(best).name == checkpoint.name or is_complete(checkpoint.parent / Path(best).name)


def relocate(checkpoint: Path) -> None:
    """Update the absolute path of the best checkpoint in the trainer's state, as the store may have moved."""
    path = checkpoint / STATE
    state = read_state(path)
    best = state.get("best_model_checkpoint")
    here = str(checkpoint.parent / Path(best).name) if best else None
    if best and best != here:
        state["best_model_checkpoint"] = here
        (checkpoint / MANIFEST).unlink()
        path.write_text(json.dumps(state, indent=2))
        commit(checkpoint)


def outdated(folder: Path, keep: int, best: str | None) -> list[Path]:
    """Return the checkpoints to remove after a commit, oldest first: all but the newest `keep` and the best."""
    whole = [path for path in checkpoints(folder) if (path / MANIFEST).exists()]
    return [path for path in whole[: -max(keep, 1)] if best is None or path.name != Path(best).name]
