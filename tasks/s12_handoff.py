"""Stage 12: return metrics and paths to the caller.

In: the saved model and its evaluation. Out: `report.json`, from which `tasks.results.finetuned.FineTuned` loads the
model, the tokenizer and everything else on first use.

A separate stage because a caller wants a model in eval mode, not twelve references.
"""

from collections.abc import Mapping

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.stage import stage

METRICS = "metrics.json"


@stage()
def handoff(
    build: Build, *, objective: Objective, saved: Artifact, plan: Artifact, evaluated: Artifact
) -> Mapping[str, object]:
    """Write `report.json`: the metrics, and the digest of every file of the model."""
    digests = {name: member.sha256 for name, member in saved.ref.members.items()}
    metrics = (saved if METRICS in saved else evaluated).json(METRICS)  # with those of guards
    sure = {name: evaluated.json(f"{name}.json") for name in ("intervals", "slices")}
    sure["classes"] = evaluated.json("classes.json") if "classes.json" in evaluated else {}
    sure |= {"samples": evaluated.json("samples.json")} if "samples.json" in evaluated else {}
    report = {
        "task": objective.name,
        "metrics": metrics,
        **sure,
        "model": digests,
        "steps": plan.json("plan.json")["steps"],
    }
    json.write(report, build.out / "report.json")
    return metrics
