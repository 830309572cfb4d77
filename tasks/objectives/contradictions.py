"""What a config says twice, or to no effect: refused, because an ignored wish is worse than an error."""

from collections.abc import Iterator

from tasks.config import ConfigError, RunConfig


def refuse_contradictions(config: RunConfig) -> None:
    """Raise one ConfigError that lists them all, for a config whose defaults are filled in."""
    if found := list(_contradictions(config)):
        raise ConfigError("\n".join(found))


def _contradictions(config: RunConfig) -> Iterator[str]:
    full = config.peft.method == "none"
    if config.export.merge and full:
        yield "export.merge: there is no adapter to merge; set peft: lora, or leave export.merge out"
    if full and (config.quant.load_in_4bit or config.quant.load_in_8bit):
        yield "quant: quantized weights cannot be trained themselves; set peft: lora to train an adapter beside them"
    if config.train.save_strategy == "best" and config.eval.best is None:
        yield "train.save_strategy: 'best' needs eval.best, the metric that says which is"
    if config.train.eval_strategy == "steps" and config.train.eval_steps is None:
        yield "train.eval_steps: missing; train.eval_strategy: steps needs it"
    if config.train.eval_strategy == "no" and config.eval.best is not None:
        yield "train.eval_strategy: 'no' leaves eval.best nothing to judge by; leave one of the two out"
    if config.model.revision and (
        config.model.name.startswith("package:") or config.model.name.startswith(("/", ".", "~"))
    ):
        yield f"model.revision: only hub models have revisions, and model.name is {config.model.name!r}"
