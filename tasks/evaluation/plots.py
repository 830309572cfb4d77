"""Plot a training: losses and metrics by step.

Drawn with matplotlib's own fonts and without matplotlib writing to the user's home: the same history gives the same
bytes, on a transparent background and in colours that are readable on white and black.
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT = "#767c86", "#767c8640"
COLOURS = ("#3b82f6", "#f0883e", "#10a37f", "#a371f7")
MOST = 3  # metrics in one plot
COLUMNS = 3  # plots in a row
Series = list[tuple[float, float]]


def curves(
    history: Sequence[Mapping[str, Any]], metrics: Sequence[str], best: str | None = None, upward: bool = True
) -> bytes | None:
    """Return a PNG of the losses and metrics of a training; None if nothing was logged twice.

    Args:
        history: what the Trainer logged, by step. metrics: names to plot, without `eval_`, best known first.
        best: the metric by which the best checkpoint was chosen, shown first and marked at its best step;
        `upward`: greater is better.
    """
    loss, watched = series(history, "loss"), series(history, "eval_loss")
    names = [*([best] if best else []), *metrics]
    shown = _sharing_axis({name: series(history, f"eval_{name}") for name in names if not name.endswith("loss")})
    answers = _of_answers(history)
    judged = (next(iter(shown)) if len(shown) == 1 else "metrics on validation", shown)
    panels = [
        (title, lines)
        for title, lines in (("loss", {"train": loss, "validation": watched}), *(answers or [judged]))
        if any(len(points) > 1 for points in lines.values())
    ]
    if not panels:
        return None
    at = _best_step(history, best, upward) if best else None
    columns = min(len(panels), COLUMNS)
    rows = -(-len(panels) // columns)
    with canvas(4.9 * columns, 3.1 * rows) as (figure, out):
        places = figure.subplots(rows, columns, squeeze=False, sharex=True).flatten()
        for axes, (title, lines) in zip(places, panels, strict=False):
            _draw(axes, title, lines, at)
            axes.tick_params(labelbottom=True)
        for axes in places[len(panels) :]:
            axes.remove()
    return out.getvalue()


def _of_answers(history: Sequence[Mapping[str, Any]]) -> list[tuple[str, dict[str, Series]]]:
    """Return what is plotted of a training on rewards of the model's own answers; nothing for other trainings."""
    if not (rewards := series(history, "reward")):
        return []
    found = [("reward", {"train": rewards, "validation": series(history, "eval_reward")})]
    length = {"train": series(history, "completion_length"), "validation": series(history, "eval_completion_length")}
    found += [(title, {"train": series(history, name)}) for title, name in
              (("KL divergence from the start (nats)", "kl"), ("entropy (nats)", "entropy"))]  # fmt: skip
    return [*found, ("answer length (tokens)", length)]


def training_curves(
    history: Sequence[Mapping[str, Any]], metrics: Sequence[str], arguments: Mapping[str, Any]
) -> bytes | None:
    """Return `curves` with the best metric from a plan's `arguments`."""
    best, upward = arguments.get("metric_for_best_model"), arguments.get("greater_is_better", True)
    return curves(history, metrics, best, upward)


@contextmanager
def canvas(width: float, height: float) -> Iterator[tuple[Any, BytesIO]]:
    """Yield a figure of that size in inches and a buffer, which contains the PNG at the end."""
    with _no_font_cache():
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        out = BytesIO()
        with rc_context({"font.family": "DejaVu Sans", "font.size": 9.5, "axes.unicode_minus": True}):
            figure = Figure(figsize=(width, height), dpi=144, layout="constrained")
            FigureCanvasAgg(figure)
            yield figure, out
            figure.savefig(out, format="png", transparent=True, metadata={"Software": None})


def series(history: Sequence[Mapping[str, Any]], name: str) -> Series:
    """Return (step, value) of each entry with a number for `name`."""
    return [(entry["step"], entry[name]) for entry in history if entry.get(name) is not None and "step" in entry]


def _sharing_axis(found: Mapping[str, Series]) -> dict[str, Series]:
    """Return the main metric and those that can share its axis: metrics between 0 and 1; others are plotted alone."""
    there = {name: points for name, points in found.items() if points}
    if not there:
        return {}
    first = next(iter(there))
    shares = {name: points for name, points in there.items() if all(0 <= value <= 1 for _, value in points)}
    return dict(list(shares.items())[:MOST]) if first in shares else {first: there[first]}


def _best_step(history: Sequence[Mapping[str, Any]], best: str, upward: bool) -> float | None:
    points = series(history, f"eval_{best}")
    return (max if upward else min)(points, key=lambda point: point[1])[0] if points else None


def _draw(axes: "Axes", title: str, lines: Mapping[str, Series], best: float | None) -> None:
    from matplotlib.ticker import MaxNLocator

    for (name, points), colour in zip(lines.items(), COLOURS, strict=False):
        if points:
            steps, values = zip(*points, strict=True)
            many = len(points) > 40
            axes.plot(steps, values, color=colour, linewidth=1.8, label=name.replace("_", " "), marker=None if many
                      else "o", markersize=3.2, solid_capstyle="round", solid_joinstyle="round")  # fmt: skip
    if best is not None:
        axes.axvline(best, color=INK, linewidth=1, linestyle=(0, (2, 3)))
        left = best > sum(axes.get_xlim()) / 2
        axes.annotate("best", (best, 1), xycoords=("data", "axes fraction"), xytext=(-4 if left else 4, -3), color=INK,
                      ha="right" if left else "left", va="top", textcoords="offset points", fontsize=8.5)  # fmt: skip
    axes.set_title(title.replace("_", " "), loc="left", color=INK, fontsize=10.5, fontweight="bold", pad=9)
    axes.set_xlabel("step", color=INK)
    axes.tick_params(colors=INK, length=0, pad=5)
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(FAINT)
    axes.margins(x=0.02, y=0.08)
    if sum(bool(points) for points in lines.values()) > 1:
        axes.legend(frameon=False, labelcolor=INK, handlelength=1.4)


@contextmanager
def _no_font_cache() -> Iterator[None]:
    """Keep matplotlib's first import from writing a font list into the user's home."""
    if "matplotlib" in sys.modules or "MPLCONFIGDIR" in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix=f"finetune-{os.getpid()}-") as folder:
        os.environ["MPLCONFIGDIR"] = folder
        try:
            yield
        finally:
            del os.environ["MPLCONFIGDIR"]
