"""Advice on settings that usually train badly, for a plan: each one line with the number and what to change."""

from collections.abc import Iterator, Mapping

from tasks.config import RunConfig
from tasks.data.curation.preview import SKEW
from tasks.data.messages import count
from tasks.execution.estimate import Estimate
from tasks.objectives import objective_of
from tasks.runtime.context import RunContext
from tasks.runtime.inputs import Pending

FAR = 10  # times the task's default; common practice for one task varies less
SMALL_MODEL = 10_000_000  # parameters; such models, trained whole, often from scratch, learn at much higher rates
FEW_STEPS, FEW_EPOCHS, MANY_EPOCHS = 50, 10, 20
CUT = 0.2  # share of truncated rows
BALANCING = ("class_weights", "focal_loss", "weighted_sampling")


def advice(config: RunConfig, context: RunContext, costs: Estimate | None) -> list[str]:
    """Return advice on a planned run; less if some stages have not run.

    Args:
        config: with defaults filled in. costs: None if they are not known yet.
    """
    found = [] if costs is None else [*_rate(config, costs), *_epochs(config, costs)]
    if not isinstance(context.refs["s04_prepare"], Pending):
        data, head = context.read("s04_prepare", "data.json"), context.read("s04_prepare", "head.json")
        if head["problem_type"] == "single_label_classification":
            found += _classes(config, data["preview"]["classes"])
    if not isinstance(context.refs["s05_tokenize"], Pending):
        summary = context.read("s05_tokenize", "summary.json")
        found += _lengths(config, context.origin, summary["train"], summary["max_length"])
    return found


def _rate(config: RunConfig, costs: Estimate) -> Iterator[str]:
    objective, full, rate = objective_of(config.task), config.peft.method == "none", config.train.learning_rate
    small = full and costs.trainable < SMALL_MODEL
    defaults = objective.defaults if full else {**objective.defaults, **objective.lora_defaults}
    usual = defaults.get("train.learning_rate")
    if not rate or not usual or small or not str(config.train.optim or "").startswith("adamw"):
        return
    times = rate / usual
    # rounded, since decimal fractions are not exact: 3e-4 / 3e-5 is just above 10
    if round(times, 6) > FAR or round(times * FAR, 6) < 1:
        how = f"{times:.3g} times" if times > 1 else f"{1 / times:.3g} times lower than"
        what = "full fine-tuning" if full else "an adapter"
        yield f"train.learning_rate: {rate:g} is {how} the default of {objective.name} for {what}, {usual:g}; try that"


def _epochs(config: RunConfig, costs: Estimate) -> Iterator[str]:
    train, epochs = config.train, config.train.num_train_epochs or 0
    if (train.max_steps or -1) > 0:
        return
    if costs.steps < FEW_STEPS and epochs < FEW_EPOCHS:
        yield (f"train.num_train_epochs: {epochs:g} are only {count(costs.steps, 'step')} with these rows; train more "
               "epochs, or set a smaller train.per_device_train_batch_size")  # fmt: skip
    if epochs > MANY_EPOCHS and config.eval.best is None:
        yield (f"train.num_train_epochs: {epochs:g} repeat each row that often, which overfits; train fewer, or set "
               "eval.best to keep the best checkpoint")  # fmt: skip


def _classes(config: RunConfig, classes: Mapping[str, int]) -> Iterator[str]:
    sizes = {name: rows for name, rows in classes.items() if rows}
    if len(sizes) < 2 or config.methods.keys() & {*BALANCING}:
        return
    most, least = max(sizes, key=lambda name: sizes[name]), min(sizes, key=lambda name: sizes[name])
    if sizes[most] >= SKEW * sizes[least]:
        counts = f"{most!r} has {sizes[most]:,} training rows, {least!r} {sizes[least]:,}"
        yield f"methods: {counts}; class_weights: balanced gives rare classes more weight"


def _lengths(config: RunConfig, origin: Mapping[str, str], train: Mapping[str, int], limit: int) -> Iterator[str]:
    """A length that was given is a choice, and the rows it truncates are reported by the stage."""
    share = train["overlong"] / train["rows"]
    if config.data.overlong == "truncate" and share >= CUT and origin["data.max_length"].startswith("the default"):
        cut = f"the default truncates {100 * share:.0f} % of the training rows at {limit} tokens"
        yield f"data.max_length: {cut}; raise it if the model takes more, or set data.overlong: window"
