"""Bottleneck adapters: small networks after a transformer's sub-layers, before the residual connection and its norm
(Houlsby et al. 2019, arXiv:1902.00751; after feed-forward blocks only: Pfeiffer et al. 2020, arXiv:2005.00247).

A tuner for peft, with the field names of AdapterHub's BnConfig. Importing this module adds it to peft's tables, so
that `PeftModel.from_pretrained` loads what was saved.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, Optional, Union

import torch
from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import nn
from transformers.activations import ACT2FN

BLOCKS = ("mh_adapter", "output_adapter", "cross_adapter")  # fields that say which blocks get adapters


class OwnPeftType(str, Enum):  # noqa: UP042 — as peft's own: formatted as its name
    """Beside peft's PeftType, which is closed: peft.utils.register_peft_method refuses names that it lacks, while any
    string can be a key of peft's tables."""

    BOTTLENECK = "BOTTLENECK"


def _places(attention: str, feed_forward: str, cross_attention: str | None = None) -> Mapping[str, str]:
    """Return patterns of the paths of the modules that end blocks, by the field that gives these blocks adapters.

    Args:
        attention, feed_forward, cross_attention: names within a layer.
    """
    found = {"mh_adapter": attention, "output_adapter": feed_forward, "cross_adapter": cross_attention}
    return {field: rf"(?:.*\.)?\d+\.{re.escape(name)}" for field, name in found.items() if name}


_BERT = _places("attention.output.dense", "output.dense")
_BART = _places("self_attn.out_proj", "fc2", "encoder_attn.out_proj")
_T5 = _places("SelfAttention.o", "DenseReluDense.wo", "EncDecAttention.o")
_LLAMA = _places("self_attn.o_proj", "mlp.down_proj")
PLACES = {
    **dict.fromkeys(("bert", "camembert", "deberta", "deberta-v2", "electra", "roberta", "xlm-roberta"), _BERT),
    "distilbert": _places("attention.out_lin", "ffn.lin2"),
    "modernbert": _places("attn.Wo", "mlp.Wo"),
    **dict.fromkeys(("bart", "m2m_100", "marian", "mbart", "opt", "pegasus"), _BART),
    **dict.fromkeys(("mt5", "t5", "umt5"), _T5),
    "gpt2": _places("attn.c_proj", "mlp.c_proj"),
    **dict.fromkeys(("gemma", "llama", "mistral", "phi3", "qwen2", "qwen3", "smollm3"), _LLAMA),
}


@dataclass
class BottleneckConfig(PeftConfig):
    """Settings of bottleneck adapters. Adapters get the output of a sub-layer, as with AdapterHub's
    `original_ln_before: false`; the base's norms stay frozen, as in AdapterHub (Houlsby et al. train them).

    Raises:
        ValueError: a field's value is out of range, or no adapter would be left.
    """

    reduction_factor: float = field(
        default=16, metadata={"help": "The width of the layer's output divided by that of the bottleneck."}
    )
    non_linearity: Literal[
        "relu", "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "quick_gelu", "silu", "swish", "mish", "tanh",
        "sigmoid", "leaky_relu", "relu2", "relu6", "linear",
    ] = field(default="relu", metadata={"help": "The function between the two projections."})  # fmt: skip
    mh_adapter: bool = field(default=True, metadata={"help": "Whether attention blocks get one."})
    output_adapter: bool = field(default=True, metadata={"help": "Whether feed-forward blocks get one."})
    cross_adapter: bool = field(default=False, metadata={"help": "Whether cross-attention blocks get one."})
    scaling: float = field(default=1.0, metadata={"help": "Times which the adapter's output is added."})
    dropout: float = field(default=0.0, metadata={"help": "Dropout of the adapter's output."})
    target_modules: Optional[Union[list[str], str]] = field(  # noqa: UP007, UP045 — peft's own form
        default=None, metadata={"help": "The modules that get one after them, in place of the architecture's own."}
    )
    exclude_modules: Optional[Union[list[str], str]] = field(  # noqa: UP007, UP045
        default=None, metadata={"help": "Modules that get none."}
    )
    modules_to_save: Optional[list[str]] = field(  # noqa: UP045
        default=None, metadata={"help": "Modules that are trained in full and saved with the adapters."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = OwnPeftType.BOTTLENECK  # type: ignore[assignment]
        if self.reduction_factor <= 0:
            raise ValueError(f"reduction_factor is {self.reduction_factor}, which must be above 0")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, which must be in [0, 1)")
        if not any(getattr(self, name) for name in BLOCKS):
            raise ValueError(f"{', '.join(BLOCKS)} are all false, which leaves no adapter")


class Bottleneck(nn.Module):
    """Projects down, applies the non-linearity, and projects up by weights that start at zero.

    Args:
        width: of inputs and outputs, in features.
    """

    def __init__(self, width: int, config: BottleneckConfig) -> None:
        super().__init__()
        inner = max(1, int(width // config.reduction_factor))
        self.down, self.up = nn.Linear(width, inner), nn.Linear(inner, width)
        self.non_linearity, self.dropout = ACT2FN[config.non_linearity], nn.Dropout(config.dropout)
        self.scaling = config.scaling
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return what is added to hidden states of the same shape."""
        return self.scaling * self.dropout(self.up(self.non_linearity(self.down(hidden))))


class BottleneckLayer(nn.Module, BaseTunerLayer):
    """A layer with adapters after it."""

    adapter_layer_names = ("bottleneck_adapters",)

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: BottleneckConfig) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.bottleneck_adapters = nn.ModuleDict()
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config)

    def update_layer(self, adapter_name: str, config: BottleneckConfig) -> None:
        """Add an adapter.

        Raises:
            ValueError: the base layer's outputs have no known width.
        """
        base: Any = self.get_base_layer()
        known = (getattr(base, name, None) for name in ("out_features", "nf", "embedding_dim"))
        width = next((each for each in known if each), None)
        if width is None:
            raise ValueError(f"target_modules has a {type(base).__name__}, whose output's width is unknown; name "
                             "linear layers")  # fmt: skip
        self.bottleneck_adapters[adapter_name] = Bottleneck(width, config)
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, *args: Any, **named: Any) -> torch.Tensor:
        """Return the base layer's output with what the active adapters add to it."""
        hidden = self.base_layer(*args, **named)
        for name in () if self.disable_adapters else self.active_adapters:
            if name in self.bottleneck_adapters:
                adapter: Any = self.bottleneck_adapters[name]
                hidden = hidden + adapter(self._cast_input_dtype(hidden, adapter.up.weight.dtype)).to(hidden.dtype)
        return hidden

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Raise NotImplementedError."""
        raise NotImplementedError("a bottleneck adapter has a non-linearity, which no weights of the base equal")


class BottleneckModel(BaseTuner):
    """A model with bottleneck adapters."""

    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckLayer

    def _prepare_adapter_config(self, peft_config: Any, model_config: dict[str, Any]) -> PeftConfig:
        if peft_config.target_modules is None:
            peft_config.target_modules = "|".join(self._patterns(peft_config, model_config.get("model_type", "custom")))
        return peft_config

    def _patterns(self, config: BottleneckConfig, family: str) -> Iterator[str]:
        if family not in PLACES:
            raise ValueError(f"the blocks of {family} are unknown (known: {', '.join(sorted(PLACES))}); set "
                             "target_modules to the layers that end its attention and feed-forward blocks")  # fmt: skip
        paths = [path for path, _ in self.model.named_modules()]
        for name in (name for name in BLOCKS if getattr(config, name)):
            pattern = PLACES[family].get(name, "")
            if not any(re.fullmatch(pattern, path) for path in paths if path):
                raise ValueError(f"{name} is true, and {type(self.model).__name__} has no such blocks")
            yield pattern

    def _create_and_replace(
        self, peft_config: Any, adapter_name: str, target: Any, target_name: str, parent: nn.Module, *_: Any, **__: Any
    ) -> None:  # fmt: skip
        if isinstance(target, BottleneckLayer):
            target.update_layer(adapter_name, peft_config)
        else:
            self._replace_module(parent, target_name, BottleneckLayer(target, adapter_name, peft_config), target)


TABLES: list[tuple[dict[Any, Any], object]] = [
    (PEFT_TYPE_TO_CONFIG_MAPPING, BottleneckConfig),
    (PEFT_TYPE_TO_TUNER_MAPPING, BottleneckModel),
    (PEFT_TYPE_TO_PREFIX_MAPPING, BottleneckModel.prefix),
]
for table, entry in TABLES:
    table[OwnPeftType.BOTTLENECK] = entry
