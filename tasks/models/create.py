"""Create a model from a base and a task: add the head, and write only the parameters that the base lacks."""

import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedConfig, PreTrainedModel, set_seed

from tasks.config.errors import ConfigError
from tasks.config.json_types import JsonObject
from tasks.models.bases.files import INSIDE, MERGED
from tasks.models.bases.live import check_width
from tasks.models.folding import Folded, fold, parts_of
from tasks.models.heads import HeadChange, fit
from tasks.models.load import NEW, Loading, config_of, load, quiet
from tasks.models.quantized import quantized_weights, spared_modules

RNG = "rng.safetensors"


@dataclass(frozen=True)
class Created:
    """The result of `create`.

    Attributes:
        parameters: of the whole model. quantized: those that are quantized when it is loaded for training.
        spared: modules that are not; empty without quantization.
        unused: tensors of the base's adapter that do not fit the model.
        head: what was done with the base's head; None for tasks without classes or a number.
        resized: whether its embeddings were enlarged for its tokenizer.
        logits: logits per token (its vocabulary); 0 if it only returns some per row.
    """

    parameters: int
    quantized: int
    spared: list[str]
    unused: list[str]
    head: HeadChange | None
    resized: bool = False
    logits: int = 0


def create(
    base: Path, out: Path, loading: Loading, head: Mapping[str, Any], seed: int, pad_token_id: int | None,
    vocabulary: int = 0, merge: bool = True,
) -> Created:  # fmt: skip
    """Write `config.json`, the new parameters (also a head whose rows were matched to the classes) and the state of
    torch's generator after making them; for a base with an adapter, or with too few embeddings for its tokenizer, also
    the parameters that merging or resizing changes.

    Equivalent to `set_seed(seed); AutoModel….from_pretrained(base, …)` with the head's config, so that a script with
    these two lines (and one to merge an adapter or resize embeddings) ends with the same weights; a head of other
    classes is initialized as if the base had none. The generator's state lets an adapter continue drawing after the
    head.

    Args:
        base: a folder with the base's config and weights; its adapter in `adapter/`.
        out: output folder.
        head: `labels` (class names in the order of their ids, or None) and `problem_type` (or None).
        vocabulary: the number of embeddings that the tokenizer's ids need.
        merge: whether to merge the base's adapter; if not, only its head is used.

    Raises:
        ConfigError: the architecture has no such head, another layer does not fit, or none can be quantized.
    """
    quiet()
    config = config_of(base, loading.trust_remote_code)
    set_seed(seed)
    model, info = _load_base(base, loading, head, config)
    if loading.code is not None and head["problem_type"] != "regression" and head["labels"]:
        check_width(model, len(head["labels"]))
    folded = fold(model, base / INSIDE, merge) if (base / INSIDE).exists() else Folded(set(), [])
    new = {*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])}
    inside = [name for name in new if name.startswith(f"{model.base_model_prefix}.") and ".pooler." not in name]
    if inside:
        raise ConfigError(f"model.name: the base lacks weights of its own body ({', '.join(sorted(inside)[:3])}, …)")
    fitted = None if loading.code is not None else _fit_head(model, head, config, info, folded.changed)
    new |= fitted.changed if fitted is not None else set()
    new |= folded.changed if not merge else set()
    resized = _resized(model, vocabulary, ":" in loading.auto_model)
    state = torch.random.get_rng_state()
    settings = model.config.get_text_config()
    # A classifier on a decoder reads the last token that is not the config's padding; rows are padded by the tokenizer.
    is_read = "SequenceClassification" in loading.auto_model
    if pad_token_id is not None and (is_read or getattr(settings, "pad_token_id", None) is None):
        settings.pad_token_id = pad_token_id
    model.config.save_pretrained(out)
    save_file(_tensors(model, new), out / NEW, metadata={"format": "pt"})
    if changed := _tensors(model, (folded.changed | resized) - new):
        save_file(changed, out / MERGED, metadata={"format": "pt"})
    save_file({"torch": state}, out / RNG)
    spared = spared_modules(model, new, loading.spared) if loading.quantization else []
    quantized = quantized_weights(model, spared) if loading.quantization else 0
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Created(parameters, quantized, spared, folded.unused, fitted, bool(resized), logits_of(model))


def logits_of(model: PreTrainedModel) -> int:
    """Return a model's logits per token: its vocabulary size, or 0."""
    outputs: list[Any] = [getattr(part, "get_output_embeddings", lambda: None)() for _, part in parts_of(model)]
    return max((each.weight.shape[0] for each in outputs if hasattr(each, "weight")), default=0)


def _load_base(
    base: Path, loading: Loading, head: Mapping[str, Any], config: PreTrainedConfig
) -> tuple[Any, dict[str, Any]]:
    """Return the unquantized base with the head's config, and its missing or mismatched parameters. A base to quantize
    has its own precision, into which an adapter can be merged."""
    dtype = "auto" if loading.quantization else loading.dtype
    plain = replace(loading, dtype=dtype, quantization=None, code=None)
    more = {**head_config(head), **_causal_fields(config, loading.auto_model)}
    try:
        return load(base, plain, **more, output_loading_info=True, ignore_mismatched_sizes=True)  # type: ignore[return-value]
    except ValueError as error:
        raise no_such_head(error, config, loading.auto_model) from error


def no_such_head(error: ValueError, config: PreTrainedConfig, auto_model: str) -> Exception:
    """Return what to raise for a library's `error`: a ConfigError, if the architecture lacks the head."""
    if "Unrecognized configuration class" not in str(error):
        return error
    return ConfigError(f"model.name: a {config.model_type} model cannot be a {auto_model}")


def _resized(model: PreTrainedModel, vocabulary: int, fixed: bool) -> set[str]:
    """Enlarge a model's embeddings to its tokenizer's ids, if needed; return the names of the enlarged parameters.

    Args:
        fixed: whether it is a live model of the caller's, or a composite.

    Raises:
        ConfigError: embeddings are missing, and the model is `fixed`.
    """
    embeddings: list[Any] = []
    for _, part in parts_of(model):
        with suppress(NotImplementedError, AttributeError):  # a caller's class may not have get_input_embeddings
            embeddings.append(part.get_input_embeddings())
    rows = min((each.weight.shape[0] for each in embeddings if hasattr(each, "weight")), default=vocabulary)
    if vocabulary <= rows:
        return set()
    if fixed:
        raise ConfigError(f"model.name: its tokenizer has {vocabulary} tokens, and the model {rows} embeddings; save "
                          "it after model.resize_token_embeddings(len(tokenizer))")  # fmt: skip
    before = {name: tensor.shape for name, tensor in model.state_dict().items()}
    model.resize_token_embeddings(vocabulary)
    return {name for name, tensor in model.state_dict().items() if tensor.shape != before.get(name)}


def _fit_head(
    model: PreTrainedModel, head: Mapping[str, Any], base: PreTrainedConfig, info: Mapping[str, Any], adapted: set[str]
) -> HeadChange | None:
    """Fit the base's head and the config's class names to the classes, or to a number; leave other heads unchanged."""
    if not (head["labels"] or head["problem_type"] == "regression") or not hasattr(model, "num_labels"):
        return None
    mismatched = {name: shape[0] for name, shape, _ in info["mismatched_keys"]}
    fitted = fit(model, head["labels"], base, {*info["missing_keys"], *mismatched}, mismatched, adapted)
    model.config.update(head_config({**head, "labels": fitted.labels}))
    return fitted


def _causal_fields(config: PreTrainedConfig, auto_model: str) -> dict[str, bool]:
    """Return the config fields that make an encoder causal; without them it sees the tokens it must predict, and learns
    to copy.

    Raises:
        ConfigError: the architecture cannot be causal.
    """
    if auto_model != "AutoModelForCausalLM" or getattr(config, "is_encoder_decoder", False):
        return {}
    if config.model_type == "xlnet":
        raise ConfigError("model.name: an xlnet model attends to later tokens, so it cannot learn to continue a text; "
                          "use a decoder (GPT-2, Llama, …), or task: language-modeling with a masked one")  # fmt: skip
    return {name: True for name in ("is_decoder", "causal") if getattr(config, name, None) is False}


def _tensors(model: torch.nn.Module, new: set[str]) -> dict[str, torch.Tensor]:
    """Return the parameters of these names; of tied ones only one."""
    tied, state = getattr(model, "all_tied_weights_keys", None) or {}, model.state_dict()
    kept: dict[int, tuple[str, torch.Tensor]] = {}
    for name, tensor in state.items():
        if name in new and (name not in tied or state[tied[name]].data_ptr() != tensor.data_ptr()):
            kept.setdefault(tensor.data_ptr(), (name, tensor.contiguous()))
    return dict(kept.values())


def head_config(head: Mapping[str, Any]) -> JsonObject:
    """Return the fields of a model's config that describe its head."""
    labels, problem = head["labels"], head["problem_type"]
    if labels is None and problem is None:
        return {}
    names = {} if labels is None else {
        "id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}
    }  # fmt: skip
    problem_type = {"problem_type": problem} if problem else {}
    return {"num_labels": 1 if labels is None else len(labels), **names, **problem_type}


def restore_rng(path: Path, seed: int) -> None:
    """Restore the random generators to their state after `create` (Python's and numpy's are at `seed`: loading uses
    neither)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.random.set_rng_state(load_file(path)["torch"])
