"""Plot the confusion matrix."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.evaluation.plots import INK, canvas

LABELLED = 20  # classes; for more, names and counts would be unreadable
SHADES = ("#3b82f600", "#3b82f6ff")


def confusion_picture(found: Mapping[str, Any]) -> bytes | None:
    """Return a PNG of `by_class`'s confusion matrix, shaded by the share of each class's rows; None without one."""
    matrix = np.asarray(found.get("confusion") or [])
    if not matrix.size:
        return None
    names = list(found["scores"])
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    size = float(np.clip(0.42 * len(names) + 1.6, 3.2, 9.0))
    with canvas(size, size) as (figure, out):
        from matplotlib.colors import LinearSegmentedColormap

        axes = figure.subplots()
        axes.imshow(shares, cmap=LinearSegmentedColormap.from_list("shares", SHADES), vmin=0, vmax=1)
        axes.set_xlabel("predicted", color=INK)
        axes.set_ylabel("class", color=INK)
        axes.tick_params(colors=INK, length=0)
        axes.spines[:].set_color(INK)
        if len(names) <= LABELLED:
            axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
            axes.set_yticks(range(len(names)), names)
            for (row, column), count in np.ndenumerate(matrix):
                if count:
                    axes.text(column, row, f"{count}", ha="center", va="center", color=INK, fontsize=8)
    return out.getvalue()
