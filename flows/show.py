"""What a person sees at the end: tables in a terminal."""

import json
from collections.abc import Mapping, Sequence
from textwrap import indent
from typing import Any

from rich.console import Console
from rich.table import Table

from tasks.config import RunConfig
from tasks.config.leaves import leaves
from tasks.objectives import objective_of
from tasks.runtime.context import RunContext, StageEntry
from tasks.runtime.estimate import GIB, Estimate, lasting
from tasks.runtime.finetuned import FineTuned

COLOURS = {"built": "green", "miss": "yellow", "cached": "blue", "hit": "blue"}


def show_run(done: FineTuned) -> None:
    """Print the twelve stages, the metrics, where the model is and how to use it."""
    console = Console()
    console.print(_stages(done.stages))
    show_metrics(done.metrics, done.intervals)
    for name, values in done.slices.items():
        console.print(_slices(name, values))
    if done.path is None:
        console.print("model: in the store; set output_dir to have it as a folder, or use `finetune(config).model`")
        return
    from tasks.evaluation.usage import usage

    adapter = done.path / "adapter_config.json"
    base = json.loads(adapter.read_text())["base_model_name_or_path"] if adapter.exists() else None
    console.print(f"model: [bold]{done.path}[/bold]\nuse it:\n", highlight=False, soft_wrap=True)
    objective = objective_of(done.arguments["task"])
    print(indent(usage(str(done.path), objective.auto_model, objective.pipeline_tag, base), "    "))


def show_metrics(metrics: Mapping[str, float], intervals: Mapping[str, Sequence[float]]) -> None:
    """Print a table of metrics and their intervals."""
    table = Table("metric", "value", "95 % interval", title="metrics")
    for name, value in metrics.items():
        sure = f"{intervals[name][0]:.4f} to {intervals[name][1]:.4f}" if name in intervals else ""
        table.add_row(name, f"{value:.4f}", sure)
    Console().print(table)


def _slices(name: str, values: Mapping[str, Mapping[str, float]]) -> Table:
    metrics = list(dict.fromkeys(metric for found in values.values() for metric in found if metric != "rows"))[:5]
    table = Table(name, "rows", *metrics, title=f"by {name}")
    for value, found in values.items():
        table.add_row(value, f"{found['rows']:.0f}", *(f"{found[m]:.4f}" if m in found else "" for m in metrics))
    return table


def show_plan(resolved: RunConfig, context: RunContext, costs: Estimate | None) -> None:
    """Print what a run would do and cost."""
    console = Console()
    console.print(_stages(context.entries))
    chosen = Table("field", "value", "from", title="training arguments")
    for leaf in leaves(resolved):
        if leaf.value is not None and leaf.path.startswith("train."):
            chosen.add_row(leaf.path, str(leaf.value), context.origin.get(leaf.path, ""))
    console.print(chosen)
    if costs is None:
        console.print("steps, tokens and memory are known once the stages before s08_trainer are")
        return
    machine = context.read("s08_trainer", "plan.json")
    console.print(
        f"on {machine['device']} with {machine['threads']} threads, float32 products at precision "
        f"{machine['float32_matmul_precision']!r} (train.float32_matmul_precision says what auto means)",
        highlight=False,
    )
    console.print(
        f"training: {costs.steps} steps, {costs.tokens:,} tokens, {costs.trainable:,} trained parameters; "
        f"about {costs.memory / GIB:.1f} GiB of memory and {costs.disk / GIB:.2f} GiB of disk",
        highlight=False,
    )
    if costs.seconds is not None:
        console.print(f"time of training, as before: about {lasting(costs.seconds)}", highlight=False)


def show_lint(found: Mapping[str, Any]) -> None:
    """Print what the checks say of the data."""
    console = Console()
    rows = ", ".join(f"{split} {count}" for split, count in found["rows"].items())
    console.print(f"rows: {rows}; classes: {found['classes']}; columns: {found['columns']}", highlight=False)
    sample = dict(found["looks"]["sample"])
    console.print(f"a row as it is read ({sample.pop('row')}):", highlight=False, markup=False)
    for name, value in sample.items():
        console.print(f"  {name}: {value}", highlight=False, markup=False)
    if words := found["looks"]["words"]:
        said = ", ".join(f"{name} {words[name]}" for name in ("median", "95 %", "most"))
        console.print(f"words a row: {said}", highlight=False)
    if tokens := found.get("tokens"):
        for what, each in (("tokens", tokens), ("tokens of targets", tokens.get("targets"))):
            if each:
                console.print(
                    f"{what}: {each['share']:.1%} of {each['rows']} rows looked at are over {each['max_length']} "
                    f"(the longest has {each['longest']}); data.overlong: {each['overlong']}",
                    highlight=False,
                )
    for line in found["warnings"]:
        console.print(f"warning: {line}", highlight=False, markup=False)
    console.print("no errors", highlight=False)


def _stages(entries: Sequence[StageEntry]) -> Table:
    table = Table("stage", "state", "seconds", "why", title="stages")
    table.columns[2].justify = "right"
    for entry in entries:
        colour = COLOURS[entry.state]
        table.add_row(entry.stage, f"[{colour}]{entry.state}[/{colour}]", f"{entry.seconds:.1f}", entry.reason)
    return table
