"""A model's quality in a terminal: metrics, scores by class, slices."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.evaluation.per_class import confused_line, matrix_cells, score_cells
from tasks.results.report_markdown import number, slice_metrics


def metrics_table(
    metrics: Mapping[str, float | None], intervals: Mapping[str, Sequence[float]], main: str | None = None
) -> Table:
    """Return a table of metrics and their intervals; `main` is bold."""
    table = Table("metric", "value", "95 % interval", title="metrics")
    for name, value in metrics.items():
        ends = " to ".join(map(number, intervals.get(name, ())))
        table.add_row(
            f"[bold]{escape(name)}[/bold]" if name == main else escape(name), number(value) or "not a number", ends
        )
    return table


def slices_table(column: str, values: Mapping[str, Mapping[str, float]]) -> Table:
    """Return a table of the metrics by the values of a column."""
    names = slice_metrics(values)
    table = Table(escape(column), "rows", *map(escape, names), title=f"by {escape(column)}")
    for value, found in values.items():
        table.add_row(escape(value), f"{found['rows']:.0f}", *(number(found.get(name)) for name in names))
    return table


def show_classes(console: Console, classes: Mapping[str, Mapping[str, Any]]) -> None:
    """Print scores by class of the test rows (validation rows if there are none), and the confusion matrix or the most
    frequent confusions."""
    for split, found in sorted(classes.items())[:1]:
        for title, cells in (("classes", [*score_cells(found)]), ("predictions by class", matrix_cells(found))):
            if not cells:
                continue
            head, *rows = cells
            table = Table(*map(escape, head), title=f"{title} of {split}")
            for column in table.columns[1:]:
                column.justify = "right"
            for row in rows:
                table.add_row(*map(escape, row))
            console.print(table)
        if line := confused_line(found):
            console.print(line, highlight=False, markup=False)
