"""Check the optimizer and the learning rate's schedule of a config, as transformers' Trainer would only when a training
begins: packages that are not installed, options that are missing, unknown or without effect. Imports no torch.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from re import fullmatch
from typing import Any

from tasks.config import RunConfig
from tasks.config.reading.names import nearest
from tasks.models.device import quantizes, training_device
from tasks.objectives.base import Objective

# By a pattern of `train.optim`: the module that an optimizer needs, and what to install.
PACKAGES: Mapping[str, tuple[str, str]] = {
    r"adamw_torch_[48]bit": ("torchao", "torchao>=0.4.0"),
    r"adamw_8bit|ademamix.*|lion_.*|paged_.*|.*_bnb.*": ("bitsandbytes", "bitsandbytes"),
    r"galore_.*": ("galore_torch", "galore-torch"),
    r"apollo_.*": ("apollo_torch", "apollo-torch"),
    r"(ada)?lomo": ("lomo_optim", "lomo-optim"),
    r"grokadamw": ("grokadamw", "grokadamw"),
    r"schedule_free_.*": ("schedulefree", "schedulefree>=1.4.0"),
    r"stable_adamw": ("optimi", "torch-optimi"),
    r"adamw_anyprecision": ("torchdistx", "torchdistx, from https://github.com/pytorch/torchdistx"),
    r"adamw_torch_xla": ("torch_xla", "torch_xla, for a TPU"),
    r"adamw_torch_npu_fused": ("torch_npu", "torch_npu, for an NPU"),
}
LOW_RANK = r"(galore|apollo)_.*"
BITSANDBYTES = "bitsandbytes"

# By `train.lr_scheduler_type`: the options that `train.lr_scheduler_kwargs` may have.
_PLATEAU = ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lr", "eps")
SCHEDULES: Mapping[str, tuple[str, ...]] = {
    "linear": (),
    "constant": (),
    "constant_with_warmup": (),
    "cosine": ("num_cycles",),
    "cosine_with_restarts": ("num_cycles",),
    "polynomial": ("lr_end", "power"),
    "inverse_sqrt": ("timescale",),
    "cosine_with_min_lr": ("num_cycles", "min_lr", "min_lr_rate"),
    "cosine_warmup_with_min_lr": ("num_cycles", "min_lr", "min_lr_rate", "warmup_lr_rate"),
    "warmup_stable_decay": (
        "num_decay_steps", "num_stable_steps", "warmup_type", "decay_type", "min_lr_ratio", "num_cycles",
    ),
    "reduce_lr_on_plateau": _PLATEAU,
    "greedy": (*_PLATEAU, "warmup", "max_lr", "verbose", "smooth", "window_size", "reset_start"),
}  # fmt: skip
WATCHING = ("reduce_lr_on_plateau", "greedy")  # depend on evaluations
WORDS: Mapping[str, tuple[str, ...]] = {
    "mode": ("min", "max"),
    "threshold_mode": ("rel", "abs"),
    "warmup_type": ("linear", "cosine", "1-sqrt"),
    "decay_type": ("linear", "cosine", "1-sqrt"),
}
BOOLEAN = ("verbose", "smooth")
GREEDY_FLOOR = 1e-3  # its default of min_lr
KWARGS = "train.lr_scheduler_kwargs"


def optimized_by(name: str, where: str, warn: Callable[[str], None]) -> Mapping[str, str]:
    """Return the version of bitsandbytes if the optimizer is one of its own, and warn of one without pages."""
    if not _is_bitsandbytes(name):
        return {}
    if name.startswith("paged_") and where == "cpu":
        warn(f"train.optim: {name} has no pages on a CPU; it computes the same, with its states in memory")
    return {BITSANDBYTES: version(BITSANDBYTES)}


def _is_bitsandbytes(name: str) -> bool:
    return any(module == BITSANDBYTES and fullmatch(pattern, name) for pattern, (module, _) in PACKAGES.items())


def optimization_problems(config: RunConfig, objective: Objective) -> Iterator[str]:
    """Yield a message for each, of a config with defaults filled in."""
    train = config.train
    options = train.model_dump()
    yield from _optimizer(train.optim or "", options)
    kind, given = train.lr_scheduler_type or "", options.get("lr_scheduler_kwargs") or {}
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            given = None
    if not isinstance(given, dict):
        yield f"{KWARGS}: {options['lr_scheduler_kwargs']!r} given; valid: a mapping of options to values"
    elif kind in SCHEDULES:
        yield from _unknown(kind, given)
        yield from _missing(kind, given, train.learning_rate or 0.0)
        if kind in WATCHING:
            yield from _unwatched(kind, given, config, objective)


@cache
def _installed(module: str) -> bool:
    return find_spec(module) is not None


def _optimizer(name: str, options: Mapping[str, Any]) -> Iterator[str]:
    for pattern, (module, package) in PACKAGES.items():
        if fullmatch(pattern, name) and not _installed(module):
            yield f"train.optim: {name!r} given; it needs the package {module}; pip install {package}"
    where = training_device(options.get("use_cpu"))
    if _is_bitsandbytes(name) and _installed(BITSANDBYTES) and not quantizes(where):
        yield f"train.optim: {name!r} given; the installed bitsandbytes has no library for it on {where}"
    if fullmatch(LOW_RANK, name):
        if not options.get("optim_target_modules"):
            yield (f"train.optim_target_modules: missing; train.optim: {name} needs the layers it projects: "
                   "all-linear, or their names")  # fmt: skip
        if name.endswith("_layerwise") and options["gradient_accumulation_steps"] != 1:
            yield f"train.gradient_accumulation_steps: train.optim: {name} cannot accumulate gradients; set 1"
    arguments = options.get("optim_args") or ""
    if any(part.count("=") != 1 for part in arguments.split(",") if arguments):
        yield f"train.optim_args: {arguments!r} given; valid: name=value, separated by commas"


def _unknown(kind: str, given: Mapping[str, Any]) -> Iterator[str]:
    """Yield options that the schedule does not have, and values that they cannot have."""
    valid = SCHEDULES[kind]
    for name, value in given.items():
        if name not in valid:
            guess = nearest(name, valid)
            among = f"valid are {', '.join(valid)}" if valid else "it has none; leave it out"
            yield (f"{KWARGS}.{name}: train.lr_scheduler_type: {kind} has no such option; {among}"
                   f"{f'; did you mean {guess!r}?' if guess else ''}")  # fmt: skip
        elif name in WORDS:
            if value not in WORDS[name]:
                yield f"{KWARGS}.{name}: {value!r} given; valid: {', '.join(WORDS[name])}"
        elif isinstance(value, bool) is not (name in BOOLEAN) or not isinstance(value, int | float):
            yield f"{KWARGS}.{name}: {value!r} given; valid: {'true, false' if name in BOOLEAN else 'a number'}"


def _missing(kind: str, given: Mapping[str, Any], rate: float) -> Iterator[str]:
    """Yield options without which the schedule fails, or raises the learning rate."""
    if "min_lr_rate" in SCHEDULES[kind] and ("min_lr" in given) is ("min_lr_rate" in given):
        yield (f"{KWARGS}: train.lr_scheduler_type: {kind} needs either min_lr, the lowest learning rate, or "
               "min_lr_rate, the same as a share of train.learning_rate")  # fmt: skip
    if kind == "warmup_stable_decay" and "num_decay_steps" not in given:
        yield f"{KWARGS}.num_decay_steps: missing; train.lr_scheduler_type: {kind} needs the updates of its decay"
    if not {"min_lr", "lr_end"} & {*SCHEDULES[kind]}:
        return
    lowest = {"greedy": ("min_lr", GREEDY_FLOOR), "polynomial": ("lr_end", 1e-7)}.get(kind, ("min_lr", 0))
    floor = given.get(lowest[0], lowest[1])
    if isinstance(floor, int | float) and floor >= rate:
        default = "" if lowest[0] in given else ", the default,"
        yield (f"{KWARGS}.{lowest[0]}: {floor:g}{default} is not below train.learning_rate, {rate:g}, so "
               f"{kind} would not lower it; set a lower one")  # fmt: skip


def _unwatched(kind: str, given: Mapping[str, Any], config: RunConfig, objective: Objective) -> Iterator[str]:
    """Yield why the schedule would see no evaluations, or read them the wrong way round."""
    if config.train.eval_strategy == "no":
        yield (f"train.eval_strategy: 'no' given; train.lr_scheduler_type: {kind} depends on evaluations; set epoch or "
               "steps")  # fmt: skip
    best = config.eval.best
    upward = objective.is_upward(best, config.eval.greater_is_better) if best else False
    mode = "max" if upward else "min"
    if given.get("mode", "min") != mode:
        yield (f"{KWARGS}.mode: {given.get('mode', 'min, the default,')} given; {kind} watches {best or 'the loss'} "
               f"({'eval.best' if best else 'without eval.best'}), of which {'more' if upward else 'less'} is better; "
               f"set {mode}")  # fmt: skip
