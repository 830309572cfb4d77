"""Print a run, a plan and a lint in a terminal."""

import json
import re
from collections.abc import Mapping, Sequence
from textwrap import indent
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.terminal.metrics import metrics_table, show_classes, slices_table
from flows.terminal.rendered import show_rendered
from tasks.config import RunConfig
from tasks.config.leaves import leaves
from tasks.data.chat.preview import RenderedRow
from tasks.execution.after_training import after_training
from tasks.execution.estimate import Estimate, format_bytes, format_duration
from tasks.execution.execute import unless_better
from tasks.objectives import objective_of
from tasks.results.finetuned import FineTuned
from tasks.runtime.context import RunContext, StageEntry

MANY = 12  # classes whose row counts lint prints
COLOURS = {"built": "green", "miss": "yellow", "cached": "blue", "hit": "blue"}


def show_run(done: FineTuned) -> None:
    """Print the metrics, where the model is and how to use it; the stages were printed as they ended."""
    console = Console()
    show_metrics(done.metrics, done.intervals, done.classes)
    for name, values in done.slices.items():
        console.print(slices_table(name, values))
    if done.path is None:
        console.print("model: in the store; set output_dir to write it to a folder, or use `finetune(config).model`")
        return
    from tasks.inference.saved_model import INFERENCE
    from tasks.results.usage import sample_of, usage

    path = done.path / "adapter_config.json"
    adapter = json.loads(path.read_text()) if path.exists() else None
    console.print(f"model: [bold]{done.path}[/bold]\nuse it:\n", highlight=False, soft_wrap=True)
    objective = objective_of(done.arguments["task"])
    facts = done.path / INFERENCE  # a custom stage may not have written it
    sample = sample_of(objective, json.loads(facts.read_text())["columns"] if facts.exists() else ())
    lines = usage(str(done.path), objective.auto_model, objective.pipeline_tag, adapter, sample)
    print(indent(lines, "    "))


def show_metrics(
    metrics: Mapping[str, float | None], intervals: Mapping[str, Sequence[float]], classes: Mapping[str, Any]
) -> None:
    """Print the metrics, their intervals, and scores by class."""
    console = Console()
    console.print(metrics_table(metrics, intervals))
    show_classes(console, classes)


def show_plan(resolved: RunConfig, context: RunContext, costs: Estimate | None) -> None:
    """Print what a run would do and cost."""
    console = Console()
    console.print(_stages_table(context.entries))
    console.print(_arguments_table(resolved, context.origin))
    for line in after_training(resolved):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if context.overwrites:
        console.print(f"output_dir: {context.overwrites}; a run replaces it{unless_better(resolved)}",
                      highlight=False, markup=False, soft_wrap=True)  # fmt: skip
    if costs is None:
        console.print("steps, tokens and memory are known once the stages of base and rows have run")
        return
    console.print(
        f"on {costs.device} with {costs.threads} threads, float32 products at precision "
        f"{costs.float32_matmul_precision!r} (train.float32_matmul_precision says what auto means)",
        highlight=False,
    )
    console.print(
        f"training: {costs.steps} steps, {costs.tokens:,} tokens, {costs.trainable:,} trained parameters; "
        f"about {format_bytes(costs.memory)} of memory and {format_bytes(costs.disk)} of disk",
        highlight=False,
    )
    parts = [f"{name.replace('_', ' ')} {format_bytes(part)}" for name, part in costs.memory_parts.items() if part]
    console.print(f"memory: {', '.join(parts)}", highlight=False, soft_wrap=True)
    if costs.groups:
        console.print(_groups_table(costs))
    if costs.sampled is not None:
        looked, rows = costs.sampled
        console.print(f"estimated from {looked:,} of {rows:,} training rows; a run tokenizes all of them",
                      highlight=False)  # fmt: skip
    if costs.seconds is not None:
        console.print(f"time of training, from earlier runs: about {format_duration(costs.seconds)}", highlight=False)


def show_lint(found: Mapping[str, Any]) -> None:
    """Print what the checks found in the data."""
    console = Console()
    rows = ", ".join(f"{split} {count}" for split, count in found["rows"].items())
    columns = ", ".join(role if role == name else f"{role} ({name})" for role, name in found["columns"].items())
    console.print(f"rows: {rows}; columns: {columns}", highlight=False, markup=False)
    if classes := found["preview"]["classes"]:
        console.print(f"{len(classes)} classes in train: {_class_counts(classes)}", highlight=False, markup=False)
    sample = dict(found["preview"]["sample"])
    console.print(f"one sample row ({sample.pop('row')}):", highlight=False, markup=False)
    for name, value in sample.items():
        console.print(f"  {name}: {value}", highlight=False, markup=False)
    if words := found["preview"]["words"]:
        counts = ", ".join(f"{name} {words[name]}" for name in ("median", "p95", "max"))
        console.print(f"words per row: {counts}", highlight=False)
    if tokens := found.get("tokens"):
        for what, each, limit in (("tokens", tokens, "data.max_length"),
                                  ("tokens of targets", tokens.get("targets"), "data.max_target_length")):  # fmt: skip
            if each:
                console.print(
                    f"{what}: {each['share']:.1%} of {each['rows']} rows checked are longer than {each['max_length']}, "
                    f"{limit} (the longest has {each['longest']}); data.overlong: {each['overlong']}",
                    highlight=False,
                )
        if trained := tokens.get("trained"):
            console.print(f"trained tokens: {trained['tokens']:,}, of which the limit removes {trained['removed']:,}",
                          highlight=False)  # fmt: skip
            show_rendered(RenderedRow(**tokens["rendered"]))
    for line in [*found["warnings"], *((tokens or {}).get("warnings") or [])]:
        console.print(f"warning: {line}", highlight=False, markup=False)
    console.print("no errors", highlight=False)


def _class_counts(classes: Mapping[str, int]) -> str:
    """Return the classes with their row counts, descending; if there are many, the most and the least frequent."""
    named = [f"{name} {number:,}" for name, number in sorted(classes.items(), key=lambda each: -each[1])]
    if len(named) > MANY:
        named = [*named[: MANY - 1], f"{len(named) - MANY} more", named[-1]]
    return ", ".join(named)


def _arguments_table(resolved: RunConfig, origin: Mapping[str, str]) -> Table:
    """Return a table of the training arguments, those that were set first, with full names."""
    usual = f"the default of {resolved.task}"
    table = Table("train.", "value", "from", title=f"training arguments (default: of {resolved.task})")
    table.columns[0].no_wrap = True
    found = [(leaf.path.removeprefix("train."), str(leaf.value), origin.get(leaf.path, "").replace(usual, "default"))
             for leaf in leaves(resolved) if leaf.value is not None and leaf.path.startswith("train.")]  # fmt: skip
    for row in sorted(found, key=lambda row: row[2].startswith("default")):
        table.add_row(*map(escape, row))
    return table


def _groups_table(costs: Estimate) -> Table:
    """Return a table of what is trained, from which step and at which learning rate."""
    late = any(each["from_step"] for each in costs.groups)
    table = Table("group", "parameters", "learning rate", *(["from step"] if late else []), title="trained parameters")
    for column in table.columns[1:]:
        column.justify = "right"
    for each in costs.groups:
        never = each["from_step"] >= costs.steps
        rate = "frozen" if each["learning_rate"] is None else f"{each['learning_rate']:.3g}"
        start = ["" if rate == "frozen" else "never" if never else f"{each['from_step']:,}"] if late else []
        table.add_row(each["group"], f"{each['parameters']:,}", rate, *start)
    return table


def _stages_table(entries: Sequence[StageEntry]) -> Table:
    table = Table("stage", "state", "seconds", "why", title="stages")
    table.columns[2].justify = "right"
    for column in table.columns[:3]:
        column.no_wrap = True
    for entry in entries:
        colour = COLOURS[entry.state]
        table.add_row(entry.stage, f"[{colour}]{entry.state}[/{colour}]", f"{entry.seconds:.1f}",
                      escape(re.sub(r"^hit \w+, built by run ", "by ", entry.reason)))  # fmt: skip
    return table
