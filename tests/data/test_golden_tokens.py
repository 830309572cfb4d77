"""What each task's rows become, frozen: a change here is a change of what is learnt.

`FINETUNE_GOLDEN=1 pytest tests/data/test_golden_tokens.py` writes the file anew.
"""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.config import RunConfig
from tasks.data.sources.read import read
from tasks.data.tokens.encode import Encoded
from tasks.objectives import objective_of
from tasks.objectives.presets import resolve
from tests.tiny import TASKS, make_task

GOLDEN = Path(__file__).parents[1] / "golden" / "tokens.json"


def tokens_of(name: str, folder: Path) -> dict[str, Any]:
    from transformers import AutoTokenizer

    from tasks.data.sources.locate import locate

    config = make_task(name, folder, rows=12)
    config["data"] |= {"max_length": 16, "split": {"validation": 0.0}, "leakage": "off"}
    run, _ = resolve(RunConfig.model_validate(config), {})
    objective = objective_of(run.task)
    rows = read(locate(run.data.train, "data.train")).table
    prepared = objective.component("prepare")({"train": rows}, run.data, objective.roles)
    tokenizer = AutoTokenizer.from_pretrained(config["model"]["name"])
    shaped = {field: getattr(run.data, field) for field in ("max_length", "overlong", *objective.shape)}
    encoded: Encoded = objective.component("encode")(prepared.splits["train"], tokenizer, shaped, "data.train", False)
    if objective.gather:
        encoded = objective.component("gather")([encoded.table], shaped, "data.train")
    table: pa.Table = encoded.table.slice(0, 5)
    kept = [column for column in table.column_names if column not in ("__file",)]
    return {"cut": encoded.overlong, "lost": encoded.dropped, "rows": table.select(kept).to_pylist()}


@pytest.mark.parametrize("name", TASKS)
def test_golden_tokens(name: str, tmp_path: Path) -> None:
    found = json.loads(json.dumps(tokens_of(name, tmp_path)))
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("FINETUNE_GOLDEN"):
        GOLDEN.write_text(json.dumps({**golden, name: found}, indent=1, sort_keys=True) + "\n")
        return
    assert found == golden[name]
