"""What a model can still do after each of several tasks: the matrix of step × task, and the figures made from it.

Average and backward transfer are those of Lopez-Paz and Ranzato 2017 (arXiv:1706.08840), forgetting that of Chaudhry et
al. 2018 (arXiv:1801.10112). Forward transfer compares with a model that was trained for the task alone, as in Ke et al.
2020 (arXiv:2112.02706 uses the same), because a task with a head of its own cannot be measured before it is trained.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from tasks.artifacts.formats import json as jsons
from tasks.config.json_types import JsonObject

Value = float | None
DPI = 110


@dataclass(frozen=True)
class ForgettingMatrix:
    """The main metric of each task after each step.

    Attributes:
        names: of the tasks, in the order of training. metrics: the main metric of each. upward: whether more is better.
        values: `values[step][task]` for tasks up to the step's own; None: not measured.
        alone: of a model trained for the task alone, from the same base; None: not trained.
    """

    names: Sequence[str]
    metrics: Sequence[str]
    upward: Sequence[bool]
    values: Sequence[Sequence[Value]]
    alone: Sequence[Value]

    def drop(self, task: int, step: int) -> Value:
        """Return how much worse a task is after a step than at its best before; negative: it improved."""
        sign = 1 if self.upward[task] else -1
        before = [value for row in self.values[task:step] if (value := row[task]) is not None]
        now = self.values[step][task]
        return None if now is None or not before else max(sign * value for value in before) - sign * now

    @property
    def average(self) -> Value:
        """The mean of all tasks after the last step; None if more is better for some metrics and worse for others."""
        return _mean(self.values[-1]) if len({*self.upward}) == 1 else None

    @property
    def forgetting(self) -> Value:
        """The mean over all tasks but the last of their best value minus the value after the last step."""
        return _mean([self.drop(task, len(self.values) - 1) for task in range(len(self.values) - 1)])

    @property
    def backward_transfer(self) -> Value:
        """The mean over all tasks but the last of the value after the last step minus that after their own step, with
        the sign turned where less is better; negative: forgotten."""
        last = len(self.values) - 1
        return self._gain(range(last), lambda task: (self.values[last][task], self.values[task][task]))

    @property
    def forward_transfer(self) -> Value:
        """The mean over all tasks but the first of the value after their own step minus that of a model trained for
        the task alone; None if there are no such models."""
        return self._gain(range(1, len(self.values)), lambda task: (self.values[task][task], self.alone[task]))

    def _gain(self, tasks: Sequence[int], pair: Callable[[int], tuple[Value, Value]]) -> Value:
        found: list[Value] = []
        for task in tasks:
            now, before = pair(task)
            sign = 1 if self.upward[task] else -1
            found.append(None if now is None or before is None else sign * (now - before))
        return _mean(found)

    def to_json(self) -> JsonObject:
        """Return matrix and figures, as `forgetting.json` has them."""
        return jsons.finite({
            "tasks": [*self.names], "metrics": [*self.metrics], "greater_is_better": [*self.upward],
            "matrix": [[*row] for row in self.values], "alone": [*self.alone], **self.figures(),
        })  # fmt: skip

    def figures(self) -> dict[str, Value]:
        """Return the figures by name."""
        return {"average": self.average, "forgetting": self.forgetting, "backward_transfer": self.backward_transfer,
                "forward_transfer": self.forward_transfer}  # fmt: skip

    def markdown(self) -> str:
        """Return the matrix as a table, and the figures below it."""
        head = [f"{name} ({metric})" for name, metric in zip(self.names, self.metrics, strict=True)]
        lines = [f"| after | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
        for name, row in zip(self.names, self.values, strict=True):
            cells = [_shown(value) for value in row] + [""] * (len(head) - len(row))
            lines.append(f"| {name} | {' | '.join(cells)} |")
        if any(value is not None for value in self.alone):
            lines.append(f"| trained alone | {' | '.join(map(_shown, self.alone))} |")
        figures = [f"{name.replace('_', ' ')} {_shown(value)}" for name, value in self.figures().items()
                   if value is not None]  # fmt: skip
        return "\n".join([*lines, "", ", ".join(figures)]) + "\n"

    def picture(self) -> bytes:
        """Return the matrix as a PNG: each task's values as a line over the steps."""
        from matplotlib.figure import Figure  # without pyplot: no global state, no display
        from matplotlib.ticker import MaxNLocator

        kinds = [*dict.fromkeys(self.metrics)]
        figure = Figure(figsize=(4.6 * len(kinds), 3.4), layout="constrained")
        panels = figure.subplots(1, len(kinds), squeeze=False)[0]
        for panel, kind in zip(panels, kinds, strict=True):
            for task, (name, metric) in enumerate(zip(self.names, self.metrics, strict=True)):
                points = [(step + 1, row[task]) for step, row in enumerate(self.values)
                          if step >= task and row[task] is not None]  # fmt: skip
                if metric == kind and points:
                    steps, values = zip(*points, strict=True)
                    panel.plot(steps, values, marker="o", label=name)
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.set(xlabel="tasks trained", ylabel=kind, title=f"{kind} after each task")
            panel.legend()
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
        return out.getvalue()


def _mean(values: Sequence[Value]) -> Value:
    known = [value for value in values if value is not None]
    return mean(known) if known and len(known) == len(values) else None


def _shown(value: Value) -> str:
    return "" if value is None else f"{value:.4f}"
