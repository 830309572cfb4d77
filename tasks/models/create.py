"""A base and a task become a model: the head is made, and what the base lacks is all that is written."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, set_seed

from tasks.config.errors import ConfigError
from tasks.models.load import NEW, Loading, load, quiet

RNG = "rng.safetensors"


def create(
    base: Path, out: Path, loading: Loading, head: Mapping[str, Any], seed: int, pad_token_id: int | None
) -> int:
    """Write `config.json`, the new parameters and the state of torch's generator after making them.

    Equal to `set_seed(seed); AutoModel….from_pretrained(base, …)` with the head's config, so that a script of these
    two lines ends in the same weights. The generator's state lets an adapter go on drawing where the head stopped.

    Args:
        base: a folder with the base's config and weights.
        out: written into.
        head: `labels` (class names in the order of their ids, or None) and `problem_type` (or None).

    Returns:
        The number of parameters of the whole model.

    Raises:
        ConfigError: the architecture has no such head, or a layer other than the head does not fit.
    """
    quiet()
    config = AutoConfig.from_pretrained(base, trust_remote_code=loading.trust_remote_code, local_files_only=True)
    set_seed(seed)
    unquantized = Loading(
        loading.auto_model, loading.dtype, loading.attn_implementation, None, loading.trust_remote_code
    )
    try:
        model, info = load(
            base, unquantized, **head_config(head), output_loading_info=True, ignore_mismatched_sizes=True
        )  # type: ignore[misc]
    except ValueError as error:
        if "Unrecognized configuration class" not in str(error):
            raise
        raise ConfigError(f"model.name: a {config.model_type} model cannot be a {loading.auto_model}") from error
    state = torch.random.get_rng_state()
    new = {*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])}
    inside = [name for name in new if name.startswith(f"{model.base_model_prefix}.") and ".pooler." not in name]
    if inside:
        raise ConfigError(f"model.name: the base lacks weights of its own body ({', '.join(sorted(inside)[:3])}, …)")
    if pad_token_id is not None and model.config.get_text_config().pad_token_id is None:
        model.config.get_text_config().pad_token_id = pad_token_id
    model.config.save_pretrained(out)
    save_file(_new_tensors(model, new), out / NEW, metadata={"format": "pt"})
    save_file({"torch": state}, out / RNG)
    return sum(parameter.numel() for parameter in model.parameters())


def _new_tensors(model: Any, new: set[str]) -> dict[str, torch.Tensor]:
    """The parameters the base lacks; one that is tied to another is written once."""
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    kept: dict[int, tuple[str, torch.Tensor]] = {}
    for name, tensor in model.state_dict().items():
        if name in new and name not in tied:
            kept.setdefault(tensor.data_ptr(), (name, tensor.contiguous()))
    return dict(kept.values())


def head_config(head: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a model's config that say what its head is."""
    labels, problem = head["labels"], head["problem_type"]
    if labels is None and problem is None:
        return {}
    names = {} if labels is None else {
        "id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}
    }  # fmt: skip
    said = {"problem_type": problem} if problem else {}
    return {"num_labels": 1 if labels is None else len(labels), **names, **said}


def restore_rng(path: Path, seed: int) -> None:
    """Put the generators where `create` left them (Python's and numpy's are at `seed`: loading draws from neither)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.random.set_rng_state(load_file(path)["torch"])
