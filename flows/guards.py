"""Guards (`eval.guard`): what earlier trainings taught, measured before and after a training as stages of its run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from flows.other_task import OtherTask, other_task
from tasks import s07e_guarded, s08_trainer, s10b_guard
from tasks.artifacts.ref import ArtifactRef
from tasks.config import ConfigError, DataError, GuardConfig, RunConfig, TrainingError
from tasks.config.json_types import JsonObject
from tasks.execution.guarded import guarded_config, measuring
from tasks.execution.same_base import refuse_other_base
from tasks.models.device import placing
from tasks.models.likeness import refuse_other_classes
from tasks.objectives.guards import measured_metrics
from tasks.runtime.context import current
from tasks.runtime.inputs import Pending

SPLITS = ("test", "validation")
OTHER = "model.name"


@dataclass(frozen=True)
class _Guard:
    """An entry of `eval.guard`: its field, for messages, and the arguments of both stages that measure it."""

    section: GuardConfig
    field: str
    other: OtherTask
    measured: Mapping[str, Any]


@dataclass
class Guards:
    """The guards of a run. `started` are the arguments of the stages that all guards share, and `earlier` what was
    measured before training, by the guards' names."""

    run: RunConfig
    guards: list[_Guard]
    started: dict[str, Any] = field(default_factory=dict[str, Any])
    earlier: dict[str, ArtifactRef] = field(default_factory=dict[str, ArtifactRef])

    def before(self, **models: Any) -> None:
        """Measure the model before training.

        Args:
            models: `base`, `model` and `adapter` of the stage.

        Raises:
            ConfigError: a guard's model has no trained head for the rows, or a metric is undefined for them.
        """
        self.started = {"base": models["base"], "model": models["model"]}
        for guard in self.guards:
            with current().beside(name := guard.other.name):
                try:
                    found = s07e_guarded.before(**models, **guard.measured)
                except ConfigError as error:
                    raise ConfigError(f"{guard.field} ({name}): {error}") from error
            self.earlier[name] = found
            if not isinstance(found, Pending):
                self._metric(guard, found)

    def after(self, trained: ArtifactRef) -> JsonObject | ArtifactRef:
        """Measure the trained model; return the metrics of all guards (in a plan that cannot know them, the artifact
        that is missing).

        Raises:
            TrainingError: one or more metrics dropped by more than `max_drop`, and `on_drop` is `fail`.
        """
        metrics, failed = JsonObject(), list[str]()
        missing: ArtifactRef | None = None
        for guard in self.guards:
            with current().beside(name := guard.other.name):
                start = self.earlier[name].select("head.json")
                found = s10b_guard.after(trained=trained, start=start, **self.started, **guard.measured)
            if isinstance(found, Pending):
                missing = found
                continue
            metric = self._metric(guard, self.earlier[name])
            before, after = _metrics(self.earlier[name])[metric], _metrics(found).get(metric)
            drop = self._drop(guard, metric, before, after)
            metrics |= {f"guard_{name}_{metric}_before": before, f"guard_{name}_{metric}_after": after,
                        f"guard_{name}_drop": drop}  # fmt: skip
            if line := _exceeded(guard, metric, before, after, drop):
                failed += self._judged(guard, line)
        if failed and current().overlay is None:
            raise TrainingError(_failure(failed))
        return missing or metrics

    def _judged(self, guard: _Guard, line: str) -> list[str]:
        """Return the line of a guard that fails the run; note one that only warns, unless the run is a plan."""
        if guard.section.on_drop == "fail":
            return [line]
        if current().overlay is None:
            current().note(f"eval.guard: {line}")
        return []

    def _metric(self, guard: _Guard, earlier: ArtifactRef) -> str:
        """Return the guard's metric: the given one, or the best known of those that the rows have."""
        found, known = _metrics(earlier), measured_metrics(guard.other.objective)
        name = guard.section.metric or next((each for each in known if each in found), "loss")
        if name not in found:
            raise ConfigError(f"{guard.field}.metric: {name} is undefined for the rows of {guard.other.name}; they "
                              f"have {', '.join(each for each in known if each in found) or 'none'}")  # fmt: skip
        peft: Any = self.run.peft
        if self.run.peft.virtual_tokens and not current().open(earlier).json("head.json")["used"]:
            raise ConfigError(f"{guard.field}: peft.method: {peft.method} trains virtual tokens for one head, and they "
                              f"cannot be used with that of {guard.other.name}; use another method, such as "
                              "lora")  # fmt: skip
        return name

    def _drop(self, guard: _Guard, metric: str, before: float, after: float | None) -> float | None:
        """Return how much worse a metric is after training, in its units; None if it is undefined then."""
        if after is None:
            return None
        return before - after if guard.other.objective.is_upward(metric) else after - before


def guards_of(run: RunConfig, base: ArtifactRef) -> Guards:
    """Prepare the rows of all guards, and refuse those that cannot be measured.

    Args:
        base: stage 3's artifact of the run.

    Raises:
        ConfigError, DataError: naming the guard.
    """
    given = list(enumerate(run.eval.guard))
    named = [(guard, f"eval.guard[{at}]", guard.called(run.model.name)) for at, guard in given]
    configs = [guarded_config(run, guard, where) for guard, where, _ in named]
    found: list[_Guard] = []
    for (guard, where, name), config in zip(named, configs, strict=True):
        try:
            other = other_task(name, config)
        except (ConfigError, DataError) as error:
            says, of_model = str(error).removeprefix(f"{OTHER}: "), str(error).startswith(OTHER) and guard.model
            raise type(error)(f"{where}.model: {says}" if of_model else f"{where} ({name}): {error}") from error
        _refuse_unlike(where, other, base)
        split = _split(where, other)
        options = s08_trainer.options(other.objective, config.data)
        found.append(_Guard(guard, where, other, {
            "objective": other.objective, "other": other.base, "head": other.rows.select("head.json"),
            "tokens": other.tokens.select(f"{split}-*"), "how": measuring(run, config, options),
            "placing": placing(run),
        }))  # fmt: skip
    return Guards(run, found)


def _split(where: str, other: OtherTask) -> str:
    """Return the split to measure."""
    if isinstance(other.tokens, Pending):
        return SPLITS[0]
    for split in SPLITS:
        if any(name.startswith(f"{split}-") for name in other.tokens.members):
            return split
    raise ConfigError(f"{where}.data: {other.name} has neither test nor validation rows; give the path of rows to "
                      "measure on")  # fmt: skip


def _refuse_unlike(where: str, other: OtherTask, base: ArtifactRef) -> None:
    """Refuse another tokenizer, body or classes; what a plan does not know yet is checked later."""
    if not (base.members and other.base.members):
        return
    context, model, at = current(), other.config.model.name, f"{where}.model"
    theirs, ours = context.open(other.base), context.open(base)
    refuse_other_base(at, model, theirs, ours)
    if other.rows.members:
        classes = theirs.json("config.json").get("id2label") or {}
        config = SimpleNamespace(id2label={int(number): name for number, name in classes.items()})
        refuse_other_classes(at, model, config, context.open(other.rows).json("head.json"), "model", fewer=True)


def _metrics(found: ArtifactRef) -> Mapping[str, float]:
    return current().open(found).json("metrics.json")


def _exceeded(guard: _Guard, metric: str, before: float, after: float | None, drop: float | None) -> str:
    """Return what a guard says of a drop that is too large; empty if it is not."""
    allowed = guard.section.max_drop
    if allowed is None or (drop is not None and drop <= allowed):
        return ""
    now = "undefined" if after is None or drop is None else f"{after:.4g} (worse by {drop:.4g})"
    return f"{guard.other.name}: {metric} was {before:.4g} before training and is {now}; max_drop allows {allowed:g}"


def _failure(failed: list[str]) -> str:
    many = f"{len(failed)} guards" if len(failed) > 1 else "a guard"
    listed = "\n".join(f"- {line}" for line in failed)
    return (f"eval.guard: {many} failed, and nothing was written to output_dir:\n{listed}\nThe training is in the "
            "store: with a larger max_drop, or on_drop: warn, the same command goes on from there")  # fmt: skip
