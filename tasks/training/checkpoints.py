"""The checkpoints of one training: committed whole, found by validity, removed only after a better one is there."""

import json
import shutil
from pathlib import Path

from tasks.artifacts.formats.manifest import MANIFEST, commit, is_whole

STATE = "trainer_state.json"


def step_of(checkpoint: Path) -> int:
    """The optimizer step a checkpoint was taken after."""
    return int(checkpoint.name.rsplit("-", 1)[1])


def checkpoints(folder: Path) -> list[Path]:
    """All checkpoint folders, whole or not, oldest first."""
    found = [path for path in folder.glob("checkpoint-*/") if path.name.rsplit("-", 1)[1].isdigit()]
    return sorted(found, key=step_of)


def newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint that can be trusted; torn ones are removed on the way, and those that name another as the
    best so far which is not whole: the last weights must not be taken for the best."""
    for checkpoint in reversed(checkpoints(folder)):
        if is_whole(checkpoint) and _has_its_best(checkpoint):
            return checkpoint
        shutil.rmtree(checkpoint)
    return None


def _has_its_best(checkpoint: Path) -> bool:
    if not (checkpoint / STATE).is_file():
        return False
    best = json.loads((checkpoint / STATE).read_text()).get("best_model_checkpoint")
    return not best or Path(best).name == checkpoint.name or is_whole(checkpoint.parent / Path(best).name)


def localise(checkpoint: Path) -> None:
    """Let the trainer's state speak of this folder: its best checkpoint is noted by absolute path, and the store may
    have moved since."""
    path = checkpoint / STATE
    state = json.loads(path.read_text())
    best = state.get("best_model_checkpoint")
    here = str(checkpoint.parent / Path(best).name) if best else None
    if best and best != here:
        state["best_model_checkpoint"] = here
        (checkpoint / MANIFEST).unlink()
        path.write_text(json.dumps(state, indent=2))
        commit(checkpoint)


def outdated(folder: Path, keep: int, best: str | None) -> list[Path]:
    """The checkpoints to remove once a new one is committed, oldest first: all but the newest `keep` and the best."""
    whole = [path for path in checkpoints(folder) if (path / MANIFEST).exists()]
    return [path for path in whole[: -max(keep, 1)] if best is None or path.name != Path(best).name]
