"""What a model generates with by itself, once it is saved."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.artifacts.formats import json

FILE = "generation_config.json"
LIMITS = {"generation_max_length": "max_length", "generation_num_beams": "num_beams"}


def write_as_scored(before: Path | None, config: Path, target: Path, arguments: Mapping[str, Any]) -> bool:
    """Write a generation config with the limits the model was scored with; return whether there are any: where nothing
    was generated there are none.

    Args:
        before: the one it has; None if it has none: then what the model's `config` says, as transformers does.
    """
    limits = {ours: arguments[theirs] for theirs, ours in LIMITS.items() if arguments.get(theirs)}
    if not (limits and arguments.get("predict_with_generate")):
        return False
    json.write({**(json.read(before) if before else _of_model(config)), **limits}, target)
    return True


def _of_model(config: Path) -> dict[str, Any]:
    from transformers import GenerationConfig, PreTrainedConfig

    found = GenerationConfig.from_model_config(PreTrainedConfig.from_dict(json.read(config)))
    return found.to_diff_dict()
