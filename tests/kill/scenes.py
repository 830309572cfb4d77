"""What the children of the warm parent do: carry out a run, and die in it where they are told to.

The code under test knows nothing of this: every death is patched in from outside.
"""

import io
import json
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
from transformers import Trainer

from flows import cli
from flows.chain.execute import execute_chain
from flows.pipeline import pipeline
from tasks import s05_tokenize
from tasks.artifacts.store import Store
from tasks.config import load, load_chain
from tasks.config.errors import FinetuneError
from tasks.data.tokens import shards
from tasks.execution.execute import execute
from tasks.results.finetuned import FineTuned
from tasks.training import resumable, state, trainer
from tasks.training.trainer import FinetuneTrainer
from tests.flow.scenes import without_prefect


def die() -> NoReturn:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def run(config: Mapping[str, Any], death: tuple[str, Any] | None = None, engine: bool = False) -> dict[str, Any]:
    """Carry out `config`; `death` is where to die: the name of a function below, and its argument.

    Returns:
        What became of it; `steps` are the steps trained here, one for each micro-batch.
    """
    steps: list[int] = []
    _count_steps(steps)
    if death is not None:
        DEATHS[death[0]](death[1])
    try:
        done = _carry(config, engine)
    except FinetuneError as error:
        return {"error": type(error).__name__, "exit_code": error.exit_code, "message": str(error), "steps": steps}
    return told(done) | {"steps": steps}


def chain(config: Mapping[str, Any], death: tuple[str, Any] | None = None) -> dict[str, Any]:
    """Carry out a chain; see `run`."""
    steps: list[int] = []
    _count_steps(steps)
    if death is not None:
        DEATHS[death[0]](death[1])
    with without_prefect():
        done = execute_chain(load_chain(config))
    return {"runs": [told(each) for each in done.steps], "steps": steps}


def say(words: list[str]) -> dict[str, Any]:
    """A command with `--json`; what it says last."""
    with redirect_stdout(io.StringIO()) as out:
        code = cli.main(words)
    assert code == 0, (words, code)
    return json.loads(out.getvalue().splitlines()[-1])


def told(done: FineTuned) -> dict[str, Any]:
    """A finished run as JSON."""
    weights = done.artifacts["s09_train"].select("*.safetensors").members
    assert weights
    return {
        "stages": {entry.stage: entry.state for entry in done.stages},
        "keys": {entry.stage: entry.key for entry in done.stages},
        "reasons": {entry.stage: entry.reason for entry in done.stages},
        "weights": {name: member.sha256 for name, member in weights.items()},
        "metrics": done.metrics,
        "run": done.run,
    }


def _carry(config: Mapping[str, Any], engine: bool) -> FineTuned:
    loaded = load(config)
    if not engine:
        return execute(loaded.config, pipeline)
    from flows.api import run as door

    return door(loaded)


def _count_steps(steps: list[int]) -> None:
    original = Trainer.training_step

    def counted(self: Any, *inputs: Any, **named: Any) -> Any:
        steps.append(self.state.global_step + 1)
        return original(self, *inputs, **named)

    Trainer.training_step = counted  # type: ignore[method-assign]


# -- deaths ---------------------------------------------------------------------------------------------------------


def inside(stage: str) -> None:
    """The body is done, nothing of it is published."""
    original = Store.publish

    def publish(self: Store, name: str, *rest: Any, **named: Any) -> Any:
        return die() if name == stage else original(self, name, *rest, **named)

    Store.publish = publish  # type: ignore[method-assign]


def after(stage: str) -> None:
    """The artifact is published, nobody knows yet."""
    original = Store.publish

    def publish(self: Store, name: str, *rest: Any, **named: Any) -> Any:
        ref = original(self, name, *rest, **named)
        return die() if name == stage else ref

    Store.publish = publish  # type: ignore[method-assign]


def in_step(micro: int) -> None:
    """In the middle of the `micro`-th micro-batch: its loss is there, its gradients are not."""
    _on_step(micro, lambda: die())


def signalled_in_step(micro: int) -> None:
    """SIGTERM in the middle of the `micro`-th micro-batch."""
    _on_step(micro, lambda: os.kill(os.getpid(), signal.SIGTERM))


def _on_step(micro: int, act: Callable[[], Any]) -> None:
    original, seen = FinetuneTrainer.compute_loss, [0]

    def compute_loss(self: Any, *inputs: Any, **named: Any) -> Any:
        loss = original(self, *inputs, **named)
        if torch.is_grad_enabled():  # evaluation computes losses too
            seen[0] += 1
            if seen[0] == micro:
                act()
        return loss

    FinetuneTrainer.compute_loss = compute_loss  # type: ignore[method-assign]


def before_optimizer(checkpoint: str) -> None:
    """A checkpoint has its model file, but not its optimizer file."""
    original = state.save_optimizer

    def save_optimizer(optimizer: Any, folder: Path) -> None:
        if folder.name == checkpoint:
            assert (folder / "model.safetensors").exists() or (folder / "adapter_model.safetensors").exists()
            die()
        original(optimizer, folder)

    state.save_optimizer = save_optimizer


def before_manifest(checkpoint: str) -> None:
    """A checkpoint has all its files, but no manifest."""
    original = resumable.commit

    def commit(folder: Path) -> None:
        if folder.name == checkpoint:
            assert (folder / "trainer_state.json").exists()
            die()
        original(folder)

    resumable.commit = commit


def in_manifest(checkpoint: str) -> None:
    """Half of a checkpoint's manifest is written."""
    original = json.dump

    def dump(value: Any, file: Any, **named: Any) -> None:
        name = Path(str(file.name))
        if name.parent.name == checkpoint and name.name.startswith("manifest.json"):
            text = json.dumps(value)
            file.write(text[: len(text) // 2])
            file.flush()
            die()
        original(value, file, **named)

    json.dump = dump


def in_evaluation(number: int) -> None:
    """In the middle of the `number`-th evaluation within training."""
    original, seen = trainer.predict_batches, [0]

    def predict_batches(model: Any, batches: Any, *rest: Any) -> Any:
        seen[0] += 1
        if seen[0] == number:
            labelled = next(iter(batches))
            assert labelled is not None
            die()
        return original(model, batches, *rest)

    trainer.predict_batches = predict_batches


def small_shards(dies_at: int) -> None:
    """Token rows lie in shards of eight; the process dies when that many are published (0: it does not)."""
    original, seen = Store.publish, [0]

    def publish(self: Store, name: str, *rest: Any, **named: Any) -> Any:
        seen[0] += name.endswith(".pieces")
        return die() if dies_at and seen[0] > dies_at else original(self, name, *rest, **named)

    Store.publish = publish  # type: ignore[method-assign]
    s05_tokenize.shards = partial(shards.shards, size=8)


DEATHS: Mapping[str, Callable[[Any], None]] = {
    function.__name__: function
    for function in (
        inside, after, in_step, signalled_in_step, before_optimizer, before_manifest, in_manifest, in_evaluation,
        small_shards,
    )
}  # fmt: skip
