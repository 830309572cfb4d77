"""Stage 8d, of runs with rehearsal: draw the rows of an earlier task that are trained on again.

In: the earlier task's token rows and their classes. Out: `train-000000000.arrow` with the kept rows, all token rows of
a data row together; `head.json`, `processor.json` and `task.json`, which say how the rows become a loss.

A separate stage because training depends on the kept rows only, and not on how many there were.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.artifacts.keys.code import code_version
from tasks.data.tables.arrow_file import write
from tasks.data.tokens.kept_rows import kept_origins
from tasks.data.tokens.token_rows import shard_name, tokens_of
from tasks.data.tokens.token_table import ORIGIN
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.stage import stage

PARTS = ("view", "collate", "loss")


@stage(libraries=("pyarrow", "numpy"), components=("auto_model", *PARTS, "cross_entropy"))
def rehearsed(
    build: Build, *, objective: Objective, tokens: Artifact, head: Artifact, base: Artifact, rows: int | None,
    share: float, seed: int, options: Mapping[str, Any], loss_options: Mapping[str, Any],
) -> Mapping[str, object]:  # fmt: skip
    """Write the kept rows.

    Args:
        base: `processor.json` of the earlier model. rows: how many data rows are kept; None: `share` of them. seed:
            which. options: fields of `data` that affect how rows are sampled.
    """
    table, ends = tokens_of(tokens.paths("train-")), head.json("head.json")
    assert table is not None
    origins, classes = table[ORIGIN].to_numpy(), None
    if ends["problem_type"] == "single_label_classification" and objective.cross_entropy == "rows":
        classes = table["labels"].to_numpy()
    kept = kept_origins(origins, classes, rows, share, seed)
    found = table.take(np.flatnonzero(np.isin(origins, kept)))
    write(found, build.out / shard_name("train", 0))
    task = {
        "name": objective.name, "auto_model": objective.auto_model, "cross_entropy": objective.cross_entropy,
        "options": dict(options), "loss_options": dict(loss_options),
        **{part: getattr(objective, part) for part in PARTS},
        "code": code_version(objective.modules(PARTS)),  # training runs it, so that its key must depend on it
    }  # fmt: skip
    json.write(task, build.out / "task.json")
    json.write(ends, build.out / "head.json")
    json.write(base.json("processor.json"), build.out / "processor.json")
    return {"rows": len(kept), "of": len(np.unique(origins))}
