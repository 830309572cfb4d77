"""The result of a run for Python callers. Everything is loaded lazily."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.ref import ArtifactRef
from tasks.data.tokens.token_rows import tokens_of
from tasks.objectives import objective_of
from tasks.runtime.context import RunContext, StageEntry, current


class FineTuned:
    """A finished run. `model, tokenizer = finetune(config)` works; so does each part by name.

    Attributes:
        path: the model folder; None when no `output_dir` was set, or it keeps a better model (`kept` says which).
        promoted: whether `output_dir` holds this run's model. Without one, and where it was kept, `model` still is.
        metrics: `eval_…` of the validation rows, `test_…` of the test rows.
        intervals: the 95 % interval of those that are functions of sums over rows.
        slices: by column of `eval.slices` and its values, the metrics and the number of rows.
        classes: by split, precision, recall and f1 of each class, and the confusion matrix.
        stages: what became of each stage in this run.
        warnings: what the run and its stages warned of, those that were cached too.
        artifacts: each stage's artifact by name.
        report: the run in markdown.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self.run = context.run
        self.stages: tuple[StageEntry, ...] = tuple(context.entries)
        self.warnings: tuple[str, ...] = (*context.notes, *context.warnings)
        self.artifacts: dict[str, ArtifactRef] = dict(context.refs)
        output_dir = context.summary.get("model_path")
        self.kept = context.kept
        self.path = Path(output_dir) if output_dir and not self.kept else None
        self.promoted = self.path is not None
        handed = self._open("s12_handoff").json("report.json")
        self.metrics: dict[str, float] = handed["metrics"]
        self.intervals: dict[str, tuple[float, float]] = {
            name: tuple(each) for name, each in handed["intervals"].items()
        }
        self.slices: dict[str, dict[str, dict[str, float]]] = handed["slices"]
        self.classes: dict[str, dict[str, Any]] = handed["classes"]

    @classmethod
    def of(cls, report: ArtifactRef) -> "FineTuned":
        """The result of the current run, given its last artifact (of a plan, an empty one)."""
        return cls(current()) if report.members else cls.__new__(cls)

    @cached_property
    def model(self) -> Any:
        """The trained model (a `PeftModel` after LoRA), in eval mode."""
        from tasks.models.assemble import trained_model
        from tasks.models.bases.files import GENERATION
        from tasks.models.generation import generate_as

        model, base = self._open("s06_model"), self._open("s03_base")
        weights = self._open("s09_train").view()
        live = trained_model(weights, model.view(), base.externals(), model.json("load.json"))
        if GENERATION in (saved := self._open("s11_save")):
            generate_as(live, saved.path(GENERATION))
        return live

    @cached_property
    def tokenizer(self) -> Any:
        """The base's tokenizer."""
        from tasks.models.bases.tokenizer import read_tokenizer

        return read_tokenizer(self._open("s03_base").view())

    @cached_property
    def collator(self) -> Any:
        """What made batches of token rows."""
        padding = self._open("s03_base").json("processor.json")
        return objective_of(self.arguments["task"]).component("collate")(padding)

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """The plan of the training: resolved arguments, steps, precision, threads, and why."""
        return self._open("s08_trainer").json("plan.json")

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """What the Trainer logged: losses by step, evaluations."""
        return self._open("s09_train").json("history.json")

    @cached_property
    def state(self) -> Any:
        """The Trainer's state (`transformers.TrainerState`): global_step, epoch, best_metric, log_history, …"""
        from transformers import TrainerState

        return TrainerState(**self._open("s09_train").json("state.json"))

    @cached_property
    def labels(self) -> list[str] | None:
        """The class names in the order of their ids; None where there are no classes."""
        return self._open("s06_model").json("head.json")["labels"]

    @property
    def report(self) -> str:
        """The run in markdown: metrics, curves, data, stages, what was asked, where the model is."""
        from tasks.results.report import gather
        from tasks.results.report_markdown import markdown

        return markdown(gather(self._context.store, self._context.record("completed")))

    def rows(self, split: str, stage: str = "s05_tokenize") -> Any:
        """A split's rows as a memory-mapped `pyarrow.Table`: tokens, or texts (`stage="s04_prepare"`)."""
        from tasks.data.tables.arrow_file import open_table

        if stage == "s05_tokenize":
            return tokens_of(self._open(stage).paths(f"{split}-"))
        return open_table(self._open(stage).path(f"{split}.arrow"))

    def __iter__(self) -> Iterator[Any]:
        yield self.model
        yield self.tokenizer

    def __repr__(self) -> str:
        return f"FineTuned(run={self.run!r}, path={str(self.path) if self.path else None!r}, metrics={self.metrics})"

    def _open(self, stage: str) -> Artifact:
        return Artifact(self.artifacts[stage], self._context.store)
