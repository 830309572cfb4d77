"""Save the trained weights."""

import json
import shutil
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel

from tasks.models.bases.live import save_module
from tasks.models.prompts import saving_prompt


def save_weights(model: PreTrainedModel | PeftModel, out: Path) -> None:
    """Write the trained parameters: `model*.safetensors`, or an adapter's, with their config."""
    if isinstance(model, PreTrainedModel | PeftModel):
        with saving_prompt(model, out):
            model.save_pretrained(str(out))
    else:  # a live model of the caller's
        save_module(model, out)
        model.config.save_pretrained(out)
    for extra in ("README.md", "training_args.bin"):
        (out / extra).unlink(missing_ok=True)
    shutil.rmtree(out / "__pycache__", ignore_errors=True)
    adapter = out / "adapter_config.json"
    if adapter.exists():  # it would name a scratch folder
        config = json.loads(adapter.read_text()) | {"base_model_name_or_path": None}
        adapter.write_text(json.dumps(config, indent=2, sort_keys=True))
