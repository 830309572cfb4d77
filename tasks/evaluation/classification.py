"""Metrics of single-label classification, from scikit-learn."""

from collections.abc import Sequence

import numpy as np


def metrics(logits: np.ndarray, references: np.ndarray, labels: Sequence[str]) -> dict[str, float]:
    """Score predictions.

    Args:
        logits: float, shape (rows, classes). references: int, shape (rows,), indexes into `labels`.

    Returns:
        accuracy; precision, recall and F1 averaged over classes (macro), F1 weighted by support; Matthews'
        correlation. A class that is neither predicted nor present counts as 0 in a macro average.
    """
    from sklearn.metrics import accuracy_score, matthews_corrcoef, precision_recall_fscore_support

    predictions = logits.argmax(axis=-1)
    classes = list(range(len(labels)))
    precision, recall, f1, support = precision_recall_fscore_support(
        references,
        predictions,
        labels=classes,
        zero_division=0.0,  # type: ignore[arg-type]
    )
    return {
        "accuracy": float(accuracy_score(references, predictions)),
        "f1_macro": float(np.mean(f1)),
        "f1_weighted": float(np.average(f1, weights=support)),
        "precision_macro": float(np.mean(precision)),
        "recall_macro": float(np.mean(recall)),
        "matthews": float(matthews_corrcoef(references, predictions)),
    }
