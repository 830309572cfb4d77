"""Plot a sweep as PNG: the metric against each axis, all axes at once, and learning curves."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasks.sweep.board import Outcome, Row
from tasks.sweep.cells import Cell, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110
COLOURS = "viridis"
FAINT = "#b0b0b0"


def draw(rows: Sequence[Row], metric: str, greater_is_better: bool) -> bytes:
    """Plot the metric against each axis, and all axes at once: a heat map for two, parallel coordinates for more."""
    axes = [name for name in dict.fromkeys(n for row in rows for n in row.overrides) if len(_values(rows, name)) > 1]
    known = [row for row in rows if row.value is not None]
    figure, panels = _figure(max(len(axes), 1) + (len(axes) > 1))
    for panel, name in zip(panels, axes, strict=False):
        _scatter(panel, known, name, metric)
    if len(axes) == 2:
        _heat(figure, panels[2], known, axes, metric, greater_is_better)
    elif len(axes) > 2:
        _parallel(figure, panels[len(axes)], known, axes, metric, greater_is_better)
    elif not axes:
        _scatter(panels[0], known, "", metric)
    return _png(figure)


def draw_curves(cells: Sequence[Cell], outcomes: Mapping[int, Outcome], metric: str, best: int | None) -> bytes | None:
    """Plot training loss and the metric by step, one line per cell, the best in colour; None if nothing was logged."""
    curves = {cell.index: outcomes[cell.index].curve for cell in cells if cell.index in outcomes}
    names = [name for name in ("loss", metric) if any(name in entry for each in curves.values() for entry in each)]
    if not names:
        return None
    figure, panels = _figure(len(names))
    for panel, name in zip(panels, names, strict=True):
        for index, curve in sorted(curves.items(), key=lambda item: item[0] == best):
            points = [(entry["step"], entry[name]) for entry in curve if entry.get(name) is not None]
            if points:
                colour, width = ("#c0392b", 2.0) if index == best else (FAINT, 1.0)
                steps, values = zip(*points, strict=True)
                panel.plot(steps, values, color=colour, linewidth=width, marker="." if len(points) < 9 else "")
        panel.set(xlabel="step", ylabel=name, title=f"{name} by step (the best cell in red)")
    return _png(figure)


def _figure(panels: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure  # without pyplot: no global state, no display

    columns = min(panels, 3)
    lines = -(-panels // columns)
    figure = Figure(figsize=(4.6 * columns, 3.4 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    flat = [panel for line in grid for panel in line]
    for panel in flat:
        panel.grid(alpha=0.25)
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    for panel in flat[panels:]:
        panel.set_visible(False)
    return figure, flat


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DPI, metadata={"Software": None})  # equal plots have equal bytes
    return out.getvalue()


def _values(rows: Sequence[Row], name: str) -> list[Any]:
    found = []
    for row in rows:
        value = row.overrides.get(name)
        if value not in found:
            found.append(value)
    return sorted(found) if all(_number(value) for value in found) else found


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _place(rows: Sequence[Row], name: str) -> tuple[dict[int, float], list[tuple[float, str]] | None, bool]:
    """Return each row's position on an axis, by group; ticks for non-numeric values; whether it is logarithmic."""
    values = _values(rows, name)
    if values and all(_number(value) for value in values):
        wide = min(values) > 0 and max(values) / min(values) >= 8
        return {row.group: float(row.overrides[name]) for row in rows}, None, wide
    ticks = [(float(at), shown(value)) for at, value in enumerate(values)]
    return {row.group: float(values.index(row.overrides.get(name))) for row in rows}, ticks, False


def _scatter(panel: Any, rows: Sequence[Row], name: str, metric: str) -> None:
    where, ticks, wide = _place(rows, name)
    for row in rows:
        whole = row.state == "completed"
        panel.errorbar(where[row.group], row.value, yerr=row.spread, fmt="o", color="#2471a3" if whole else FAINT,
                       markersize=6, capsize=3, alpha=0.85)  # fmt: skip
    if rows and (best := next((row for row in rows if row.rank == 1), None)):
        panel.plot(where[best.group], best.value, "o", color="#c0392b", markersize=8)
    if ticks:
        panel.set_xticks([at for at, _ in ticks], [text for _, text in ticks])
    elif wide:
        panel.set_xscale("log")
    panel.set(xlabel=name or "cell", ylabel=metric)


def _heat(figure: Figure, panel: Axes, rows: Sequence[Row], axes: Sequence[str], metric: str, up: bool) -> None:
    one, two = (_values(rows, name) for name in axes)
    cells = [[float("nan")] * len(one) for _ in two]
    for row in rows:
        assert row.value is not None
        cells[two.index(row.overrides[axes[1]])][one.index(row.overrides[axes[0]])] = row.value
    image = panel.imshow(cells, origin="lower", aspect="auto", cmap=COLOURS if up else f"{COLOURS}_r")
    for y, line in enumerate(cells):
        for x, value in enumerate(line):
            if value == value:
                panel.text(x, y, f"{value:.3f}", ha="center", va="center", color="white", fontsize=8)
    panel.grid(visible=False)
    panel.set_xticks(range(len(one)), [shown(value) for value in one])
    panel.set_yticks(range(len(two)), [shown(value) for value in two])
    panel.set(xlabel=axes[0], ylabel=axes[1])
    figure.colorbar(image, ax=panel, label=metric)


def _parallel(figure: Figure, panel: Axes, rows: Sequence[Row], axes: Sequence[str], metric: str, up: bool) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    values = [row.value for row in rows if row.value is not None]
    if not values:
        return
    scale = Normalize(min(values), max(values) if max(values) > min(values) else min(values) + 1e-9)
    paint = colormaps[COLOURS if up else f"{COLOURS}_r"]
    order = {name: _values(rows, name) for name in axes}
    for row in sorted(rows, key=lambda row: row.rank is None or -row.rank):
        heights = [order[name].index(row.overrides.get(name)) / max(len(order[name]) - 1, 1) for name in axes]
        panel.plot(range(len(axes)), heights, color=paint(scale(row.value or 0.0)), linewidth=1.6, alpha=0.8)
    for at, name in enumerate(axes):
        ends = order[name][0], order[name][-1]
        for height, value in zip((0, 1), ends, strict=True):
            panel.annotate(shown(value), (at, height), fontsize=8, ha="center", va="bottom" if height else "top")
    panel.set_xticks(range(len(axes)), [name.rpartition(".")[2] for name in axes], rotation=20)
    panel.set_yticks([])
    figure.colorbar(ScalarMappable(scale, paint), ax=panel, label=metric)
