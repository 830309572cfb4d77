"""Plan a chain: what each step would do; a step whose base is not made yet is estimated with the base that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flows.chain.continual import after, alone
from flows.chain.execute import check_chain, stand_ins
from flows.chain.steps import judges_of, linked_folder, naming_step
from flows.pipeline import pipeline
from tasks.artifacts.artifact import Artifact
from tasks.config import ChainStep, Loaded, LoadedChain, RunConfig, load
from tasks.config.json_types import JsonObject
from tasks.execution.advice import advice
from tasks.execution.after_training import after_training
from tasks.execution.estimate import Estimate, estimate
from tasks.execution.execute import CallerOptions, dry_run
from tasks.results.output_dir import written
from tasks.runtime.context import RunContext
from tasks.runtime.prefect_api import launch

SAVED = "s11_save"
WITHOUT_BASE = ("s01_arguments", "s02_seed", "s04_prepare")  # stages that do not read the base


@dataclass(frozen=True)
class StepPlan:
    """What a step would do.

    Attributes:
        waits_for: the step that makes its base, if that is not made yet; costs are then those with an earlier base.
        costs: None if they depend on stages that have not run. advice: on its settings.
    """

    step: ChainStep
    loaded: Loaded
    resolved: RunConfig
    context: RunContext
    costs: Estimate | None
    advice: list[str]
    waits_for: str | None

    def summary(self) -> JsonObject:
        """Return the plan as JSON, as `finetune plan --json` prints it."""
        costs = self.costs.__dict__ if self.costs else {}
        stages = [entry.__dict__ for entry in self.context.entries]
        return {"name": self.step.name, "task": self.resolved.task, "waits_for": self.waits_for, "stages": stages,
                **costs, "overwrites": self.context.overwrites, "advice": self.advice,
                "after_training": after_training(self.resolved)}  # fmt: skip


def plan_chain(chain: LoadedChain) -> list[StepPlan]:
    """Return the plan of each step; nothing is written to the store.

    Raises:
        ConfigError, DataError: see `check_chain`.
    """
    plans: list[StepPlan] = []
    with launch.blocks_at_hand(chain.steps[0].run.config.secrets):
        starts, judges = check_chain(chain, probe=False), judges_of(chain)
        for at, (step, start) in enumerate(zip(stand_ins(chain, starts), starts, strict=True)):
            with naming_step(at, step):
                made, judge = (None if number is None else plans[number] for number in (start, judges[at]))
                plans.append(_plan(step, _told(chain, at, plans), made, judge))
    return plans


def _told(chain: LoadedChain, at: int, plans: Sequence[StepPlan]) -> ChainStep:
    """Return a step that knows the earlier tasks, if all of them are trained; else what waits for them is left out."""
    if chain.continual is None:
        return chain.steps[at]
    if not all(map(_is_made, plans)):
        return alone(chain.steps[at])
    return after(chain.steps[at], {plan.step.name: (plan.step, _folder(plan)) for plan in plans}, chain.continual)


def _plan(stand_in: ChainStep, step: ChainStep, made: StepPlan | None, judge: StepPlan | None) -> StepPlan:
    """Return the plan of a step.

    Args:
        made: of the step that makes its base. judge: of the step that makes its reward model.
    """
    waits_for = next((each.step.name for each in (made, judge) if each is not None and not _is_made(each)), None)
    if judge is not None and waits_for is None:
        step = step.rewarded_by(str(_folder(judge)), judge.step.name)
    if made is None and waits_for is not None:
        loaded = stand_in.run
    elif made is None:
        loaded = step.run
    elif waits_for is None:
        loaded = step.starting_from(_folder(made), made.step.name)
    else:
        assert made is not None
        loaded = replace(stand_in.run, config=_with_base(stand_in, made))
    beside = made.context if made is not None else None
    resolved, context = dry_run(
        loaded.config, pipeline, CallerOptions(loaded.origin, file=loaded.file), run_in_plan=True, beside=beside
    )
    costs = estimate(resolved, context)
    found = advice(resolved, context, costs)
    if waits_for is not None:
        reason = f"MODEL: that of step {waits_for} will be new"
        context.entries = [entry if entry.stage in WITHOUT_BASE else replace(entry, state="miss", key="", reason=reason)
                           for entry in context.entries]  # fmt: skip
    return StepPlan(step, loaded, resolved, context, costs, found, waits_for)


def _is_made(made: StepPlan) -> bool:
    return made.waits_for is None and any(e.stage == SAVED and e.state == "hit" for e in made.context.entries)


def _with_base(step: ChainStep, made: StepPlan) -> RunConfig:
    base = made.loaded.config.model
    settings = {"model.name": base.name, "model.revision": base.revision}
    return load(step.run.config, settings=settings).config


def _folder(made: StepPlan) -> Path:
    """Return the folder that a step's model is in, or would be in after a run."""
    saved, output = made.context.refs[SAVED], made.resolved.output_dir
    folder = Path(output).expanduser().absolute() if output else None
    if folder is not None and (there := written(folder)) is not None and there.key == saved.key:
        return folder
    base = Artifact(made.context.refs["s03_base"], made.context.store)
    name = folder.name if folder is not None else made.step.name
    return linked_folder(Artifact(saved, made.context.store), base, made.loaded.config.model, name)
