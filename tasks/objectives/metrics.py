"""Metrics: one row each. A task names its own; users add theirs through the entry point group `finetune_flow.metrics`,
whose entries name a `Metric` with a function, or as the path of a function in `eval.metrics`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from tasks.config import ConfigError, EvalConfig
from tasks.config.plugins import installed

Needs = Literal["generated texts", "different labels", "an answer", "no answer"]


@dataclass(frozen=True)
class Metric:
    """A metric of evaluations.

    Attributes:
        name: as in `eval.best`, and after a prefix (`eval_`, `test_`) in results.
        greater_is_better: whether a greater value is better.
        needs: what it is undefined without: texts generated in evaluations, rows with different labels, a question with
            (or without) an answer.
        function: for metrics of other packages, `module:name` of a function as `eval.metrics` takes it; empty for those
            that a task's scorer returns.

    Raises:
        ValueError: the function has another name, by which results would name it.
    """

    name: str
    greater_is_better: bool = True
    needs: Needs | None = None
    function: str = ""

    def __post_init__(self) -> None:
        if self.function and self.function.rpartition(":")[2] != self.name:
            raise ValueError(f"metric {self.name}: function {self.function!r} given; valid: module:{self.name}")


METRICS: Mapping[str, Metric] = {
    each.name: each
    for each in (
        Metric("loss", False),
        Metric("accuracy"),
        Metric("f1"),
        Metric("f1_macro"),
        Metric("f1_micro"),
        Metric("f1_weighted"),
        Metric("f1_samples"),
        Metric("precision"),
        Metric("precision_macro"),
        Metric("precision_micro"),
        Metric("recall"),
        Metric("recall_macro"),
        Metric("recall_micro"),
        Metric("matthews"),
        Metric("roc_auc", needs="different labels"),
        Metric("pearson", needs="different labels"),
        Metric("spearman", needs="different labels"),
        Metric("r2", needs="different labels"),
        Metric("mse", False),
        Metric("rmse", False),
        Metric("mae", False),
        Metric("exact_match", needs="generated texts"),
        Metric("has_answer_f1", needs="an answer"),
        Metric("has_answer_exact_match", needs="an answer"),
        Metric("no_answer_f1", needs="no answer"),
        Metric("no_answer_exact_match", needs="no answer"),
        Metric("rouge1", needs="generated texts"),
        Metric("rouge2", needs="generated texts"),
        Metric("rougeL", needs="generated texts"),
        Metric("rougeLsum", needs="generated texts"),
        Metric("bleu", needs="generated texts"),
        Metric("chrf", needs="generated texts"),
        Metric("perplexity", False),
        Metric("token_accuracy"),
        Metric("margin"),
        Metric("chosen_reward"),
        Metric("rejected_reward", False),
        Metric("desirable_reward"),
        Metric("undesirable_reward", False),
        Metric("reward"),
        Metric("win_rate"),
        Metric("reward_before"),
        Metric("completion_length"),
        Metric("truncated", False),
        Metric("generator_loss", False),
        Metric("discriminator_loss", False),
    )
}


def named(*names: str) -> tuple[Metric, ...]:
    """Return these metrics, each once."""
    return tuple(METRICS[name] for name in dict.fromkeys(names))


@cache
def installed_metrics() -> Mapping[str, Metric]:
    """Return the metrics of installed packages by name.

    Raises:
        ConfigError: a package's cannot be loaded, or names no function.
    """
    found = installed("finetune_flow.metrics", Metric)
    if nameless := [name for name, metric in found.items() if not metric.function]:
        raise ConfigError(f"the entry point {nameless[0]} in finetune_flow.metrics: its Metric has no function")
    return found


def with_functions(section: EvalConfig, known: Collection[str]) -> EvalConfig:
    """Return the section with other packages' metrics as the paths of their functions; `known` are the task's own."""
    paths = {name: metric.function for name, metric in installed_metrics().items() if name not in known}
    metrics = section.metrics and [paths.get(name, name) for name in section.metrics]
    return section.model_copy(update={"metrics": metrics, "best": paths.get(section.best or "", section.best)})
