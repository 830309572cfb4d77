"""Stage 10: the trained weights are judged.

In: the trained weights as they were saved (so what is judged is what is kept), the validation and test rows. Out:
`metrics.json` (`eval_…` for validation, `test_…` for test), `intervals.json`, `slices.json`, and
`<split>.predictions.arrow`: what the task says of every row, with its file and line.

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
    for path in filter(is_own, section.metrics or []):
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
    rows: Artifact | None,
) -> Mapping[str, Any]:
    """Write metrics and predictions of every split but train.

    Args:
        metrics: names to keep and paths of a user's own functions. custom: the versions of the code of those.
        bootstrap: samples of the intervals. slices: columns of `rows` to slice by (`rows` is None where there is none).

    Raises:
        ConfigError: a metric or a column that is not there.
    """
    from tasks.data.arrow_file import open_table
    from tasks.evaluation.ask import ask
    from tasks.models.assemble import trained_model
    from tasks.models.tokenizer import read_tokenizer
    from tasks.runtime.scoring import score_table
    from tasks.training.run import settle

    objective, planned, ends = objective_of(task), plan.json("plan.json"), head.json("head.json")
    processor = base.json("padding.json")
    settle(planned)
    live = trained_model(trained.view(), model.view(), base.externals(), model.json("load.json"))
    judge = objective.part("judge")(
        head=ends, processor=processor, tokenizer=lambda: read_tokenizer(base.view()), generation=planned["arguments"]
    )
    found: dict[str, dict[str, Any]] = {"metrics": {}, "intervals": {}, "slices": {}}
    for split, prefix in PREFIX.items():
        table = tokens_of(tokens, split)
        if table is None:
            continue
        view = objective.part("view")(table, processor, planned["seed"], planned["options"])
        out = build.out / f"{split}.predictions.arrow"
        loss = ask(live, view, objective.part("collate")(processor), judge, planned, out)
        predictions = open_table(out)
        columns = _columns(slices, rows, split, predictions)
        scored = score_table(objective.part("score")(ends), predictions, loss, metrics, bootstrap, columns, build.warn)
        for kind, values in vars(scored).items():
            found[kind] |= {f"{prefix}_{name}": value for name, value in values.items()}
    for kind, values in found.items():
        json.write(json.finite(values) if kind == "metrics" else values, build.out / f"{kind}.json")
    return json.finite(found["metrics"])


def _columns(names: list[str], rows: Artifact | None, split: str, predictions: Any) -> dict[str, Any]:
    """The columns to slice by, one value a prediction."""
    if rows is None:
        return {}
    from tasks.data.arrow_file import open_table

    table = open_table(rows.path(f"{split}.arrow"))
    unknown = next((name for name in names if name not in table.column_names), None)
    if unknown is not None:
        known = ", ".join(name for name in table.column_names if not name.startswith("__"))
        raise ConfigError(f"eval.slices: there is no column {unknown!r}; there are {known}")
    return {name: table[name].take(predictions["__origin"].combine_chunks()) for name in names}
