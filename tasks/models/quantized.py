"""Which layers bitsandbytes quantizes, and what they take in memory; without importing it."""

from collections.abc import Iterable

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.quantizers_utils import should_convert_module

from tasks.config import QuantConfig
from tasks.config.errors import ConfigError
from tasks.models.heads import heads_of

BLOCK, NESTED = 64, 256  # weights with a common scale in 4 bits, and such scales with a common one


def spared_modules(model: PreTrainedModel, new: Iterable[str], kept: Iterable[str]) -> list[str]:
    """Return the modules that stay in full precision: heads, which are trained, and the layer that makes logits, which
    often is the embedding too.

    Args:
        new: names of the parameters that the base lacks. kept: modules that are trained in full beside an adapter.
    """
    output = model.get_output_embeddings()
    return sorted({*heads_of(model, new), *kept, *(name for name, layer in model.named_modules() if layer is output)})


def quantized_weights(model: PreTrainedModel, spared: Iterable[str]) -> int:
    """Return the number of weights that transformers quantizes when it loads this (unquantized) model.

    Raises:
        ConfigError: there are none.
    """
    excluded = [*spared, *(model._keep_in_fp32_modules or ())]
    count = sum(layer.weight.numel() for name, layer in model.named_modules()
                if (type(layer) is torch.nn.Linear or isinstance(layer, Conv1D))
                and should_convert_module(name, excluded))  # fmt: skip
    if not count:
        raise ConfigError(f"quant: no layer of {type(model).__name__} can be quantized; set quant: false")
    return count


def bytes_of(weights: int, quant: QuantConfig) -> int:
    """Return the memory of quantized weights and their scales (QLoRA: Dettmers et al. 2023, section 3)."""
    if quant.bits == 8:
        return weights
    scale = 1 + 4 / NESTED if quant.bnb_4bit_use_double_quant else 4
    return int(weights * (0.5 + scale / BLOCK))
