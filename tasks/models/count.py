"""Count a model's parameters and trainable parameters from its architecture alone: torch's meta device loads no weights
and uses no memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from tasks.artifacts.formats import weights
from tasks.config import ConfigError, ContinuePeft, Lora, NoPeft, PeftConfig
from tasks.models.adapters import attach, dropped_inputs
from tasks.models.bases.files import ADAPTER_CONFIG, INSIDE
from tasks.models.create import head_config, logits_of, no_such_head
from tasks.models.folding import continued, heads_in, parts_of
from tasks.models.heads import heads_of
from tasks.models.load import config_of, model_class, quiet
from tasks.models.quantized import quantized_weights, spared_modules


@dataclass(frozen=True)
class Counts:
    """Sizes of a model.

    Attributes:
        parameters: in total; tied ones count once. trainable: those the optimizer gets.
        logits: logits per token (its vocabulary); 0 if it only returns some per row.
        quantized: parameters that are quantized.
        dropped: input features per token of adapted layers with dropout, which keep a copy of their inputs.
    """

    parameters: int
    trainable: int
    logits: int
    quantized: int = 0
    dropped: int = 0


def count(
    folder: Path, base: Mapping[str, Path], loading: Mapping[str, Any], head: Mapping[str, Any], peft: PeftConfig,
    task_type: str, look: Callable[[torch.nn.Module], object] = lambda model: None,
) -> Counts:  # fmt: skip
    """Build the model (and its adapter) without weights, and count.

    Args:
        folder: with the base's `config.json`. base: its files by name. loading: fields of `Loading`, and `quantized`,
            whether the base is. head: of stage 4.
        look: called with the model.

    Raises:
        ConfigError: the architecture has no such head; no layer can be quantized; what `attach` raises.
    """
    quiet()
    trusted = bool(loading.get("trust_remote_code"))
    config = config_of(folder, trusted)
    for name, value in head_config(head).items():
        setattr(config, name, value)
    more = {"trust_remote_code": True} if trusted else {}
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        try:
            model = model_class(loading["auto_model"]).from_config(config, **more)
        except ValueError as error:
            raise no_such_head(error, config, loading["auto_model"]) from error
        parameters, logits = _size(model), logits_of(model)
        if isinstance(peft, NoPeft):
            look(model)
            return Counts(parameters, parameters, logits)
        new = _missing(model, base)
        if isinstance(peft, ContinuePeft):
            if INSIDE + ADAPTER_CONFIG not in base:
                raise ConfigError("peft.method: continue trains the adapter in model.name's folder on, and there is "
                                  "none; set model.name to an adapter's folder, or another method")  # fmt: skip
            new |= heads_in(base[INSIDE + ADAPTER_CONFIG].parent, model)
        spared = spared_modules(model, new, getattr(peft, "modules_to_save", None) or ())
        quantized = quantized_weights(model, spared) if loading.get("quantized") else 0
        if isinstance(peft, ContinuePeft):
            adapted = continued(model, base[INSIDE + ADAPTER_CONFIG].parent, task_type, heads_of(model, new))
        else:  # other initializations are computed from weights
            drawn = peft.model_copy(update={"init_lora_weights": True}) if isinstance(peft, Lora) else peft
            adapted = attach(model, drawn, task_type, heads_of(model, new))
    look(adapted)
    trainable = sum(each.numel() for each in adapted.parameters() if each.requires_grad)
    return Counts(parameters, trainable, logits, quantized, dropped_inputs(adapted))


def _size(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _missing(model: PreTrainedModel, base: Mapping[str, Path]) -> set[str]:
    """Return the parameters that are neither in the base's files (with or without the body's prefix) nor tied to one
    that is."""
    held = {name for file, path in base.items() if file.endswith(".safetensors") for name in weights.header(path)}
    state, known = model.state_dict(keep_vars=True), set()
    for _, part in parts_of(model):
        body = f"{getattr(part, 'base_model_prefix', '')}."
        for name, tensor in part.state_dict(keep_vars=True).items():
            if {name, name.removeprefix(body), body + name} & held:
                known.add(id(tensor))
    return {name for name, tensor in state.items() if id(tensor) not in known}
