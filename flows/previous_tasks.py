"""The earlier tasks of a run whose training methods keep what was learnt before (elastic weight consolidation,
rehearsal), and what these methods need of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.other_task import OtherTask, other_task
from tasks import s08_trainer, s08c_fisher, s08d_rehearsed
from tasks.artifacts.ref import ArtifactRef
from tasks.config import ConfigError, RunConfig
from tasks.execution.other_config import other_config
from tasks.execution.same_base import refuse_other_base
from tasks.models.bases.base import live_class
from tasks.models.device import placing
from tasks.objectives import objective_of
from tasks.runtime.context import current
from tasks.runtime.inputs import Pending, Unkeyed
from tasks.training.methods import ewc, rehearsal
from tasks.training.methods.continual import input_name


@dataclass(frozen=True)
class PreviousTasks:
    """The earlier tasks of each method of a run that has some."""

    run: RunConfig
    tasks: Mapping[str, Sequence[OtherTask]]

    def inputs(self) -> dict[str, ArtifactRef]:
        """Return what the methods need, as inputs of the training."""
        found: dict[str, ArtifactRef] = {}
        for method, others in self.tasks.items():
            for number, other in enumerate(others):
                with current().beside(other.name):
                    found |= NEEDED[method](self.run, number, other)
        return found


def previous_tasks(run: RunConfig, base: ArtifactRef) -> PreviousTasks:
    """Prepare the earlier tasks of a run, after checking all of them.

    Args:
        base: of the run.

    Raises:
        ConfigError: a method has none; one is not known, has a loss that needs more than its rows, or another base.
    """
    configs = {method: _configs(run, method) for method in NEEDED if method in run.methods}
    known: dict[str, OtherTask] = {}
    for named in configs.values():
        for field, (name, config) in named.items():
            if (key := repr(config)) not in known:
                known[key] = other_task(name, config)
            theirs = known[key].base
            if not isinstance(theirs, Pending) and not isinstance(base, Pending):
                refuse_other_base(field, str(config.model.name), current().open(theirs), current().open(base))
    return PreviousTasks(run, {method: [known[repr(config)] for _, config in named.values()]
                               for method, named in configs.items()})  # fmt: skip


def _configs(run: RunConfig, method: str) -> dict[str, tuple[str, RunConfig]]:
    """Return the name and the config of each earlier task of a method, by field."""
    given, found = run.methods[method]["previous"], {}
    if not given:
        raise ConfigError(f"methods.{method}.previous: names no earlier task; give folders of earlier runs, or use "
                          "`finetune continual`, which fills it in")  # fmt: skip
    if live_class(run.model):
        raise ConfigError(f"methods.{method}: a live model of a custom class has no known body; save it as a "
                          "transformers model first")  # fmt: skip
    for number, each in enumerate(given):
        field = f"methods.{method}.previous[{number}]"
        trusted = run.model.trust_remote_code
        config = other_config(each["model"], field, each["task"], each["data"], trusted)
        if not objective_of(config.task).supervised:
            raise ConfigError(f"{field}: {config.task} has a loss that needs more than a model and its rows (rewards, "
                              "a reference or a second model); leave it out")  # fmt: skip
        found[field] = each["name"] or Path(each["model"]).name, config
    return found


def _fisher(run: RunConfig, number: int, other: OtherTask) -> dict[str, ArtifactRef]:
    made = s08c_fisher.fisher(
        **_of(other), base=other.base, samples=run.methods[ewc.NAME]["samples"], placing=placing(run),
        name=Unkeyed(value=other.name),
    )  # fmt: skip
    return {input_name(ewc.NAME, number): made}


def _rehearsed(run: RunConfig, number: int, other: OtherTask) -> dict[str, ArtifactRef]:
    options = run.methods[rehearsal.NAME]
    kept = s08d_rehearsed.rehearsed(
        **_of(other), base=other.base.select("processor.json"), rows=options["rows"], share=options["share"],
        seed=run.seed,
    )  # fmt: skip
    return {input_name(rehearsal.NAME, number): kept, input_name(rehearsal.NAME, number, rehearsal.MODEL): other.base}


def _of(other: OtherTask) -> dict[str, Any]:
    """Return what both stages are given of a task."""
    return {
        "objective": other.objective, "tokens": other.tokens.select("train-*"), "head": other.rows.select("head.json"),
        "options": s08_trainer.options(other.objective, other.config.data),
        "loss_options": other.objective.loss_options(other.config),
    }  # fmt: skip


NEEDED: Mapping[str, Callable[[RunConfig, int, OtherTask], dict[str, ArtifactRef]]] = {
    ewc.NAME: _fisher, rehearsal.NAME: _rehearsed,
}  # fmt: skip
