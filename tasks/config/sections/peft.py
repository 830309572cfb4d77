"""`peft`: train the whole model, or a few parameters beside frozen weights.

LoRA's usual fields are written out below. Every other field, and every other method, is that of the installed peft,
under its own name, checked against `tuners.tuners()`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Tag,
    WithJsonSchema,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from tasks.config.json_types import JsonObject, is_mapping
from tasks.config.reading.words import refusal
from tasks.config.sections.open_section import OpenSection
from tasks.config.sections.section import NO_BOOL, Count, Section, Share
from tasks.config.tuners import LOFTQ, UNSUPPORTED, Tuner, tuners

NUMBER = WithJsonSchema({"type": "number", "exclusiveMinimum": 0})  # whole or not: a form need not ask
NONE, LORA, CONTINUE = "none", "lora", "continue"
VIRTUAL_TOKENS = 20  # if none are given, as in peft's documentation
_START = "EVA, CorDA and LoRA-GA start from samples of the data, which is not supported; use true, pissa or olora"
_NITER = "the random SVD of pissa_niter_N gives other values when the saved adapter is loaded; use pissa"


class PeftSection(Section):
    """What all methods share: the short forms. `true` is LoRA, `false` and null are none, a word is the method."""

    tag: ClassVar[str]  # of this class in the union `PeftConfig`

    @property
    def virtual_tokens(self) -> int:
        """Trained vectors before the input, for which the model's maximum length must have room."""
        return 0

    @classmethod
    def expand(cls, value: Any) -> Any:
        """The mapping behind `peft: true`, `peft: false` or `peft: lora`."""
        if isinstance(value, bool):
            return {"method": LORA if value else NONE}
        if isinstance(value, str):
            return {"method": value}
        return {"method": NONE} if value is None or value == {} else value


class NoPeft(PeftSection):
    """Full fine-tuning: every weight is trained."""

    model_config = ConfigDict(title="none")
    tag = NONE

    method: Literal["none"] = Field(default=NONE, description="Train every weight.")


class ContinuePeft(PeftSection):
    """Train the base's own adapter on, with the settings in its `adapter_config.json`."""

    model_config = ConfigDict(title=CONTINUE)
    tag = CONTINUE

    method: Literal["continue"] = Field(description="Train the adapter in model.name's folder on.")


class AdapterSection(OpenSection, PeftSection):
    """A method of peft: names that are not written out are fields of its config class."""

    model_config = ConfigDict(extra="allow")  # which the second base forbids

    @classmethod
    def expand(cls, value: Any) -> Any:
        return value if is_mapping(value) else super().expand(value)

    @property
    def options(self) -> JsonObject:
        """The given fields that are not written out in the class."""
        return dict(self.model_extra or {})

    @property
    def tuner(self) -> Tuner:
        """The tuner of this method."""
        return tuners()[getattr(self, "method")]  # noqa: B009 — each subclass has it

    @property
    def virtual_tokens(self) -> int:
        return int(self.options.get("num_virtual_tokens") or VIRTUAL_TOKENS) if self.tuner.is_prompt else 0

    @classmethod
    def check_field(cls, name: str, value: Any, given: JsonObject) -> object:
        tuner = tuners().get(str(given.get("method", LORA)))
        written_out = name == "method" or (
            name in cls.model_fields and tuner and (name in tuner.settable or value is None)
        )
        return value if written_out or tuner is None else tuner.check(name, value)

    @classmethod
    def other_names(cls) -> set[str]:
        return {
            field for name, tuner in tuners().items() if (name == LORA) is (cls is Lora) for field in tuner.settable
        }


class Lora(AdapterSection):
    """Low-rank adapters, with peft's own names."""

    model_config = ConfigDict(title=LORA)
    tag = LORA

    method: Literal["lora"] = Field(default=LORA, description="Train low-rank adapters; the base stays frozen.")
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
        default=None,
        description="Layers trained in full and saved with the adapter, besides the task's new head. Omit: none.",
    )
    bias: Literal["none", "all", "lora_only"] = Field(default="none", description="Which biases are trained.")
    use_rslora: bool = Field(default=False, description="Scale by lora_alpha / sqrt(r): steadier at high ranks.")
    use_dora: bool = Field(default=False, description="Weight-decomposed LoRA: slower, sometimes better at low ranks.")
    init_lora_weights: bool | Literal["gaussian", "pissa", "olora", "orthogonal", "mica"] = Field(
        default=True, description="First values of the adapters. true: they start by changing nothing."
    )

    @field_validator("init_lora_weights", mode="before")
    @classmethod
    def _reproducible(cls, value: object) -> object:
        if value in ("eva", "corda", "lora_ga", "loftq"):
            raise ValueError(f"not allowed: {LOFTQ if value == 'loftq' else _START}")
        if isinstance(value, str) and value.startswith("pissa_niter_"):
            raise ValueError(f"not allowed: {_NITER}")
        return value


class OtherTuner(AdapterSection):
    """Any other method of peft, by peft's own name: ia3, adalora, vera, oft, loha, prefix_tuning … Fields that are
    omitted have peft's defaults."""

    model_config = ConfigDict(title="another method of peft")
    tag = "other"

    method: str = Field(description="The method, by peft's name.")
    target_modules: str | list[str] | None = Field(
        default=None, description="Layers that are adapted: all-linear (all but the head), a list of names, or one "
        "regex. Omit: peft's choice for the architecture if it has one, else all-linear."
    )  # fmt: skip
    modules_to_save: list[str] | None = Field(
        default=None,
        description="Layers trained in full and saved with the adapter, besides the task's new head. Omit: none.",
    )

    @field_validator("method")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in tuners():
            reason = UNSUPPORTED.get(name)
            if reason:
                raise ValueError(f"{name!r} given, which is not supported: {reason}")
            raise ValueError(refusal(name, {"enum": peft_methods()}))
        return name

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Adds the valid methods."""
        schema = super().__get_pydantic_json_schema__(core, handler)
        handler.resolve_ref_schema(schema)["properties"]["method"]["enum"] = [n for n in tuners() if n != LORA]
        return schema


Adapter = Lora | OtherTuner


def peft_methods() -> list[str]:
    """Return all values of `peft.method`."""
    return [NONE, *tuners(), CONTINUE]


def _tag(value: Any) -> str | None:
    """Return the member of the union that a value belongs to; None if it has no method."""
    if isinstance(value, PeftSection):
        return value.tag
    method = value.get("method") if is_mapping(value) else NONE
    known = {name: name for name in (NONE, LORA, CONTINUE)}
    return known.get(method, OtherTuner.tag) if isinstance(method, str) else None


class _ShownAsChoices:
    """Prefect's form shows `anyOf` as a choice of tabs, but `oneOf` as JSON to be typed."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = dict(handler(core))
        schema.pop("discriminator", None)
        return {"anyOf": schema.pop("oneOf"), **schema}


PeftConfig = Annotated[
    Annotated[NoPeft, Tag(NONE)]
    | Annotated[Lora, Tag(LORA)]
    | Annotated[OtherTuner, Tag(OtherTuner.tag)]
    | Annotated[ContinuePeft, Tag(CONTINUE)],
    Discriminator(_tag),
    BeforeValidator(PeftSection.expand),
    _ShownAsChoices(),
]
