"""Parameter-efficient methods: a config section becomes a peft config, a model becomes a model with an adapter.

A method is one row of `METHODS`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import PreTrainedModel

from tasks.config import Lora

ADAPTER_CONFIG = "adapter_config.json"


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


def attach(model: PreTrainedModel, section: Lora, task_type: str, heads: tuple[str, ...]) -> PeftModel:
    """Return `model` with a fresh adapter and its heads trainable.

    Args:
        heads: names of modules to train and save whole, where the model has them.

    Raises:
        ValueError: `peft.target_modules` matches nothing.
    """
    here = [name for name in heads if any(child == name for child, _ in model.named_children())]
    model = _ready(model)
    return get_peft_model(model, METHODS[section.method](section, task_type, here))  # type: ignore[return-value]


def reattach(model: PreTrainedModel, folder: Path, trainable: bool) -> PeftModel:
    """Return `model` with the adapter saved in `folder`."""
    return PeftModel.from_pretrained(_ready(model) if trainable else model, folder, is_trainable=trainable)


def _ready(model: Any) -> Any:
    if getattr(model, "is_quantized", False):
        return prepare_model_for_kbit_training(model, gradient_checkpointing_kwargs={"use_reentrant": False})
    return model
