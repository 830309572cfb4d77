"""Print finished runs in a terminal: a list (of sweeps too), a report, a comparison."""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from textwrap import indent
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from flows.terminal.metrics import metrics_table, show_classes, slices_table
from tasks.results.report import Report
from tasks.results.report_markdown import duration, facts, number
from tasks.sweep.summary import format_overrides

COLOURS = {"completed": "green", "failed": "red", "killed": "red", "interrupted": "yellow", "running": "blue",
           "built": "green", "cached": "blue", "partial": "yellow"}  # fmt: skip


def show_runs(found: Sequence[Mapping[str, Any]]) -> None:
    """Print runs, a line each, with full names, so that they can be copied."""
    console = _console()
    if not found:
        console.print("no runs yet")
        return
    table = Table("run", "state", "started", "name", "task", "model", "metric", box=None, pad_edge=False)
    for column in table.columns:
        column.no_wrap = True
    for each in found:
        metric = escape(f"{each['metric']} {number(each['value'])}") if each["metric"] else ""
        table.add_row(
            escape(each["run"]), _coloured(each["state"]), _when(each["started"]), escape(each["name"] or ""),
            escape(each["task"] or ""), escape(_short(each["model"])),
            metric + (" (not promoted)" if each["kept"] else ""),
        )  # fmt: skip
    for column in table.columns[:3]:  # a truncated name cannot be copied: other columns shrink
        column.min_width = max(len(Text.from_markup(str(cell)).plain) for cell in column.cells)
    console.print(table, highlight=False)


def show_sweeps(found: Sequence[Mapping[str, Any]]) -> None:
    """Print sweeps, a line each; nothing if there are none."""
    if not found:
        return
    table = Table("sweep", "state", "started", "name", "cells", "metric", "best", box=None, pad_edge=False)
    for column in table.columns[:6]:
        column.no_wrap = True
    for each in found:
        failed = f" ({each['failed']} failed)" if each["failed"] else ""
        metric = each["metric"] if each["value"] is None else f"{each['metric']} {number(each['value'])}"
        table.add_row(
            each["sweep"], _coloured(each["state"]), _when(each["started"]), escape(each["name"] or ""),
            f"{each['cells']}{failed}", metric, "" if each["best"] is None else escape(format_overrides(each["best"])),
        )  # fmt: skip
    console = _console()
    console.print()
    console.print(table, highlight=False)


def show_report(report: Report) -> None:
    """Print a run's report: metrics, data, stages, configuration, where the model is."""
    console = _console()
    state = _coloured(report.record.get("state"))
    console.print(f"[bold]{escape(report.title)}[/bold]  {state}", highlight=False)
    about = [report.run, report.task, report.base, _when(report.record.get("started")), duration(report.seconds)]
    console.print(" · ".join(word for word in about if word), highlight=False, markup=False, soft_wrap=True)
    if failure := report.record.get("failure"):
        line = f"ended at {failure['stage']}: {failure['kind']}: {failure['message']}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if report.metrics:
        console.print(metrics_table(report.metrics, report.intervals, report.main))
    show_classes(console, report.classes)
    for column, values in report.slices.items():
        console.print(slices_table(column, values))
    if report.data:
        rows = ", ".join(f"{split} {count}" for split, count in report.rows.items())
        for line in (f"rows: {rows}", *facts(report.data)):
            console.print(line, highlight=False, markup=False)
    stages = Table("stage", "state", "seconds", "why", title="stages")
    stages.columns[2].justify = "right"
    for each in report.stages:
        stages.add_row(
            escape(each["stage"]), _coloured(each["state"]), f"{each['seconds']:.1f}", escape(each["reason"])
        )
    console.print(stages)
    given = Table("field", "value", "from", title="configuration")
    for name, value, origin in report.given:
        given.add_row(escape(name), escape(str(value)), escape(origin))
    console.print(given)
    console.print(f"model: {report.place}", highlight=False, markup=False, soft_wrap=True)
    if report.usage:
        print(f"use it:\n\n{indent(report.usage, '    ')}")


def show_comparison(one: Mapping[str, Any], other: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> None:
    """Print what differs between two runs, kind by kind."""
    console = _console()
    for kind, pairs in found.items():
        if not pairs:
            continue
        table = Table(kind, one["run"], other["run"], *(["difference"] if kind == "metrics" else []))
        for name, (ours, theirs) in pairs.items():
            more = [_change(ours, theirs)] if kind == "metrics" else []
            table.add_row(escape(name), _value(kind, ours), _value(kind, theirs), *more)
        console.print(table)
    same = [kind for kind, pairs in found.items() if not pairs]
    if same:
        console.print(f"the same: {', '.join(same)}", highlight=False)


def _console() -> Console:
    """Return a console as wide as the terminal; output to a file or a pipe is not cut to 80 columns."""
    return Console(width=None if sys.stdout.isatty() else 160)


def _value(kind: str, value: Any) -> str:
    if value is None:
        return ""
    return number(value) if kind == "metrics" else escape(str(value))


def _change(ours: float | None, theirs: float | None) -> str:
    return "" if ours is None or theirs is None else f"{theirs - ours:+.4f}"


def _coloured(state: str | None) -> str:
    colour = COLOURS.get(state or "")
    return f"[{colour}]{state}[/{colour}]" if colour else escape(state or "?")


def _when(started: str | None) -> str:
    return f"{datetime.fromisoformat(started).astimezone():%Y-%m-%d %H:%M}" if started else ""


def _short(model: str | None) -> str:
    """Return a model's name, or the end of a long path."""
    name = model or ""
    return name if len(name) <= 32 else f"…{name[-31:]}"
