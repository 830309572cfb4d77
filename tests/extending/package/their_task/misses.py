"""A metric of which less is better."""

from tasks.objectives.metrics import Metric

MISSES = Metric("misses", greater_is_better=False, function="their_task.misses:misses")


def misses(predictions, labels):
    """Return the number of wrong predictions."""
    return sum(given != right for given, right in zip(predictions, labels, strict=True))
