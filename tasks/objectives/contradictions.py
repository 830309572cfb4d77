"""Refuse settings that contradict each other or have no effect: an ignored setting is worse than an error."""

from collections.abc import Iterator, Mapping
from itertools import chain

from tasks.config import Adapter, ConfigError, ContinuePeft, Lora, NoPeft, OtherTuner, PeftConfig, RunConfig
from tasks.config.arguments import GENERATION, LIMITS
from tasks.config.sections.data import DataConfig
from tasks.config.tuners import ADALORA, LENGTHENING, QUANTIZABLE, UNMERGEABLE
from tasks.objectives.base import Objective
from tasks.objectives.guards import guard_problems
from tasks.objectives.methods import check_methods
from tasks.objectives.optimization import optimization_problems
from tasks.objectives.reporting import reporting_problems
from tasks.objectives.rl_problems import rl_problems
from tasks.training.arithmetic import check_ranks

SHAPING = ("merge", "packing", "append_eos", "prefix", "max_target_length", "label_all_tokens", "stride",
           "mlm_probability", "train_on")  # fmt: skip
CAUSAL = "AutoModelForCausalLM"
TXTAI_STRIDE = 128  # the preset sets it for every task
TAGGED = ("text", "spans", "sentence")  # of texts with spans, or of one word per row: made into words and tags


def refuse_contradictions(config: RunConfig, objective: Objective, known: Mapping[str, Objective]) -> None:
    """Raise one ConfigError that lists all of them, for a config with defaults filled in.

    Args:
        objective: of the config's task. known: all objectives, by name.
    """
    refused = (_contradictions(config, objective), optimization_problems(config, objective),
               check_methods(config, objective), _without_effect(config, objective, known),
               reporting_problems(config), guard_problems(config, objective))  # fmt: skip
    if found := [*chain(*refused)]:
        raise ConfigError("\n".join(found))


def has_effect(field: str, objective: Objective) -> bool:
    """Whether a task reads a field of the config; fields of all tasks are not listed."""
    if field.startswith("preference."):
        return field.removeprefix("preference.") in objective.options
    if field.startswith("rl."):
        return field.removeprefix("rl.") in objective.rl_options
    if field == "eval.samples":
        return objective.samples is not None
    name = field.removeprefix("data.")
    if name == "mlm_probability":
        return objective.view.startswith("tasks.data.tokens.masking")
    return name not in SHAPING or name in objective.shape


def _without_effect(config: RunConfig, objective: Objective, known: Mapping[str, Objective]) -> Iterator[str]:
    """Yield settings of `data` and `preference` that this task does not read; values equal to the default are
    allowed."""
    yield from _preference(config, objective, known)
    yield from rl_problems(config, objective, known)
    if config.data.overlong == "window" and objective.encode.startswith("tasks.data.chat."):
        yield f"data.overlong: {objective.name} does not split conversations; valid are truncate, drop and error"
    for name in SHAPING:
        value = getattr(config.data, name)
        if value not in (None, DataConfig.model_fields[name].default) and not has_effect(name, objective):
            having = ", ".join(each.name for each in known.values() if has_effect(name, each))
            yield f"data.{name}: {objective.name} has none; {having} has; leave it out"
    yield from _generation(config, objective, known)
    if config.eval.samples and objective.samples is None:
        having = ", ".join(each.name for each in known.values() if each.samples)
        yield f"eval.samples: {objective.name} has no answers to show; {having} has; leave it out"
    if config.eval.forgetting.data is not None and objective.auto_model != CAUSAL:
        having = ", ".join(each.name for each in known.values() if each.auto_model == CAUSAL)
        yield (f"eval.forgetting: {objective.name} trains no causal language model, whose loss on held-out text could "
               f"be compared; {having} do; leave it out")  # fmt: skip
    roles = {role.name for role in objective.roles}
    roles |= {*TAGGED} if "tags" in roles else set()
    for role, column in config.data.columns.model_dump().items():
        if column is not None and role not in roles:
            having = ", ".join(each.name for each in known.values() if role in {one.name for one in each.roles})
            yield (f"data.columns.{role}: {objective.name} has no such column ({having or 'token-classification'} "
                   f"has); its own are {', '.join(sorted(roles))}")  # fmt: skip
    stride, usual = config.data.stride, objective.defaults.get("data.stride")
    unread = config.data.overlong not in (None, "window") and "stride" in objective.shape
    if unread and stride not in (None, usual, TXTAI_STRIDE):
        yield f"data.stride: is only used with data.overlong: window, and that is {config.data.overlong!r}"


def _generation(config: RunConfig, objective: Objective, known: Mapping[str, Objective]) -> Iterator[str]:
    """Yield settings of generated texts that the task does not read."""
    given = {name: value for name in GENERATION if (value := getattr(config.train, name, None))}
    if "predict_with_generate" in given and not (objective.generates_in_training or objective.answers):
        having = ", ".join(each.name for each in known.values() if each.generates_in_training or each.answers)
        yield (f"train.predict_with_generate: rows of {objective.name} have no answers to compare generated texts "
               f"with; those of {having} have; leave it out")  # fmt: skip
    for name in LIMITS:
        if name in given and not objective.generates:
            having = ", ".join(each.name for each in known.values() if each.generates)
            yield f"train.{name}: {objective.name} generates no texts; {having} do; leave it out"


def _preference(config: RunConfig, objective: Objective, known: Mapping[str, Objective]) -> Iterator[str]:
    """Yield settings of `preference` that the task or its loss does not know."""
    given = config.preference
    for name, value in given:
        if value is not None and name not in objective.options:
            having = ", ".join(each.name for each in known.values() if name in each.options)
            yield f"preference.{name}: {objective.name} has none; {having} has; leave it out"
    if "loss_type" in objective.options and given.loss_type not in objective.loss_types:
        yield (f"preference.loss_type: {given.loss_type!r} is none of {objective.name}; valid are "
               f"{', '.join(objective.loss_types)}")  # fmt: skip
    if given.loss_type == "exo_pair" and not given.label_smoothing:
        yield "preference.label_smoothing: loss_type exo_pair needs one above 0, such as 0.001"
    if given.label_smoothing and given.loss_type not in ("sigmoid", "robust", "exo_pair"):
        yield f"preference.label_smoothing: loss_type {given.loss_type} has none; sigmoid, robust and exo_pair have"


def _adapter(peft: Adapter, merge: bool, objective: Objective) -> Iterator[str]:
    unmergeable = peft.tuner.is_prompt or peft.method in UNMERGEABLE
    if unmergeable and ":" in objective.auto_model:
        yield (f"peft.method: {objective.name} saves its two models with the adapter merged into them, and adapters of "
               f"{peft.method} cannot be merged; use lora or another method")  # fmt: skip
    if merge and unmergeable:
        yield f"export.merge: adapters of peft.method: {peft.method} cannot be merged into the base; leave it out"
    if peft.method in LENGTHENING and objective.peft_task_type in ("TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"):
        yield (f"peft.method: {peft.method} puts vectors before the input, for which {objective.name} has no labels; "
               "use prefix_tuning or a method that changes layers, such as lora")  # fmt: skip
    blocks = [name for name in peft.options if name.endswith("_adapter")]
    if peft.target_modules is not None and blocks:
        yield f"peft.target_modules: also says where adapters go, as peft.{blocks[0]} does; leave one of the two out"
    yield from _encoder(peft)
    if peft.method == "trainable_tokens" and not peft.options.get("token_indices"):
        yield "peft.token_indices: missing; the ids of the tokens whose embeddings are trained"


def _encoder(peft: Adapter) -> Iterator[str]:
    """Yield options of the network that makes a prompt that it would not use."""
    needs = {"encoder_num_layers": "encoder_reparameterization_type: LSTM",
             "encoder_dropout": "encoder_reparameterization_type: LSTM"}  # fmt: skip
    if peft.method == "prefix_tuning":
        needs = {} if peft.options.get("prefix_projection") else {"encoder_hidden_size": "prefix_projection: true"}
    elif peft.options.get("encoder_reparameterization_type") == "LSTM":
        needs = {"encoder_dropout": "encoder_num_layers: 2"} if peft.options.get("encoder_num_layers") == 1 else {}
    for name in needs.keys() & peft.options.keys():
        yield f"peft.{name}: is only used with peft.{needs[name]}; leave it out, or set that"


def _ranks(peft: OtherTuner, steps: int) -> Iterator[str]:
    """Yield why AdaLoRA would not lower ranks as configured; peft trains on regardless.

    Args:
        steps: of the training; 0 if they depend on the rows.
    """
    negative = [name for name in ("tinit", "tfinal") if peft.options.get(name, 0) < 0]
    yield from (f"peft.{name}: {peft.options[name]} given; valid: a number of steps, 0 or more" for name in negative)
    if peft.options.get("deltaT", 1) < 1:
        yield f"peft.deltaT: {peft.options['deltaT']} given; valid: a number of steps, 1 or more"
    if "r" in peft.options:
        yield "peft.r: AdaLoRA does not use it; set peft.init_r and peft.target_r, its ranks at the start and the end"
    first, last = (peft.options.get(name, peft.tuner.fields[name].default) for name in ("init_r", "target_r"))
    if last > first:
        yield (f"peft.target_r: {last} ({'given' if 'target_r' in peft.options else 'the default'}) is above "
               f"peft.init_r: {first}, so no rank would be lowered; set peft.target_r to at most {first}")  # fmt: skip
    if steps > 0 and not negative:
        try:
            check_ranks({name: peft.options.get(name, 0) for name in ("tinit", "tfinal")}, steps)
        except ConfigError as error:
            yield str(error)


def _quantized(peft: PeftConfig) -> Iterator[str]:
    if isinstance(peft, NoPeft):
        yield "quant: quantized weights cannot be trained directly; set peft: lora to train an adapter"
    elif not isinstance(peft, ContinuePeft) and peft.method not in QUANTIZABLE:
        yield (f"quant: peft.method: {peft.method} computes with the weights themselves, so it does not work with "
               f"quantized ones; those that do are {', '.join(QUANTIZABLE)}")  # fmt: skip
    elif isinstance(peft, Lora) and peft.init_lora_weights not in (True, False, "gaussian"):
        yield (f"quant: peft.init_lora_weights: {peft.init_lora_weights} starts from unquantized weights; leave one of "
               "the two out")  # fmt: skip


def _contradictions(config: RunConfig, objective: Objective) -> Iterator[str]:
    full = config.peft.method == "none"
    if config.export.merge and full:
        yield "export.merge: there is no adapter to merge; set peft: lora, or leave export.merge out"
    if isinstance(config.peft, Lora | OtherTuner):
        yield from _adapter(config.peft, config.export.merge, objective)
    if isinstance(config.peft, OtherTuner) and config.peft.method == ADALORA:
        yield from _ranks(config.peft, config.train.max_steps or 0)
    if isinstance(config.peft, ContinuePeft) and ":" in objective.auto_model:
        yield f"peft.method: continue is for tasks that train one model, and {objective.name} trains two"
    if config.peft.method == "prefix_tuning" and config.train.gradient_checkpointing:
        yield ("train.gradient_checkpointing: it runs layers without the cache that peft.method: prefix_tuning puts a "
               "prefix into; leave one of the two out, or use prompt_tuning")  # fmt: skip
    if config.quant.bits is not None:
        yield from _quantized(config.peft)
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
    if config.train.label_smoothing_factor and objective.trained_classes is None:
        yield (f"train.label_smoothing_factor: {config.train.label_smoothing_factor:g} given, but {objective.name} is "
               "not trained with cross-entropy over its labels; leave it out")  # fmt: skip
    if config.train.neftune_noise_alpha is not None and objective.name == "token-detection":
        yield "train.neftune_noise_alpha: token-detection trains two models that share embeddings; leave it out"
    if config.eval.threshold != 0.5 and "multi_label_classification" not in objective.metrics_by_problem:
        yield f"eval.threshold: only text-classification uses a threshold, and task is {config.task!r}"
    if isinstance(config.eval.threshold, str) and not config.data.validation and not config.data.split.validation:
        yield (f"eval.threshold: {config.eval.threshold!r} needs validation rows; set data.validation or "
               "data.split.validation")  # fmt: skip
    if isinstance(config.eval.threshold, str) and "validation" not in config.eval.splits:
        yield f"eval.splits: lacks validation, on which eval.threshold: {config.eval.threshold} tunes; add it"
