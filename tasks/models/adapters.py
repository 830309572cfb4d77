"""Parameter-efficient methods: a config section becomes a peft config, a model becomes a model with an adapter."""

import re
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from peft import (
    AdaLoraModel,
    PeftConfig,
    PeftModel,
    get_peft_model,
    prepare_model_for_kbit_training,
)
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils import ModulesToSaveWrapper
from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

import tasks.models.bottleneck  # noqa: F401 — adds its method to peft's
from tasks.config import Adapter, ConfigError, Lora
from tasks.config.json_types import JsonObject
from tasks.config.reading.names import nearest
from tasks.config.tuners import LENGTHENING
from tasks.models.prompts import load_prompt
from tasks.models.sharing import unshare

ALL_LINEAR = "all-linear"
CHOOSING = ("bottleneck", "trainable_tokens")  # tuners that find their layers in any model, or refuse it
# What peft raises for options that do not fit each other, or the sizes of the model's layers.
REFUSALS = (ValueError, TypeError, KeyError, AttributeError, RuntimeError, NotImplementedError, AssertionError,
            ZeroDivisionError, ImportError)  # fmt: skip


def _peft_config(
    model: PreTrainedModel, section: Adapter, task_type: str, heads: list[str], tokenizer: Path | None
) -> PeftConfig:
    """Return the config of an adapter to `model`, whose `heads` are trained in full."""
    options = _lora(section, heads) if isinstance(section, Lora) else _other(model, section, tokenizer)
    saved: list[str] = list(dict.fromkeys([*heads, *(section.modules_to_save or [])]))
    if saved and "modules_to_save" not in section.tuner.fields:
        raise ConfigError(f"peft.method: {section.method} cannot train the new head ({', '.join(saved)}) beside it; "
                          "choose another method")  # fmt: skip
    if saved:
        options["modules_to_save"] = saved
    made: Any = PEFT_TYPE_TO_CONFIG_MAPPING[section.method.upper()]  # type: ignore[index] — our own are strings too
    return made(task_type=peft_class(task_type, section.tuner.is_prompt), **options)


def peft_class(task_type: str, is_prompt: bool) -> str | None:
    """Return the `task_type` of an adapter's config, by which peft chooses the class around the model.

    Its class for question answering drops `token_type_ids`: a model would be trained and scored without them, and
    compute something else once merged. Its general class passes all inputs on, but has no prompts.
    """
    return None if task_type == "QUESTION_ANS" and not is_prompt else task_type


def _lora(section: Lora, heads: list[str]) -> JsonObject:
    return {
        "r": section.r or 8,
        "lora_alpha": section.lora_alpha or 16,
        "lora_dropout": section.lora_dropout or 0.0,
        "target_modules": section.target_modules,
        # peft excludes them too, as they are in `modules_to_save`
        "exclude_modules": heads if section.target_modules == ALL_LINEAR and heads else None,
        "bias": section.bias,
        "use_rslora": section.use_rslora,
        "use_dora": section.use_dora,
        "init_lora_weights": section.init_lora_weights,
        **section.options,
    }


def _other(model: PreTrainedModel, section: Adapter, tokenizer: Path | None) -> JsonObject:
    options = section.options
    if "progressbar" in section.tuner.fields:
        options.setdefault("progressbar", False)
    if "total_step" in section.tuner.fields:  # until a plan says how many
        options["total_step"] = 1 + options.get("tinit", 0) + options.get("tfinal", 0)
    if options.get("prompt_tuning_init") == "TEXT":
        as_text = {"tokenizer_name_or_path": str(tokenizer)}
        options |= as_text if tokenizer else {"prompt_tuning_init": "RANDOM"}
    forwards = [signature(each.forward).parameters for each in (model, model.base_model)]
    if section.method == "prefix_tuning" and not any("past_key_values" in names for names in forwards):
        raise ConfigError(f"peft.method: prefix_tuning puts a prefix into a cache (past_key_values), and "
                          f"{type(model).__name__} has none; use prompt_tuning or lora")  # fmt: skip
    if section.method in LENGTHENING and hasattr(model, "score"):
        # A classifier on a decoder finds padding by ids, and gets vectors instead.
        raise ConfigError(f"peft.method: with {section.method}, {type(model).__name__} would score the last position "
                          "of a batch, which may be padding; use prefix_tuning or lora")  # fmt: skip
    if section.tuner.is_prompt:
        sizes = {"token_dim": "hidden_size", "num_attention_heads": "num_attention_heads",
                 "num_layers": "num_hidden_layers"}  # fmt: skip
        known = {name: value for name, theirs in sizes.items() if (value := getattr(model.config, theirs, None))}
        return {**options, "num_virtual_tokens": section.virtual_tokens, **known}
    if section.target_modules is not None:
        return {**options, "target_modules": section.target_modules}
    kind: Any = PEFT_TYPE_TO_TUNER_MAPPING[section.method.upper()]  # type: ignore[index]
    chosen = getattr(kind, "target_module_mapping", TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING)
    family = model.config.model_type
    if family in chosen or section.method in CHOOSING:
        return options
    if "feedforward_modules" in section.tuner.fields:
        raise ConfigError(f"peft.target_modules: {section.method} has no usual layers for {family}; set "
                          "peft.target_modules and peft.feedforward_modules")  # fmt: skip
    return {**options, "target_modules": _norms(model) if section.method == "ln_tuning" else ALL_LINEAR}


def _norms(model: PreTrainedModel) -> list[str]:
    """Return the paths of the normalization layers."""
    named = [(name, layer) for name, layer in model.named_modules() if type(layer).__name__.endswith("Norm")]
    return [name for name, layer in named if _has_weights(layer)]


def attach(
    model: PreTrainedModel, section: Adapter, task_type: str, heads: list[str], tokenizer: Path | None = None
) -> PeftModel:
    """Return `model` with a fresh adapter and its `heads` trainable.

    Args:
        tokenizer: folder of the tokenizer for a prompt that starts as text; without it, such a prompt starts at random.

    Raises:
        ConfigError: `peft.target_modules` matches nothing, or has a name that does; the valid ones are listed. peft
            refuses an option, alone or for this model.
    """
    targets = section.target_modules
    if targets is not None:
        _refuse_unknown(model, targets, section.method == "lora")
    try:
        config: Any = _peft_config(model, section, task_type, heads, tokenizer)
        adapted = wrapped(model, config)
    except REFUSALS as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"peft: {section.method} does not fit {type(model).__name__} with these options: "
                          f"{reason or type(error).__name__}") from error  # fmt: skip
    if hasattr(config, "prompt_tuning_init"):  # a prompt that is loaded is not initialized again
        config.prompt_tuning_init, config.tokenizer_name_or_path = "RANDOM", None
    return adapted


def _refuse_unknown(model: PreTrainedModel, targets: str | list[str], linear_only: bool) -> None:
    """peft passes over names that match no layer as long as another does."""
    paths = [name for name, _ in model.named_modules() if name]
    fits = _can_adapt if linear_only else _has_weights
    layers = dict.fromkeys(name.rpartition(".")[2] for name, layer in model.named_modules() if name and fits(layer))
    if isinstance(targets, str):
        try:
            found = targets == ALL_LINEAR or any(re.fullmatch(targets, path) for path in paths)
        except re.error as error:
            raise ConfigError(f"peft.target_modules: {targets!r} is no valid regular expression: {error}") from error
        unknown = None if found else targets
    else:
        unknown = next((each for each in targets if not any(f".{path}".endswith(f".{each}") for path in paths)), None)
    if unknown is not None:
        guess = nearest(unknown, layers)
        raise ConfigError(f"peft.target_modules: {unknown!r} is no layer of {type(model).__name__}; valid are "
                          f"{', '.join(layers)}, or all-linear"
                          + (f"; did you mean {guess!r}?" if guess else ""))  # fmt: skip


def _has_weights(layer: torch.nn.Module) -> bool:
    return any(True for _ in layer.parameters(recurse=False))


def merged(model: PeftModel) -> PreTrainedModel:
    """Return the base with the adapter merged into its weights, and with the modules that were trained in full.

    Raises:
        NotImplementedError: the method changes more than weights, so that nothing can be merged.
    """
    if not hasattr(model.base_model, "merge_and_unload"):  # a prompt
        raise NotImplementedError("trained vectors before the input cannot be merged into weights")
    inner: Any = model.get_base_model()
    # peft's merge_and_unload fails on some methods' modules with children
    for path, module in list(inner.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            parent, _, name = path.rpartition(".")
            setattr(inner.get_submodule(parent), name, module.unload_and_optionally_merge_module(True, False, None))
    whole: Any = model.base_model.merge_and_unload()  # type: ignore[operator]
    unshare(whole)
    return whole


def _can_adapt(layer: Any) -> bool:
    return isinstance(layer, torch.nn.Linear | torch.nn.Embedding | torch.nn.Conv1d | Conv1D)


def dropped_inputs(model: Any) -> int:
    """Values a token has at the inputs of all adapted layers, each of which keeps what its dropout made of them."""
    layers = (module for module in model.modules() if getattr(module, "lora_dropout", None))
    return sum(layer.in_features for layer in layers
               if any(getattr(each, "p", 0) for each in layer.lora_dropout.values()))  # fmt: skip


def reattach(model: PreTrainedModel, folder: Path, trainable: bool) -> PeftModel:
    """Return `model` with the adapter saved in `folder`."""
    config = PeftConfig.from_pretrained(str(folder))
    if not (trainable and config.is_prompt_learning):
        return _usable(PeftModel.from_pretrained(_ready(model), folder, is_trainable=trainable))
    config.inference_mode = False  # peft loads prompts only for inference
    adapted = wrapped(model, config)
    load_prompt(adapted, folder)
    return adapted


def wrapped(model: PreTrainedModel, config: PeftConfig) -> PeftModel:
    """Return `model` with a fresh adapter of this config."""
    return _usable(get_peft_model(_ready(model), config))


def _usable(model: Any) -> PeftModel:
    """peft's AdaLoRA adds a penalty to each loss, also in evaluation, and fails if it is not trainable. Here a training
    hook adds it."""
    if isinstance(model.base_model, AdaLoraModel):
        model.base_model.forward = model.base_model.model.forward
    return model


def _ready(model: Any) -> Any:
    """Prepare a quantized model, in training and after it alike: its norms and head compute in float32. Whether
    activations are checkpointed is up to the Trainer."""
    if not getattr(model, "is_quantized", False):
        return model
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):  # its eval mode packs weights for a kernel without gradients
            layer.support_avx512bf16_for_cpu = False
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
