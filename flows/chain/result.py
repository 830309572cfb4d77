"""What a chain comes to: the finished run of each step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from flows.chain.steps import answers
from tasks.artifacts.formats import json as jsons
from tasks.config import ChainStep
from tasks.config.json_types import JsonObject
from tasks.results.finetuned import FineTuned
from tasks.results.forgetting_matrix import ForgettingMatrix


class Aligned:
    """A finished chain. `model, tokenizer = align(config)` unpacks to those of the last step that trains an answering
    model.

    Attributes:
        names: of the steps. steps: their runs, as `finetune` returns them.
        final: the run of the last step that trains an answering model; if none does, of the last step.
    """

    def __init__(self, chain: Sequence[ChainStep], steps: Sequence[FineTuned]) -> None:
        self.names = tuple(step.name for step in chain)
        self.tasks = tuple(step.run.config.task for step in chain)
        self.steps = tuple(steps)
        answering = [run for step, run in zip(chain, steps, strict=True) if answers(step)]
        self.final = answering[-1] if answering else steps[-1]

    def __getitem__(self, step: str | int) -> FineTuned:
        """Return the run of a step, by name or number."""
        return self.steps[self.names.index(step) if isinstance(step, str) else step]

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def model(self) -> Any:
        """The model of the last answering step, in eval mode."""
        return self.final.model

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        return self.final.tokenizer

    def __iter__(self) -> Iterator[Any]:
        return iter(self.final)

    def summary(self) -> JsonObject:
        """Return the chain as JSON: `steps`, each with its run, metrics, stages and folder, and the final `model_path`,
        as `finetune align --json` prints it."""
        steps = [
            {"name": name, "task": task, "run": done.run, "metrics": done.metrics, "model_path": _path(done),
             "stages": [entry.__dict__ for entry in done.stages], "warnings": done.warnings}
            for name, task, done in zip(self.names, self.tasks, self.steps, strict=True)
        ]  # fmt: skip
        return jsons.finite({"steps": steps, "run": self.final.run, "model_path": _path(self.final)})

    def __repr__(self) -> str:
        return f"Aligned({', '.join(f'{name}: {done!r}' for name, done in zip(self.names, self.steps, strict=True))})"


class Continual(Aligned):
    """Finished tasks that were trained one after another. `model, tokenizer = continual(config)` unpacks to those of
    the last one.

    Attributes:
        matrix: the main metric of each task after each step, and the figures made from it.
    """

    def __init__(self, chain: Sequence[ChainStep], steps: Sequence[FineTuned], matrix: ForgettingMatrix) -> None:
        super().__init__(chain, steps)
        self.final, self.matrix = self.steps[-1], matrix

    def summary(self) -> JsonObject:
        """Return what a chain returns, and `forgetting`: the matrix, and the figures made from it."""
        return {**super().summary(), "forgetting": self.matrix.to_json()}


def _path(done: FineTuned) -> str | None:
    return str(done.path) if done.path else None
