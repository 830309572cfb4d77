"""Refuse settings that contradict each other or have no effect: an ignored setting is worse than an error."""

from collections.abc import Iterator, Mapping

from tasks.config import ConfigError, RunConfig
from tasks.config.sections.data import DataConfig
from tasks.objectives.base import Objective

SHAPING = ("merge", "packing", "append_eos", "prefix", "max_target_length", "label_all_tokens", "stride",
           "mlm_probability")  # fmt: skip
TXTAI_STRIDE = 128  # the preset sets it for every task
SPANS = ("text", "spans")  # from which token-classification makes words


def refuse_contradictions(config: RunConfig, objective: Objective, known: Mapping[str, Objective]) -> None:
    """Raise one ConfigError that lists all of them, for a config with defaults filled in.

    Args:
        objective: of the config's task. known: all objectives, by name.
    """
    if found := [*_contradictions(config), *_without_effect(config, objective, known)]:
        raise ConfigError("\n".join(found))


def has_effect(field: str, objective: Objective) -> bool:
    """Whether a task reads a field of the config; fields of all tasks are not listed."""
    name = field.removeprefix("data.")
    if name == "mlm_probability":
        return objective.view.startswith("tasks.data.tokens.masking")
    return name not in SHAPING or name in objective.shape


def _without_effect(config: RunConfig, objective: Objective, known: Mapping[str, Objective]) -> Iterator[str]:
    """Yield settings of `data` that this task does not read; values equal to the default are allowed."""
    for name in SHAPING:
        value = getattr(config.data, name)
        if value not in (None, DataConfig.model_fields[name].default) and not has_effect(name, objective):
            having = ", ".join(each.name for each in known.values() if has_effect(name, each))
            yield f"data.{name}: {objective.name} has none; {having} has; leave it out"
    roles = {role.name for role in objective.roles}
    roles |= {*SPANS} if "tags" in roles else set()
    for role, column in config.data.columns.model_dump().items():
        if column is not None and role not in roles:
            having = ", ".join(each.name for each in known.values() if role in {one.name for one in each.roles})
            yield (f"data.columns.{role}: {objective.name} has no such column ({having or 'token-classification'} "
                   f"has); its own are {', '.join(sorted(roles))}")  # fmt: skip
    stride, usual = config.data.stride, objective.defaults.get("data.stride")
    unread = config.data.overlong not in (None, "window") and "stride" in objective.shape
    if unread and stride not in (None, usual, TXTAI_STRIDE):
        yield f"data.stride: is only used with data.overlong: window, and that is {config.data.overlong!r}"


def _contradictions(config: RunConfig) -> Iterator[str]:
    full = config.peft.method == "none"
    if config.export.merge and full:
        yield "export.merge: there is no adapter to merge; set peft: lora, or leave export.merge out"
    if full and (config.quant.load_in_4bit or config.quant.load_in_8bit):
        yield "quant: quantized weights cannot be trained directly; set peft: lora to train an adapter"
    if config.train.save_strategy == "best" and config.eval.best is None:
        yield "train.save_strategy: 'best' needs eval.best, the metric to compare checkpoints by"
    if config.train.eval_strategy == "steps" and config.train.eval_steps is None:
        yield "train.eval_steps: missing; train.eval_strategy: steps needs it"
    if config.train.eval_strategy == "no" and config.eval.best is not None:
        yield "train.eval_strategy: 'no' gives eval.best no evaluations; leave one of the two out"
    if config.model.revision and (
        config.model.name.startswith("package:") or config.model.name.startswith(("/", ".", "~"))
    ):
        yield f"model.revision: only hub models have revisions, and model.name is {config.model.name!r}"
    if config.eval.threshold != 0.5 and config.task != "text-classification":
        yield f"eval.threshold: only text-classification uses a threshold, and task is {config.task!r}"
    if config.eval.threshold == "tuned" and not config.data.validation and not config.data.split.validation:
        yield "eval.threshold: 'tuned' needs validation rows; set data.validation or data.split.validation"
