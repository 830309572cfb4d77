"""Stage 7b, of tasks that compare the trained model with the one before training: compute what the reference says.

In: the token rows, the model of stage 6, for `peft.method: continue` the adapter of stage 7. Out: the same rows, with
what the task needs of the reference model in the column `reference` (for DPO and KTO the log-probabilities of both
answers). Parts of some hundred rows are artifacts: a build that was killed resumes at the first missing one.

A separate stage because it is computed once for all trainings from the same model on the same rows (a grid over rates,
losses or adapters), which then need no second model in memory. Other tasks do not have it.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import pyarrow as pa

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.ref import ArtifactRef
from tasks.config import RunConfig
from tasks.data.tables.arrow_file import open_table, write
from tasks.data.tokens.token_rows import shard_name, tokens_of
from tasks.models.device import machine, placed, placing
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.parts import predicted_in_parts
from tasks.runtime.progress import RowProgress
from tasks.runtime.stage import stage

SPLITS = ("train", "validation", "test")
BATCH = 4  # rows


def with_reference(objective: Objective, run: RunConfig, tokens: ArtifactRef, **models: Any) -> ArtifactRef:
    """Return the token rows, with this stage's column if the task's loss compares the model with a reference.

    Args:
        models: `base`, `model` and `adapter` of the stage.
    """
    if objective.reference is None or run.preference.loss_type in objective.reference_free:
        return tokens
    return reference(objective=objective, tokens=tokens.select("*.arrow"), placing=placing(run), **models)


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

    rows: dict[str, int] = {}
    for split in SPLITS:
        if (table := tokens_of(tokens.paths(f"{split}-"))) is not None:
            view, key = objective.component("view")(table, processor), {"split": split}
            with computing_as(plan), RowProgress(f"reference of {split}", build.info) as progress:
                parts = predicted_in_parts(build, view, key, model_of, collate, predictor, plan, progress)
            found = pa.chunked_array([chunk for part in parts for chunk in open_table(part)["reference"].chunks])
            write(table.append_column("reference", found), build.out / shard_name(split, 0))
            rows[split] = table.num_rows
    return {"rows": rows}
