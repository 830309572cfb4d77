"""What each technique would train, as `finetune plan --json` states it: `tests/golden/plans.json`.

It changes only in a commit that says why. After such a change:

    FINETUNE_GOLDEN=1 pytest tests/flow/test_golden_plans.py
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from tests.tiny import make_config

GOLDEN = Path(__file__).parent.parent / "golden" / "plans.json"
FIELDS = ("steps", "tokens", "trainable", "groups")  # equal on every machine
LORA = {"method": "lora", "r": 4}
TECHNIQUES: dict[str, dict[str, Any]] = {
    "full": {},
    "freeze": {"methods": {"freeze": {"layers": 1, "embeddings": True}}},
    "unfreeze": {"methods": {"unfreeze": {"every": "4 steps", "discriminative": 2.0}}},
    "layerwise_lr_decay": {"methods": {"layerwise_lr_decay": 0.5}},
    "head_learning_rate": {"methods": {"head_learning_rate": 0.01}},
    "lora": {"peft": LORA},
    "lora, freeze": {"peft": LORA, "methods": {"freeze": 1}},
    "loraplus": {"peft": LORA, "methods": {"loraplus": 16}},
    "dora": {"peft": LORA | {"use_dora": True}},
    "ia3": {"peft": "ia3"},
    "bottleneck": {"peft": {"method": "bottleneck", "reduction_factor": 4}},
    "prompt_tuning": {"peft": {"method": "prompt_tuning", "num_virtual_tokens": 3}},
    "p_tuning": {"peft": {"method": "p_tuning", "num_virtual_tokens": 3, "encoder_hidden_size": 16}},
    "prefix_tuning": {"peft": {"method": "prefix_tuning", "num_virtual_tokens": 3}},
    "adalora": {"peft": {"method": "adalora", "init_r": 4, "target_r": 2, "tinit": 2, "tfinal": 2}},
}


def test_what_each_technique_would_train(
    bert: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {}
    for name, more in TECHNIQUES.items():
        file = tmp_path / "run.json"  # YAML too
        file.write_text(json.dumps(make_config(bert, rows, tmp_path / "store", data__max_length=32, **more)))
        assert main(["plan", str(file), "--json"]) == 0
        planned = json.loads(capsys.readouterr().out)
        found[name] = {field: planned[field] for field in FIELDS}
    if os.environ.get("FINETUNE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(GOLDEN.read_text())
