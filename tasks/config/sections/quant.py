"""`quant`: load the frozen base in 4 or 8 bits, with the names of transformers' BitsAndBytesConfig."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from tasks.config.sections.section import Section

FOUR_BIT = {"bnb_4bit_quant_type", "bnb_4bit_use_double_quant", "bnb_4bit_compute_dtype"}
WIDTHS = {"load_in_4bit", "load_in_8bit"}


class QuantConfig(Section):
    """Quantization of the base weights."""

    load_in_4bit: bool = Field(default=False, description="Load the base in 4 bits (QLoRA, together with peft: lora).")
    load_in_8bit: bool = Field(default=False, description="Load the base in 8 bits.")
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = Field(default="nf4", description="The 4-bit data type.")
    bnb_4bit_use_double_quant: bool = Field(
        default=True, description="Quantize the quantization constants too: about 0.4 bits less per weight."
    )
    bnb_4bit_compute_dtype: Literal["bfloat16", "float16", "float32"] = Field(
        default="bfloat16", description="Data type in which 4-bit weights are multiplied."
    )
    on_unavailable: Literal["error", "ignore"] = Field(
        default="error",
        description="Where bitsandbytes does not compute: error refuses the run, ignore warns and does not quantize.",
    )

    @classmethod
    def expand(cls, value: object) -> object:
        """Expand `quant: true` to 4 bits, `quant: false` to no quantization."""
        if isinstance(value, bool):
            return {"load_in_4bit": True} if value else {}
        return super().expand(value)

    @model_validator(mode="after")
    def _one_width(self) -> QuantConfig:
        if self.load_in_4bit and self.load_in_8bit:
            raise ValueError("load_in_4bit and load_in_8bit are both true; set only one")
        given = self.model_fields_set
        if FOUR_BIT & given and not WIDTHS & given:
            raise ValueError(f"{min(FOUR_BIT & given)} is given without load_in_4bit: true, so it has no effect")
        return self

    @property
    def bits(self) -> Literal[4, 8] | None:
        """The bits of a quantized weight; None: the base is not quantized."""
        return 4 if self.load_in_4bit else 8 if self.load_in_8bit else None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `BitsAndBytesConfig` that affect what is computed."""
        fields = FOUR_BIT | {"load_in_4bit"} if self.bits == 4 else {"load_in_8bit"}
        return self.model_dump(mode="json", include=fields)
