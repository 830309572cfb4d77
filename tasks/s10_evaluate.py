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
from tasks.runtime.token_rows import tokens_of

PREFIX = {"validation": "eval", "test": "test"}


@stage(
    libraries=("torch", "transformers", "peft", "scikit-learn", "numpy"),
    parts=("view", "collate", "judge", "score", "metric_names"),
)
def evaluate(
    build: Build,
    *,
    task: str,
    plan: Artifact,
    tokens: Artifact,
    base: Artifact,
    head: Artifact,
    model: Artifact,
    trained: Artifact,
    metrics: list[str] | None,
) -> Mapping[str, Any]:
    """Write metrics and predictions of every split but train."""
    from tasks.data.arrow_file import open_table
    from tasks.evaluation.ask import ask
    from tasks.models.assemble import trained_model
    from tasks.models.tokenizer import read_tokenizer
    from tasks.training.run import settle

    objective, planned, ends = objective_of(task), plan.json("plan.json"), head.json("head.json")
    processor = base.json("padding.json")
    settle(planned)
    live = trained_model(trained.view(), model.view(), base.externals(), model.json("load.json"))
    judge = objective.part("judge")(
        head=ends, processor=processor, tokenizer=lambda: read_tokenizer(base.view()), generation=planned["arguments"]
    )
    found: dict[str, float] = {}
    for split, prefix in PREFIX.items():
        table = tokens_of(tokens, split)
        if table is None:
            continue
        rows = objective.part("view")(table, processor, planned["seed"], planned["options"])
        out = build.out / f"{split}.predictions.arrow"
        loss = ask(live, rows, objective.part("collate")(processor), judge, planned, out)
        scores = {"loss": loss, **objective.part("score")(open_table(out), ends)}
        found |= {f"{prefix}_{name}": value for name, value in scores.items() if metrics is None or name in metrics}
    json.write(json.finite(found), build.out / "metrics.json")
    return json.finite(found)
