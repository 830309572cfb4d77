"""LoRA+: the B matrices of LoRA learn faster than the A matrices (Hayou et al. 2024, arXiv:2402.12354)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field

from tasks.config import ConfigError, ContinuePeft, Lora, RunConfig
from tasks.config.sections.peft import LORA
from tasks.config.sections.section import Positive, Section
from tasks.training.hooks import TrainingHook
from tasks.training.methods.base import Method, Task

B = ("lora_B", "lora_embedding_B")


class LoraPlus(Section):
    """Options. `loraplus: 16` is short for `{loraplus_lr_ratio: 16}`."""

    bare: ClassVar[str] = "loraplus_lr_ratio"

    loraplus_lr_ratio: Positive = Field(
        default=16.0, description="The learning rate of B divided by that of A, which is train.learning_rate."
    )


class LoraPlusRates(TrainingHook):
    """Splits each group: the B matrices get `loraplus_lr_ratio` times the group's learning rate."""

    def check(self) -> None:
        model: Any = self.model
        if (kind := model.active_peft_config.peft_type.lower()) != LORA:
            raise ConfigError(f"methods.loraplus: only LoRA has B matrices, and the adapter of model.name is of "
                              f"peft.method: {kind}")  # fmt: skip

    def parameter_groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return `groups` with those of B separate, after the others."""
        found: list[dict[str, Any]] = []
        for group in groups:
            rate = group.get("lr", self.plan["arguments"]["learning_rate"])
            for is_b, factor in ((False, 1.0), (True, self.options["loraplus_lr_ratio"])):
                held = [at for at, name in enumerate(group["names"]) if any(f".{part}." in name for part in B) is is_b]
                parameters, names = [group["params"][at] for at in held], [group["names"][at] for at in held]
                found.append({**group, "params": parameters, "names": names, "lr": rate * factor})
        return [group for group in found if group["params"]]


def _without_lora(options: Mapping[str, Any], config: RunConfig, task: Task) -> Iterator[str]:
    if not isinstance(config.peft, Lora | ContinuePeft):
        yield f"methods.loraplus: only LoRA has B matrices, and peft.method is {config.peft.method}"


LORAPLUS = Method(
    name="loraplus",
    summary="LoRA's B matrices get a higher learning rate than its A matrices (LoRA+).",
    options=LoraPlus,
    hook="tasks.training.methods.loraplus:LoraPlusRates",
    check=_without_lora,
)
