"""`peft`: train the whole model, or small adapters beside frozen weights."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema

from tasks.config.sections.section import NO_BOOL, Count, Section, Share

NUMBER = WithJsonSchema({"type": "number", "exclusiveMinimum": 0})  # whole or not: a form need not ask


class PeftSection(Section):
    """What all methods share: the short forms. `true` is LoRA, `false` and null are none, a word is the method."""

    @classmethod
    def expand(cls, value: Any) -> Any:
        """The mapping behind `peft: true`, `peft: false` or `peft: lora`."""
        if isinstance(value, bool):
            return {"method": "lora" if value else "none"}
        if isinstance(value, str):
            return {"method": value}
        return {"method": "none"} if value is None or value == {} else value


class NoPeft(PeftSection):
    """Full fine-tuning: every weight is trained."""

    model_config = ConfigDict(title="none")

    method: Literal["none"] = Field(default="none", description="Train every weight.")


class Lora(PeftSection):
    """Low-rank adapters, with peft's own names."""

    model_config = ConfigDict(title="lora")

    method: Literal["lora"] = Field(default="lora", description="Train low-rank adapters; the base stays frozen.")
    r: Count | None = Field(default=None, description="Rank of the adapters.")
    lora_alpha: Annotated[int | float, Field(gt=0), NO_BOOL, NUMBER] | None = Field(
        default=None,
        description="Scale: adapters count lora_alpha / r times. Omit: 2 r; preset txtai: 8.",
    )
    lora_dropout: Share | None = Field(
        default=None, description="Share of adapter inputs dropped in training, in [0, 1)."
    )
    target_modules: str | list[str] = Field(
        default="all-linear",
        description="Layers that get an adapter: all-linear (all but the head), a list of names, or one regex.",
    )
    modules_to_save: list[str] | None = Field(
        default=None, description="Layers trained in full and saved with the adapter. Omit: the task's new head."
    )
    bias: Literal["none", "all", "lora_only"] = Field(default="none", description="Which biases are trained.")
    use_rslora: bool = Field(default=False, description="Scale by lora_alpha / sqrt(r): steadier at high ranks.")
    use_dora: bool = Field(default=False, description="Weight-decomposed LoRA: slower, sometimes better at low ranks.")
    init_lora_weights: bool | Literal["gaussian", "pissa", "olora"] = Field(
        default=True, description="First values of the adapters. true: they start by changing nothing."
    )


class _ShownAsChoices:
    """Prefect's form shows `anyOf` as a choice of tabs, but `oneOf` with a discriminator as JSON to be typed."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = dict(handler(core))
        schema.pop("discriminator")
        return {"anyOf": schema.pop("oneOf"), **schema}


PeftConfig = Annotated[
    Annotated[NoPeft | Lora, Field(discriminator="method")],
    BeforeValidator(PeftSection.expand),
    _ShownAsChoices(),
]
