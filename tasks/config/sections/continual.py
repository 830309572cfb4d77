"""`continual`: how several tasks are trained one after another, and how much of the earlier ones may be forgotten."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.config.sections.section import NotNegative, Section


class ContinualConfig(Section):
    """Options of continual learning, beside its tasks."""

    start: Literal["previous", "base"] = Field(
        default="previous",
        description="What each task starts from. previous: the model that the task before made; base: model, so that "
        "with an adapter (peft) each task has one of its own and nothing is forgotten.",
    )
    alone: bool = Field(
        default=False,
        description="Also train each task alone from the base, to report how the earlier tasks helped (forward "
        "transfer). Costs these trainings.",
    )
    max_forgetting: NotNegative | None = Field(
        default=None,
        description="Largest allowed distance of an earlier task's main metric from its best value. Omit: only "
        "reported.",
    )
    on_forgetting: Literal["fail", "warn"] = Field(
        default="fail", description="What happens after a task with which more is forgotten: end the chain, or warn."
    )
