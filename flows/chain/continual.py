"""One task after another: what each step is told of the earlier tasks, and how much of them is forgotten."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.chain.steps import naming_step
from tasks.config import ChainStep, ConfigError, ContinualConfig, LoadedChain, TrainingError
from tasks.config.json_types import JsonObject
from tasks.config.leaves import given
from tasks.evaluation.attempt import attempt
from tasks.evaluation.custom_metrics import result_name
from tasks.objectives import objective_of
from tasks.objectives.methods import resolve_methods
from tasks.objectives.presets import resolve
from tasks.results.finetuned import FineTuned
from tasks.results.forgetting_matrix import ForgettingMatrix
from tasks.runtime.log import warn
from tasks.runtime.main_metric import main_metric
from tasks.runtime.prefect_api import launch
from tasks.training.methods import methods

PREVIOUS = "previous"  # the option of training methods that keep earlier tasks


def refuse_unmeasurable(chain: LoadedChain) -> None:
    """Check that each task can be measured again after the next ones, and options of training methods.

    Raises:
        ConfigError: naming the step.
    """
    for at, step in enumerate(chain.steps):
        objective = objective_of(step.run.config.task)
        with naming_step(at, step):
            resolve_methods(step.run.config.methods)
        if ":" in objective.auto_model or objective.rl_options:
            raise ConfigError(f"{step.field}[{at}].task: {objective.name} cannot be measured again after another task; "
                              "valid are tasks with one model that learns from rows")  # fmt: skip
        keeping = [name for name in step.run.config.methods if _keeps(name)]
        if keeping and chain.continual is not None and chain.continual.start == "base":
            raise ConfigError(f"{step.field}[{at}].methods.{keeping[0]}: has no earlier task to keep, as each starts "
                              "from the base (continual.start: base); leave one of them out")  # fmt: skip


def alone(step: ChainStep) -> ChainStep:
    """Return a step without the methods that keep earlier tasks, unless it names some itself: the first one, or one
    that is trained alone."""
    config = step.run.config
    kept = {name: options for name, options in config.methods.items() if not _keeps(name) or _own(name, options)}
    return step if len(kept) == len(config.methods) else step.with_values({"methods": kept})


def after(step: ChainStep, earlier: Mapping[str, tuple[ChainStep, Path]], options: ContinualConfig) -> ChainStep:
    """Return a step that knows the earlier tasks: as guards, which are measured before and after it, and as what
    training methods keep.

    Args:
        earlier: each task's step and the folder of its model, by name.
    """
    if not earlier or options.start == "base":
        return alone(step)
    known, guards = list[JsonObject](), list[JsonObject]()
    for name, (made, folder) in earlier.items():
        config = resolve(made.run.config, {})[0]
        data = config.data.model_dump(mode="json", exclude_none=True)
        metric = {"metric": best} if (best := config.eval.best) in objective_of(config.task).metric_names else {}
        known.append({"name": name, "model": str(folder), "task": config.task, "data": data})
        guards.append({**known[-1], **metric})
    config = step.run.config
    settings: JsonObject = {"eval.guard": [*config.eval.guard, *guards]}
    found = dict(config.methods)
    for name, options in config.methods.items():
        if _keeps(name):
            found[name] = {**_options(name, options), PREVIOUS: [*_own(name, options), *known]}
    settings["methods"] = found
    return step.with_values(settings)


def _own(method: str, options: object) -> list[object]:
    """Return the earlier tasks that a step itself names for a method."""
    return _options(method, options).get(PREVIOUS) or []


def _options(method: str, options: object) -> JsonObject:
    """Return a method's options as given, short forms written out."""
    return given(methods()[method].options.model_validate(options))


def _keeps(method: str) -> bool:
    found = methods().get(method)
    return found is not None and PREVIOUS in found.options.model_fields


def matrix(chain: LoadedChain, done: Sequence[FineTuned], apart: Sequence[FineTuned | None] = ()) -> ForgettingMatrix:
    """Return the main metric of each task after each finished step.

    Args:
        apart: the runs of tasks that were trained alone.
    """
    metrics = [_main(step, run) for step, run in zip(chain.steps, done, strict=False)]
    bare = [name.removeprefix("test_").removeprefix("eval_") for name in metrics]
    names = [step.name for step in chain.steps][: len(done)]
    assert chain.continual is not None
    apart_from_others = chain.continual.start == "base"

    def value(step: int, task: int) -> float | None:
        if step == task or apart_from_others:
            return done[task].metrics.get(metrics[task])
        return done[step].metrics.get(f"guard_{names[task]}_{bare[task]}_after")

    pairs = zip(apart or [None] * len(done), metrics, strict=True)
    return ForgettingMatrix(
        names, bare, [_is_upward(step, name) for step, name in zip(chain.steps, bare, strict=False)],
        [[value(step, task) for task in range(step + 1)] for step in range(len(done))],
        [run.metrics.get(name) if run else None for run, name in pairs],
    )  # fmt: skip


def _main(step: ChainStep, run: FineTuned) -> str:
    config = step.run.config
    found = main_metric(config.task, config.eval.best and result_name(config.eval.best), run.metrics)
    if found is None:
        raise ConfigError(f"{step.field}: {step.name} has no metric on test or validation rows; give it some")
    return found


def _is_upward(step: ChainStep, metric: str) -> bool:
    config = step.run.config
    own = config.eval.greater_is_better if config.eval.best else None
    return objective_of(config.task).is_upward(metric, own)


def judge(found: ForgettingMatrix, options: ContinualConfig) -> None:
    """Warn of earlier tasks that got worse by more than is allowed, or end the chain.

    Raises:
        TrainingError: if `on_forgetting` is `fail`.
    """
    if options.max_forgetting is None:
        return
    last = len(found.values) - 1
    drops = {task: found.drop(task, last) for task in range(last)}
    now = found.values[last]
    worse = [f"{found.names[task]}: {found.metrics[task]} {now[task]:.4f}, {drop:.4f} worse than its best"
             for task, drop in drops.items() if drop is not None and drop > options.max_forgetting]  # fmt: skip
    if not worse:
        return
    most = f"max_forgetting {options.max_forgetting:g}"
    text = f"after {found.names[last]}, more is forgotten than {most}: {'; '.join(worse)}"
    if options.on_forgetting == "warn":
        warn(text)
        return
    raise TrainingError(f"continual: {text}. The models of the finished tasks are kept, and the same command goes on "
                        "from there with a larger max_forgetting, or with on_forgetting: warn")  # fmt: skip


def write_report(found: ForgettingMatrix, folder: str | None) -> None:
    """Write `forgetting.json`, `forgetting.md` and `forgetting.png` to the chain's folder, if it has one, and show the
    table in Prefect's UI. An error is a warning."""
    from tasks.artifacts.formats import json

    def files(place: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        json.write(found.to_json(), place / ".forgetting.json")
        os.replace(place / ".forgetting.json", place / "forgetting.json")  # noqa: PTH105
        (place / "forgetting.md").write_text(found.markdown())
        (place / "forgetting.png").write_bytes(found.picture())

    if folder is not None:
        attempt("the forgetting report", lambda: files(Path(folder).expanduser()), None, warn)
    if launch.in_flow() and launch.api_answers():
        attempt("Prefect's artifact 'forgetting'", lambda: _artifact(found.markdown()), None, warn)


def _artifact(text: str) -> Any:
    from prefect.artifacts import create_markdown_artifact

    return create_markdown_artifact(text, key="forgetting", description="each task's metric after each step")
