"""The result of a run for Python callers; models and files are loaded on first use."""

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.ref import ArtifactRef
from tasks.config.json_types import JsonObject
from tasks.data.tokens.token_rows import tokens_of
from tasks.objectives import objective_of
from tasks.runtime.context import RunContext, StageEntry, current

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase, TrainerState


class FineTuned:
    """A finished run. It unpacks: `model, tokenizer = finetune(config)`.

    Attributes:
        path: the model folder; None if no `output_dir` was set, or it keeps a better model (`kept` says which).
        promoted: whether `output_dir` holds this run's model; if not, `model` still loads it from the store.
        metrics: `eval_…` on the validation rows, `test_…` on the test rows.
        intervals: 95 % intervals of those metrics that are functions of sums over rows.
        slices: metrics and number of rows by column of `eval.slices` and value.
        classes: precision, recall and F1 of each class, and the confusion matrix, by split.
        stages: what was done for each stage in this run.
        warnings: warnings of the run and of its stages, cached ones included.
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
        report = self._open("s12_handoff").json("report.json")
        self.metrics: dict[str, float] = report["metrics"]
        self.intervals: dict[str, tuple[float, float]] = {
            name: tuple(each) for name, each in report["intervals"].items()
        }
        self.slices: dict[str, dict[str, dict[str, float]]] = report["slices"]
        self.classes: dict[str, dict[str, Any]] = report["classes"]
        self.samples: list[dict[str, str]] = report.get("samples", [])

    @classmethod
    def of(cls, report: ArtifactRef) -> "FineTuned":
        """Return the result of the current run, given its last artifact (empty if the run only plans)."""
        return cls(current()) if report.members else cls.__new__(cls)

    @cached_property
    def model(self) -> Any:
        """The trained model (after LoRA a `PeftModel`, whose adapter can be trained on), in eval mode."""
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
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The base's tokenizer."""
        from tasks.models.bases.tokenizer import read_tokenizer

        return read_tokenizer(self._open("s03_base").view())

    @cached_property
    def collator(self) -> Callable[..., Any]:
        """The collator that makes batches of token rows."""
        padding = self._open("s03_base").json("processor.json")
        return objective_of(self.arguments["task"]).component("collate")(padding)

    @cached_property
    def arguments(self) -> JsonObject:
        """The training plan: resolved arguments, steps, precision, threads, and why."""
        return self._open("s08_trainer").json("plan.json")

    @cached_property
    def history(self) -> list[JsonObject]:
        """What the Trainer logged: losses by step, evaluations."""
        return self._open("s09_train").json("history.json")

    @cached_property
    def state(self) -> "TrainerState":
        """The Trainer's state (`transformers.TrainerState`): global_step, epoch, best_metric, log_history, …"""
        from transformers import TrainerState

        return TrainerState(**self._open("s09_train").json("state.json"))

    @cached_property
    def labels(self) -> list[str] | None:
        """The class names in the order of their ids; None if the task has no classes."""
        return self._open("s06_model").json("head.json")["labels"]

    @property
    def report(self) -> str:
        """The run in markdown: metrics, curves, data, stages, configuration, where the model is."""
        from tasks.results.report import gather
        from tasks.results.report_markdown import markdown

        return markdown(gather(self._context.store, self._context.record("completed")))

    def rows(self, split: str, stage: str = "s05_tokenize") -> "pa.Table":
        """A split's rows as a memory-mapped `pyarrow.Table`: tokens, or texts (`stage="s04_prepare"`)."""
        from tasks.data.tables.arrow_file import open_table

        if stage == "s05_tokenize":
            return tokens_of(self._open(stage).paths(f"{split}-"))
        return open_table(self._open(stage).path(f"{split}.arrow"))

    def __iter__(self) -> Iterator[object]:
        yield self.model
        yield self.tokenizer

    def __repr__(self) -> str:
        return f"FineTuned(run={self.run!r}, path={str(self.path) if self.path else None!r}, metrics={self.metrics})"

    def _open(self, stage: str) -> Artifact:
        return Artifact(self.artifacts[stage], self._context.store)
