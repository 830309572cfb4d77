"""Stage 10: the trained weights are judged.

In: the trained weights as they were saved (so what is judged is what is kept), the validation and test rows. Out:
`metrics.json` (`eval_…` for validation, `test_…` for test), `intervals.json`, `slices.json`, `head.json` (the head
with the threshold settled here), and `<split>.predictions.arrow`: what the task says of every row, with its file and
line.

A stage of its own because judging again, by other metrics, must not train again.
"""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.code import function_version
from tasks.artifacts.formats import json
from tasks.config import ConfigError, EvalConfig
from tasks.objectives import objective_of
from tasks.runtime.build import Build
from tasks.runtime.stage import stage
from tasks.runtime.token_rows import tokens_of

PREFIX = {"validation": "eval", "test": "test"}


def own_metrics(section: EvalConfig) -> dict[str, Any]:
    """The code versions of a user's own metrics, by path.

    Raises:
        ConfigError: there is no such function, or its source cannot be read.
    """
    from tasks.evaluation.custom import find, is_own

    found = {}
    for path in filter(is_own, [*(section.metrics or []), *([section.best] if section.best else [])]):
        try:
            found[path] = function_version(find(path))
        except TypeError as error:
            raise ConfigError(f"eval.metrics: {path!r}: {error}") from error
    return found


@stage(
    libraries=("torch", "transformers", "peft", "scipy", "seqeval", "sacrebleu", "rouge-score", "numpy"),
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
    custom: Mapping[str, Any],
    bootstrap: int,
    slices: list[str],
    threshold: float | str,
    splits: list[str],
    rows: Artifact | None,
) -> Mapping[str, Any]:
    """Write metrics and predictions of every split but train.

    Args:
        metrics: names to keep and paths of a user's own functions. custom: the versions of the code of those.
        threshold: a probability, or `tuned` on validation. splits: which. bootstrap: samples of the intervals.
        slices: columns of `rows` to slice by (`rows` is None where there is none).

    Raises:
        ConfigError: a metric or a column that is not there.
    """
    from tasks.data.arrow_file import open_table
    from tasks.evaluation.ask import ask
    from tasks.evaluation.threshold import decided, tune
    from tasks.models.assemble import trained_model
    from tasks.models.tokenizer import read_tokenizer
    from tasks.runtime.scoring import columns_of, score_table
    from tasks.training.run import settled

    objective, planned, processor = objective_of(task), plan.json("plan.json"), base.json("padding.json")
    ends = decided(head.json("head.json"), threshold)
    asking = {"processor": processor, "tokenizer": lambda: read_tokenizer(base.view())}
    live = trained_model(trained.view(), model.view(), base.externals(), model.json("load.json"))
    found: dict[str, dict[str, Any]] = {"metrics": {}, "intervals": {}, "slices": {}}
    for split, prefix in PREFIX.items():
        if split not in splits or (table := tokens_of(tokens, split)) is None:
            continue
        view = objective.part("view")(table, processor, planned["seed"], planned["options"])
        out = build.out / f"{split}.predictions.arrow"
        judge = objective.part("judge")(head=ends, generation=planned["arguments"], **asking)
        with settled(planned):
            loss = ask(live, view, objective.part("collate")(processor), judge, planned, out)
        if threshold == "tuned" and split == "validation":
            ends = tune(ends, out)
        said = open_table(out)
        columns = columns_of(slices, rows.path(f"{split}.arrow"), said) if rows else {}
        scored = score_table(objective.part("score")(ends), said, loss, metrics, bootstrap, columns, build.warn)
        for kind, values in vars(scored).items():
            found[kind] |= {f"{prefix}_{name}": value for name, value in values.items()}
    for name, values in {**found, "metrics": json.finite(found["metrics"]), "head": ends}.items():
        json.write(values, build.out / f"{name}.json")
    return json.finite(found["metrics"])
