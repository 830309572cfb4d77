"""Prompts that a network makes while they are trained: `p_tuning`, and `prefix_tuning` with `prefix_projection`.

peft saves the vectors that the network makes, which is all that is needed to use them. To go on training, the network
is saved beside them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file, save_file

from tasks.models.bases.files import ADAPTER_WEIGHTS, PROMPT_ENCODER


def prompt_encoder(model: Any) -> torch.nn.Module | None:
    """Return the network that makes a model's prompt; None for other models, and for a prompt loaded to be used."""
    encoders = getattr(model, "prompt_encoder", None) if isinstance(model, PeftModel) else None
    encoder = encoders[model.active_adapter] if encoders else None
    return encoder if encoder is not None and len([*encoder.parameters()]) > 1 else None


@contextmanager
def saving_prompt(model: Any, folder: Path) -> Iterator[None]:
    """Write the network that makes the prompt of `model`, if there is one, to `folder`. Within, where peft saves the
    model, the network makes the vectors without dropout."""
    encoder = prompt_encoder(model)
    if encoder is None:
        yield
        return
    training = encoder.training
    encoder.eval()
    yield
    encoder.train(training)
    save_file({name: each.cpu().contiguous() for name, each in encoder.state_dict().items()}, folder / PROMPT_ENCODER)


def load_prompt(model: Any, folder: Path) -> None:
    """Load the prompt saved in `folder`, and the head saved with it, to go on training."""
    saved, encoder = load_file(folder / ADAPTER_WEIGHTS), prompt_encoder(model)
    whole = load_file(folder / PROMPT_ENCODER) if encoder is not None else {}
    if encoder is not None:  # what peft loads as the network's first layer is what the network made
        saved["prompt_embeddings"] = whole["embedding.weight"]
    set_peft_model_state_dict(model, saved)
    if encoder is not None:
        encoder.load_state_dict(whole)
