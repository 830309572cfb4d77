"""The order in which a run's metrics are shown where there is room for a few."""

from collections.abc import Mapping, Sequence

from tasks.config import ConfigError
from tasks.objectives import objective_of

PREFIXES = ("test_", "eval_")  # test rows say more: nothing was chosen by them


def known_metrics(task: str) -> Sequence[str]:
    """Return the task's metrics, best known first; none if the task is not installed here."""
    try:
        return objective_of(task).metric_names
    except ConfigError:
        return ()


def headline(task: str, best: str | None, metrics: Mapping[str, float | None]) -> list[str]:
    """Return the names in `metrics` that have a value: the metric that chooses checkpoints (`best`, without a prefix),
    those of the task, best known first, then all others. Of a metric on several splits, only that of test rows."""
    bare = [name.removeprefix("test_").removeprefix("eval_") for name in metrics]
    order = dict.fromkeys([*([best] if best else []), *known_metrics(task), *bare])
    candidates = ([f"{prefix}{name}" for prefix in (*PREFIXES, "")] for name in order)
    found = (next((each for each in names if metrics.get(each) is not None), None) for names in candidates)
    return [name for name in found if name is not None]
