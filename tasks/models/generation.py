"""What a model generates with by itself, once it is saved."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.artifacts.formats import json

FILE = "generation_config.json"
LIMITS = {"generation_max_length": "max_length", "generation_num_beams": "num_beams"}


def write_as_scored(before: Path, target: Path, arguments: Mapping[str, Any]) -> bool:
    """Write the generation config `before`, if there is one, with the limits the model was scored with; return whether
    there are any: where nothing was generated there are none."""
    limits = {ours: arguments[theirs] for theirs, ours in LIMITS.items() if arguments.get(theirs)}
    if not (limits and arguments.get("predict_with_generate")):
        return False
    json.write({**(json.read(before) if before.is_file() else {}), **limits}, target)
    return True
