"""Refuse settings of `rl` that contradict each other or have no effect."""

from collections.abc import Iterator, Mapping

from tasks.config import RunConfig
from tasks.config.sections.rl import MODEL, NAMED
from tasks.objectives.base import Objective

COMPARED = ("win_rate", "reward_before")
FEWEST = 2
"""Answers to a prompt that can be compared with each other."""


def rl_problems(config: RunConfig, objective: Objective, known: Mapping[str, Objective]) -> Iterator[str]:
    """Yield settings of `rl` that the task does not know, or that cannot work.

    Args:
        known: all objectives, by name.
    """
    given = config.rl
    for name, value in given:
        if value is not None and name not in objective.rl_options:
            having = ", ".join(each.name for each in known.values() if name in each.rl_options)
            yield f"rl.{name}: {objective.name} has none; {having} has; leave it out"
    if not objective.rl_options:
        return
    yield from _rewards(config)
    if "loss_type" in objective.rl_options and given.num_generations is not None and given.num_generations < FEWEST:
        yield (f"rl.num_generations: {given.num_generations} given; {objective.name} compares the answers to a prompt "
               f"with each other, so at least {FEWEST} are needed")  # fmt: skip
    if config.eval.best in COMPARED:
        yield f"eval.best: {config.eval.best} is only known after training; use reward"
    if config.train.neftune_noise_alpha is not None:
        yield f"train.neftune_noise_alpha: {objective.name} compares probabilities, which noise changes; leave it out"
    if getattr(config.train, "dataloader_drop_last", None) is False and (given.num_iterations or 1) > 1:
        yield "train.dataloader_drop_last: with rl.num_iterations above 1 only full steps are used; leave it out"


def _rewards(config: RunConfig) -> Iterator[str]:
    given = config.rl
    sources = [*(given.reward_funcs or []), *([MODEL] if given.reward_model else [])]
    if not sources:
        yield ("rl.reward_funcs: missing, and so is rl.reward_model; name what rewards answers, such as "
               f"reward_funcs: [{NAMED[0]}], or the path of a function, package.module:function")  # fmt: skip
    names = [path.rpartition(":")[2].rpartition(".")[2] for path in sources]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        yield f"rl.reward_funcs: two rewards have the name {repeated[0]!r}; leave one of the two out"
    if given.reward_weights is not None and sources and len(given.reward_weights) != len(sources):
        yield (f"rl.reward_weights: {len(given.reward_weights)} given for {len(sources)} rewards: "
               f"{', '.join(names)}")  # fmt: skip
