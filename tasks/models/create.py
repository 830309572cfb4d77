"""A base and a task become a model: the head is made, and what the base lacks is all that is written."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import set_seed

from tasks.config.errors import ConfigError
from tasks.models.files import INSIDE, MERGED
from tasks.models.folding import Folded, fold
from tasks.models.live import check_width
from tasks.models.load import NEW, Loading, config_of, load, quiet

RNG = "rng.safetensors"


@dataclass(frozen=True)
class Created:
    """What was made.

    Attributes:
        parameters: of the whole model. new: the modules that the base lacks.
        unused: what of the base's adapter found no place in it.
    """

    parameters: int
    new: list[str]
    unused: list[str]


def create(
    base: Path, out: Path, loading: Loading, head: Mapping[str, Any], seed: int, pad_token_id: int | None
) -> Created:
    """Write `config.json`, the new parameters and the state of torch's generator after making them; of a base with an
    adapter also the parameters that change when it is merged.

    Equal to `set_seed(seed); AutoModel….from_pretrained(base, …)` with the head's config, so that a script of these
    two lines ends in the same weights (of three, where an adapter is merged). The generator's state lets an adapter go
    on drawing where the head stopped.

    Args:
        base: a folder with the base's config and weights; its adapter in `adapter/`.
        out: written into.
        head: `labels` (class names in the order of their ids, or None) and `problem_type` (or None).

    Raises:
        ConfigError: the architecture has no such head, or a layer other than the head does not fit.
    """
    quiet()
    config = config_of(base, loading.trust_remote_code)
    set_seed(seed)
    unquantized = Loading(
        loading.auto_model, loading.dtype, loading.attn_implementation, None, loading.trust_remote_code
    )
    try:
        model, info = load(
            base,
            unquantized,
            **head_config(head),
            **_looking_back(config, loading.auto_model),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )  # type: ignore[misc]
    except ValueError as error:
        if "Unrecognized configuration class" not in str(error):
            raise
        raise ConfigError(f"model.name: a {config.model_type} model cannot be a {loading.auto_model}") from error
    if loading.code is not None and head["problem_type"] != "regression" and head["labels"]:
        check_width(model, len(head["labels"]))
    folded = fold(model, base / INSIDE) if (base / INSIDE).exists() else Folded(set(), [])
    state = torch.random.get_rng_state()
    new = {*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])}
    inside = [name for name in new if name.startswith(f"{model.base_model_prefix}.") and ".pooler." not in name]
    if inside:
        raise ConfigError(f"model.name: the base lacks weights of its own body ({', '.join(sorted(inside)[:3])}, …)")
    if pad_token_id is not None and getattr(model.config.get_text_config(), "pad_token_id", None) is None:
        model.config.get_text_config().pad_token_id = pad_token_id
    model.config.save_pretrained(out)
    save_file(_tensors(model, new), out / NEW, metadata={"format": "pt"})
    if changed := _tensors(model, folded.changed - new):
        save_file(changed, out / MERGED, metadata={"format": "pt"})
    save_file({"torch": state}, out / RNG)
    modules = sorted({name.rpartition(".")[0] for name in new})
    return Created(sum(parameter.numel() for parameter in model.parameters()), modules, folded.unused)


def _looking_back(config: Any, auto_model: str) -> dict[str, bool]:
    """What of an encoder's config must be set for it to see no token before its time, as a causal model must: else it
    is shown what it is to predict, and learns to copy.

    Raises:
        ConfigError: an architecture that cannot.
    """
    if auto_model != "AutoModelForCausalLM" or getattr(config, "is_encoder_decoder", False):
        return {}
    if config.model_type == "xlnet":
        raise ConfigError("model.name: an xlnet model looks ahead, so it cannot learn to go on with a text; use a "
                          "decoder (GPT-2, Llama, …), or task: language-modeling with a masked model")  # fmt: skip
    return {name: True for name in ("is_decoder", "causal") if getattr(config, name, None) is False}


def _tensors(model: Any, new: set[str]) -> dict[str, torch.Tensor]:
    """The parameters of these names; one that is tied to another is written once."""
    tied, state = getattr(model, "all_tied_weights_keys", None) or {}, model.state_dict()
    kept: dict[int, tuple[str, torch.Tensor]] = {}
    for name, tensor in state.items():
        if name in new and (name not in tied or state[tied[name]].data_ptr() != tensor.data_ptr()):
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
