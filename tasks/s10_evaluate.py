"""Stage 10: the trained weights are judged.

In: the trained weights as they were saved (so what is judged is what is kept), the validation and test rows. Out:
`metrics.json` (`eval_…` for validation, `test_…` for test) and `<split>.predictions.arrow`: label, prediction and
probabilities of every row, with its file and line.

A stage of its own because judging again, by other metrics, must not train again.
"""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.objectives import objective_of
from tasks.runtime.build import Build
from tasks.runtime.stage import stage

PREFIX = {"validation": "eval", "test": "test"}


@stage(
    libraries=("torch", "transformers", "peft", "scikit-learn", "numpy"), parts=("collate", "metrics", "metric_names")
)
def evaluate(
    build: Build,
    *,
    task: str,
    plan: Artifact,
    tokens: Artifact,
    base: Artifact,
    labels: Artifact,
    model: Artifact,
    trained: Artifact,
    metrics: list[str] | None,
) -> Mapping[str, Any]:
    """Write metrics and predictions of every split but train."""
    import torch

    from tasks.data.arrow_file import open_table, write
    from tasks.data.rows import TokenRows
    from tasks.evaluation.predict import predict, predictions
    from tasks.models.assemble import trained_model
    from tasks.training.run import settle

    objective, planned, names = objective_of(task), plan.json("plan.json"), labels.json("labels.json")
    settle(planned)
    live = trained_model(trained.view(), model.view(), base.externals(), model.json("load.json"))
    if planned["device"] != "cpu" and not getattr(live, "is_quantized", False):
        live = live.to("cuda")
    precisions = {"bf16": torch.bfloat16, "fp16": torch.float16}
    autocast = next((dtype for name, dtype in precisions.items() if planned["arguments"].get(name)), None)
    collate = objective.part("collate")(base.json("padding.json"))
    found: dict[str, float] = {}
    for split, prefix in PREFIX.items():
        if f"{split}.arrow" not in tokens:
            continue
        path = tokens.path(f"{split}.arrow")
        batch = planned["arguments"].get("per_device_eval_batch_size", 8)
        logits, loss = predict(live, TokenRows(path), collate, batch, autocast)
        table = open_table(path)
        scores = objective.part("metrics")(logits, table["labels"].to_numpy(), names) | {"loss": loss}
        found |= {f"{prefix}_{name}": value for name, value in scores.items() if metrics is None or name in metrics}
        write(predictions(table, logits, names), build.out / f"{split}.predictions.arrow")
    json.write(json.finite(found), build.out / "metrics.json")
    return json.finite(found)
