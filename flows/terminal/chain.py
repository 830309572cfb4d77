"""A chain in a terminal: the plan of each step, the metrics and models of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from flows.terminal.run import show_plan, show_run

if TYPE_CHECKING:
    from flows.chain.plan import StepPlan
    from flows.chain.result import Aligned


def show_chain_plan(plans: Sequence[StepPlan]) -> None:
    """Print what each step would do and cost."""
    for at, plan in enumerate(plans, 1):
        _heading(at, len(plans), plan.step.name, plan.resolved.task)
        if plan.waits_for is not None:
            base = plan.loaded.config.model.name
            print(f"pending: it starts from the model of step {plan.waits_for}, which is not made yet; costs are those "
                  f"with {base}")  # fmt: skip
        show_plan(plan.resolved, plan.context, plan.costs)
        for note in plan.advice:
            print(f"advice: {note}")


def show_chain(done: Aligned) -> None:
    """Print the metrics of each step, where its model is and how to use it."""
    for at, (name, task, run) in enumerate(zip(done.names, done.tasks, done.steps, strict=True), 1):
        _heading(at, len(done), name, task)
        show_run(run)
    if (matrix := getattr(done, "matrix", None)) is not None:
        Console().print("\nforgetting: each task's metric after each step", style="bold", markup=False, highlight=False)
        print(matrix.markdown(), end="")


def _heading(at: int, of: int, name: str, task: str) -> None:
    text = f"step {at} of {of}, {name}: {task}"
    Console().print(f"\n{text}", style="bold", markup=False, highlight=False)
