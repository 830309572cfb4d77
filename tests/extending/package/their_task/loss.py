"""Cross-entropy in which each row has its weight."""

from torch.nn.functional import cross_entropy

from tasks.evaluation.predictors.classes import ClassPredictor


def weighted(model, batch):
    """The weighted mean over the batch, and the model's outputs."""
    weights = batch["importance"]
    outputs = model(**{name: each for name, each in batch.items() if name != "importance"})
    losses = cross_entropy(outputs.logits, batch["labels"], reduction="none")
    return (losses * weights).sum() / weights.sum(), outputs


class Unweighted(ClassPredictor):
    """Every row of an evaluation counts alike."""

    def batch(self, model, batch):
        """Ask the model without weights."""
        return super().batch(model, {name: each for name, each in batch.items() if name != "importance"})
