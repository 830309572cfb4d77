"""Save the trained weights."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import PreTrainedModel

from tasks.models.bases.live import save_module
from tasks.models.prompts import saving_prompt


def save_weights(
    model: PreTrainedModel | PeftModel, out: Path, extra: Mapping[str, Mapping[str, torch.Tensor]] | None = None
) -> None:
    """Write the trained parameters: `model*.safetensors`, or an adapter's, with their config, and the tensors of
    `extra` by file."""
    for name, tensors in (extra or {}).items():
        save_file(dict(tensors), out / f"{name}.safetensors")
    if isinstance(model, PreTrainedModel | PeftModel):
        with saving_prompt(model, out):
            model.save_pretrained(str(out))
    else:  # a live model of the caller's
        save_module(model, out)
        model.config.save_pretrained(out)
    for unneeded in ("README.md", "training_args.bin"):
        (out / unneeded).unlink(missing_ok=True)
    shutil.rmtree(out / "__pycache__", ignore_errors=True)
    adapter = out / "adapter_config.json"
    if adapter.exists():  # it would name a scratch folder
        config = json.loads(adapter.read_text()) | {"base_model_name_or_path": None}
        adapter.write_text(json.dumps(config, indent=2, sort_keys=True))
