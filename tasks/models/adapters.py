"""Parameter-efficient methods: a config section becomes a peft config, a model becomes a model with an adapter.

A method is one row of `METHODS`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tasks.config import Lora
from tasks.config.reading.names import nearest


def _lora(section: Lora, task_type: str, heads: list[str]) -> PeftConfig:
    return LoraConfig(
        task_type=task_type,
        r=section.r or 8,
        lora_alpha=section.lora_alpha or 16,  # type: ignore[arg-type] — peft scales by floats too
        lora_dropout=section.lora_dropout or 0.0,
        target_modules=section.target_modules,
        modules_to_save=section.modules_to_save if section.modules_to_save is not None else heads or None,
        # `all-linear` would wrap the head, which is then neither saved whole nor trained whole.
        exclude_modules=heads if section.target_modules == "all-linear" and heads else None,
        bias=section.bias,
        use_rslora=section.use_rslora,
        use_dora=section.use_dora,
        init_lora_weights=section.init_lora_weights,  # type: ignore[arg-type]
    )


METHODS: Mapping[str, Callable[..., PeftConfig]] = {"lora": _lora}


def heads_of(model: PreTrainedModel, new: Iterable[str]) -> list[str]:
    """The modules to train and save whole beside an adapter: a task's head, and whatever the base lacks.

    Args:
        new: names of the parameters the base lacks; some may lie within its body (a pooler).
    """
    among = getattr(model, "heads_among", None)
    if callable(among):
        return list(among(new))  # type: ignore[arg-type]
    names, body = list(new), model.base_model_prefix
    output = model.get_output_embeddings()
    has_body = any(name == body for name, _ in model.named_children())

    def is_head(name: str, child: Any) -> bool:
        if name == body or not any(True for _ in child.parameters()):
            return False
        fresh = any(each.startswith(f"{name}.") for each in names)
        # a language model's own output layer is trained through the adapter, as all its layers are
        return fresh or (has_body and not any(module is output for module in child.modules()))

    outside = [name for name, child in model.named_children() if is_head(name, child)]
    within = {name.rpartition(".")[0] for name in names if name.startswith(f"{body}.")}
    return [*outside, *sorted(within)]


def attach(model: PreTrainedModel, section: Lora, task_type: str, heads: list[str]) -> PeftModel:
    """Return `model` with a fresh adapter and its `heads` trainable.

    Raises:
        ValueError: `peft.target_modules` matches nothing, or has a name that does; the valid ones are listed.
    """
    _refuse_unknown(model, section.target_modules)
    config = METHODS[section.method](section, task_type, heads)
    return get_peft_model(_ready(model), config)  # type: ignore[return-value]


def _refuse_unknown(model: PreTrainedModel, targets: str | list[str]) -> None:
    """peft passes over names that match no layer as long as another does."""
    paths = [name for name, _ in model.named_modules()]
    layers = dict.fromkeys(name.rpartition(".")[2] for name, layer in model.named_modules() if _can_adapt(layer))
    if isinstance(targets, str):
        unknown = (
            targets if targets != "all-linear" and not any(re.fullmatch(targets, path) for path in paths) else None
        )
    else:
        known = {path for path in paths if path}
        unknown = next((each for each in targets if not any(f".{path}".endswith(f".{each}") for path in known)), None)
    if unknown is not None:
        guess = nearest(unknown, layers)
        raise ValueError(f"{unknown!r} is no layer of {type(model).__name__}; valid are {', '.join(layers)}, or "
                         f"all-linear{f'; did you mean {guess!r}?' if guess else ''}")  # fmt: skip


def _can_adapt(layer: Any) -> bool:
    return isinstance(layer, torch.nn.Linear | torch.nn.Embedding | torch.nn.Conv1d | Conv1D)


def dropped_inputs(model: Any) -> int:
    """Values a token has at the inputs of all adapted layers, each of which keeps what its dropout made of them."""
    layers = (module for module in model.modules() if getattr(module, "lora_dropout", None))
    return sum(layer.in_features for layer in layers
               if any(getattr(each, "p", 0) for each in layer.lora_dropout.values()))  # fmt: skip


def reattach(model: PreTrainedModel, folder: Path, trainable: bool) -> PeftModel:
    """Return `model` with the adapter saved in `folder`."""
    return PeftModel.from_pretrained(_ready(model), folder, is_trainable=trainable)


def _ready(model: Any) -> Any:
    """A quantized model computes its norms and head in float32, in training and after it alike; whether activations
    are checkpointed is the Trainer's business."""
    if getattr(model, "is_quantized", False):
        return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return model
