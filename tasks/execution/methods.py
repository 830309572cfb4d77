"""Check a run's training methods before anything expensive, and describe what they train, without weights."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tasks.config import ConfigError, ContinuePeft, NoPeft, RunConfig
from tasks.config.json_types import JsonObject
from tasks.config.tuners import QUANTIZABLE, UNMERGEABLE
from tasks.models.bases.base import live_class
from tasks.models.device import quantizes, training_device
from tasks.objectives import objective_of
from tasks.objectives.methods import Methods
from tasks.runtime.context import RunContext, current
from tasks.runtime.inputs import Pending

if TYPE_CHECKING:
    from tasks.models.count import Counts


def quantized(config: RunConfig) -> bool:
    """Return whether a run of this config on this machine quantizes its base (see `tasks.s06_model.loading`)."""
    return config.quant.bits is not None and quantizes(training_device(getattr(config.train, "use_cpu", None)))


def counted(config: RunConfig, context: RunContext, look: Callable[[Any], object] = lambda model: None) -> "Counts":
    """Count a model's parameters from its architecture, once stages 3 and 4 have run.

    Args:
        look: called with the model (and its adapter) on torch's meta device.
    """
    from tasks.models.count import count

    objective, base = objective_of(config.task), context.open(context.refs["s03_base"])
    loading = {"auto_model": objective.auto_model, "trust_remote_code": config.model.trust_remote_code,
               "quantized": quantized(config)}  # fmt: skip
    return count(base.view(), base.externals(), {**loading, **live_class(config.model)},
                 context.read("s04_prepare", "head.json"), config.peft, objective.peft_task_type, look)  # fmt: skip


def refuse_unfit_methods(config: RunConfig) -> None:
    """Check that the adapter and the methods fit the model: in a plan now, in a run before the next stage is built, so
    that a run whose stages are all cached imports no torch. A live model, or one that a caller's own stage makes, is
    checked when it is trained.

    Raises:
        ConfigError: the adapter or a method does not fit, or nothing is left to train.
    """
    context = current()
    plain = not config.methods and isinstance(config.peft, NoPeft)
    if plain or live_class(config.model) or {"s06_model", "s07_adapter"} & context.replaced.keys():
        return

    def check() -> None:
        from tasks.training.planned import refuse_unfit

        plan = {"arguments": config.train.model_dump(mode="json", exclude_none=True), "methods": dict(config.methods)}

        def look(model: Any) -> None:
            refuse_unfit(Methods(config.methods).hooks(model, plan), model, plan)
            if isinstance(config.peft, ContinuePeft):
                _refuse_continued(config, model.active_peft_config.peft_type.lower())

        counted(config, context, look)

    if context.overlay is None:
        context.before_building = check
    elif not any(isinstance(context.refs[stage], Pending) for stage in ("s03_base", "s04_prepare")):
        check()


def _refuse_continued(config: RunConfig, method: str) -> None:
    if config.export.merge and method in UNMERGEABLE:
        raise ConfigError(f"export.merge: adapters of peft.method: {method} cannot be merged into the base; leave it "
                          "out")  # fmt: skip
    if config.quant.bits is not None and method not in QUANTIZABLE:
        raise ConfigError(f"quant: the adapter of model.name is of peft.method: {method}, which does not work with "
                          "quantized weights; set quant: false")  # fmt: skip


def planned_groups(config: RunConfig, context: RunContext, plan: JsonObject) -> tuple[list[JsonObject], list[str]]:
    """Return the groups of parameters that are trained in the same way and the methods' warnings (see
    `tasks.training.planned.describe`), of a config with methods."""
    from tasks.training.planned import describe, refuse_unfit

    found: list[tuple[list[JsonObject], list[str]]] = []
    whole = {**plan, "methods": dict(config.methods)}

    def look(model: Any) -> None:
        hooks = Methods(config.methods).hooks(model, whole)
        refuse_unfit(hooks, model, whole)
        found.append(describe(hooks, model, plan))

    counted(config, context, look)
    return found[0]
