"""Stage 7b, of tasks that compare the trained model with the one before training: compute what the reference says.

In: the token rows, the model of stage 6, for `peft.method: continue` the adapter of stage 7. Out: the same rows, with
what the task needs of the reference model in the column `reference` (for DPO and KTO the log-probabilities of both
answers). Parts of some hundred rows are artifacts: a build that was killed resumes at the first missing one.

A separate stage because it is computed once for all trainings from the same model on the same rows (a grid over rates,
losses or adapters), which then need no second model in memory. Other tasks do not have it.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.artifacts.artifact import Artifact
from tasks.config import RunConfig
from tasks.config.json_types import JsonObject
from tasks.data.tables.arrow_file import open_table, write
from tasks.data.tokens.token_rows import shard_name, tokens_of
from tasks.models.device import machine, placed
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.progress import RowProgress
from tasks.runtime.stage import stage

SPLITS = ("train", "validation", "test")
PART, BATCH = 512, 4  # rows
MEMBER = "reference.arrow"
PRECISION = ("use_cpu", "bf16", "fp16", "full_determinism")


def is_needed(objective: Objective, run: RunConfig) -> bool:
    """Whether the task's loss compares the model with a reference."""
    return objective.reference is not None and run.preference.loss_type not in objective.reference_free


def placing(run: RunConfig) -> JsonObject:
    """Return the settings of `train` that say where and how precisely to compute."""
    given = {name: value for name in PRECISION if (value := getattr(run.train, name, None)) is not None}
    return {"training": given, "torch_num_threads": run.train.torch_num_threads,
            "float32_matmul_precision": run.train.float32_matmul_precision}  # fmt: skip


@stage(
    libraries=("torch", "transformers", "numpy"),
    components=("auto_model", "view", "collate", "reference"),
    environment=lambda **_: machine(),
)
def reference(
    build: Build, *, objective: Objective, tokens: Artifact, base: Artifact, model: Artifact, adapter: Artifact | None,
    placing: Mapping[str, Any],
) -> Mapping[str, object]:  # fmt: skip
    """Write the token rows with the column `reference`.

    Args:
        adapter: of the reference model, which is trained on. placing: where and how precisely to compute.
    """
    from tasks.evaluation.predictors.reference import ReferencePredictor
    from tasks.models.assemble import starting_model
    from tasks.training.compute import computing_as

    plan, processor = placed(placing), base.json("processor.json")
    plan["arguments"]["per_device_eval_batch_size"] = BATCH
    collate, predictor = objective.component("collate")(processor), ReferencePredictor(objective.component("reference"))
    adapted = adapter.view() if adapter is not None else None
    model_of = cache(lambda: starting_model(model.view(), base.externals(), model.json("load.json"), adapted))

    def add(table: pa.Table, split: str, progress: RowProgress) -> pa.Table:
        found: list[pa.Array] = []
        for start in range(0, table.num_rows, PART):
            rows = objective.component("view")(table.slice(start, PART), processor)
            write_part = partial(_write_part, model_of, rows, collate, predictor, plan, progress, start, table.num_rows)
            piece = build.piece({"split": split, "from": start}, make=write_part)
            found += open_table(build.store.path(piece.members[MEMBER]))["reference"].chunks
        return table.append_column("reference", pa.chunked_array(found))

    rows: dict[str, int] = {}
    for split in SPLITS:
        if (table := tokens_of(tokens.paths(f"{split}-"))) is not None:
            with computing_as(plan), RowProgress(f"reference of {split}", build.info) as progress:
                write(add(table, split, progress), build.out / shard_name(split, 0))
            rows[split] = table.num_rows
    return {"rows": rows}


def _write_part(
    model_of: Callable[[], Any], rows: Any, collate: Any, predictor: Any, plan: JsonObject, progress: RowProgress,
    start: int, total: int, out: Path,
) -> dict[str, int]:  # fmt: skip
    from tasks.evaluation.inference import predict_table

    def report(done: int, _: int) -> None:
        progress.rows(start + done, total)

    predict_table(model_of(), rows, collate, predictor, plan, out / MEMBER, report)
    return {"rows": len(rows)}
