"""Stage 10b, for each entry of `eval.guard`: measure what the trained model can still do of an earlier task.

In: the trained weights, what stage 7e read, and its `head.json`. Out: `metrics.json`, as that of stage 7e.

A separate stage because adding a guard must not train, or measure other guards, again.
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
def after(
    build: Build, *, objective: Objective, other: Artifact, head: Artifact, tokens: Artifact, base: Artifact,
    model: Artifact, trained: Artifact, start: Artifact, how: Mapping[str, Any], placing: Mapping[str, Any],
) -> Mapping[str, object]:  # fmt: skip
    """Write all metrics of the guarded task.

    Args:
        objective: of the guarded task. other: stage 3's artifact of the model that was trained for it. head: of its
            rows. tokens: of the split to score. start: `head.json` of stage 7e. how: see
            `tasks.execution.guarded.measuring`. placing: where and how precisely to compute.
    """
    from tasks.evaluation.guarded import guarded_metrics
    from tasks.models.assemble import trained_model
    from tasks.training.compute import computing_as

    plan, own = placed(placing), start.json("head.json")["trained"]
    live = trained_model(trained.view(), model.view(), base.externals(), model.json("load.json"))
    with computing_as(plan), RowProgress("guarded rows after training", build.info) as progress:
        found, _ = guarded_metrics(
            objective, other, other.view(external=True), head.json("head.json"), tokens.paths(""), live, own, how, plan,
            build.out / "scratch.arrow", progress.rows, build.info,
        )  # fmt: skip
    json.write(found, build.out / "metrics.json")
    return found
