"""Stage 7e, for each entry of `eval.guard`: measure what the model before training can do of an earlier task.

In: the model that was trained for that task (its head is used), its rows and tokens, the model of stage 6, for
`peft.method: continue` the adapter of stage 7. Out: `metrics.json`, and `head.json`: whether the model before training
has a trained head of its own, and whether that was measured. Stage 10b measures the same with the trained weights.

A separate stage because the model before training is the same for all trainings of a grid over training settings.
"""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.models.device import machine, placed
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.progress import RowProgress
from tasks.runtime.stage import stage

LIBRARIES = ("torch", "transformers", "peft", "scipy", "seqeval", "sacrebleu", "rouge-score", "numpy")


@stage(
    libraries=LIBRARIES, components=("auto_model", "view", "collate", "predictor", "scorer"),
    environment=lambda **_: machine(),
)  # fmt: skip
def before(
    build: Build, *, objective: Objective, other: Artifact, head: Artifact, tokens: Artifact, base: Artifact,
    model: Artifact, adapter: Artifact | None, how: Mapping[str, Any], placing: Mapping[str, Any],
) -> Mapping[str, object]:  # fmt: skip
    """Write all metrics of the guarded task.

    Args:
        objective: of the guarded task. other: stage 3's artifact of the model that was trained for it. head: of its
            rows. tokens: of the split to score. adapter: of the model before training, which is trained on. how: see
            `tasks.execution.guarded.measuring`. placing: where and how precisely to compute.

    Raises:
        ConfigError: the other model has no trained head for these classes, or another body.
    """
    from tasks.evaluation.guarded import guarded_metrics, has_trained_head
    from tasks.models.assemble import starting_model
    from tasks.training.compute import computing_as

    folder, files, plan = model.view(), base.externals(), placed(placing)
    own, ends = has_trained_head(folder, files, model.ref.facts.get("head")), head.json("head.json")
    if ends["labels"] is None and ends["problem_type"]:  # numbers have no names by which to tell heads apart
        own = own and other.json("base.json")["weights"] == base.json("base.json")["weights"]
    live = starting_model(folder, files, model.json("load.json"), adapter.view() if adapter is not None else None)
    with computing_as(plan), RowProgress("guarded rows before training", build.info) as progress:
        found, used = guarded_metrics(
            objective, other, other.view(external=True), ends, tokens.paths(""), live, own, how, plan,
            build.out / "scratch.arrow", progress.rows, build.info,
        )  # fmt: skip
    json.write(found, build.out / "metrics.json")
    json.write({"trained": own, "used": used}, build.out / "head.json")
    return found
