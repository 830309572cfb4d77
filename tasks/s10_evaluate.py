"""Stage 10: the trained weights are judged.

In: the trained weights as they were saved (so what is judged is what is kept), the validation and test rows. Out:
`metrics.json` (`eval_…` for validation, `test_…` for test), `intervals.json`, `slices.json`, `classes.json`
(scores by class), `head.json` (the head
with the threshold settled here), and `<split>.predictions.arrow`: what the task says of every row, with its file and
line.

A stage of its own because judging again, by other metrics, must not train again.
"""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.artifacts.keys.code import function_version
from tasks.config import ConfigError, EvalConfig
from tasks.data.tables.arrow_file import open_table
from tasks.data.tokens.token_rows import scored_rows, tokens_of
from tasks.evaluation.scoring import columns_of, score_table
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.progress import RowProgress
from tasks.runtime.stage import stage

PREFIX = {"validation": "eval", "test": "test"}


def own_metrics(section: EvalConfig) -> dict[str, Any]:
    """The code versions of a user's own metrics, by path.

    Raises:
        ConfigError: there is no such function, or its source cannot be read.
    """
    from tasks.evaluation.custom_metrics import find, is_own

    found = {}
    for path in filter(is_own, [*(section.metrics or []), *([section.best] if section.best else [])]):
        try:
            found[path] = function_version(find(path))
        except TypeError as error:
            raise ConfigError(f"eval.metrics: {path!r}: {error}") from error
    return found


@stage(
    libraries=("torch", "transformers", "peft", "scipy", "seqeval", "sacrebleu", "rouge-score", "numpy"),
    components=("auto_model", "view", "collate", "predictor", "scorer", "metric_names"),
)
def evaluate(
    build: Build,
    *,
    objective: Objective,
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
    seen: Artifact,
    rows: Artifact | None,
) -> Mapping[str, Any]:
    """Write metrics and predictions of every split but train.

    Args:
        metrics: names to keep and paths of a user's own functions. custom: the versions of the code of those.
        threshold: a probability, or `tuned` on validation. splits: which. bootstrap: samples of the intervals.
        slices: columns of `rows` to slice by (`rows` is None where there is none).
        seen: the rows whose text train has too: each metric has one beside it, `…_unseen`, of the others.

    Raises:
        ConfigError: a metric or a column that is not there.
    """
    from tasks.evaluation.inference import ask
    from tasks.evaluation.threshold import decided, tune
    from tasks.models.assemble import trained_model
    from tasks.models.bases.tokenizer import read_tokenizer
    from tasks.training.compute import computing_as

    planned, processor = plan.json("plan.json"), base.json("processor.json")
    ends = decided(head.json("head.json"), threshold)
    live = trained_model(trained.view(), model.view(), base.externals(), model.json("load.json"))
    found: dict[str, dict[str, Any]] = {"metrics": {}, "intervals": {}, "slices": {}, "classes": {}}
    for split in PREFIX:
        table = tokens_of(tokens.paths(f"{split}-")) if split in splits else None
        if (table := scored_rows(table, planned["max_samples"], build.say)) is None:
            continue
        view = objective.component("view")(table, processor, planned["seed"], planned["options"])
        out = build.out / f"{split}.predictions.arrow"
        predictor = objective.component("predictor")(head=ends, processor=processor, generation=planned["arguments"],
                                        tokenizer=lambda: read_tokenizer(base.view()))  # fmt: skip
        with computing_as(planned), RowProgress(f"evaluation of {split}", build.say) as progress:
            loss = ask(live, view, objective.component("collate")(processor), predictor, planned, out, progress.rows)
        ends = tune(ends, out) if threshold == "tuned" and split == "validation" else ends
        said, scorer = open_table(out), objective.component("scorer")(ends)
        columns = columns_of(slices, rows.path(f"{split}.arrow"), said) if rows else {}
        known = [] if objective.gather else seen.json("seen.json").get(split, [])  # there a row is of several texts
        scored = score_table(scorer, said, loss, metrics, bootstrap, columns, build.warn, known)
        _note(found, scored, split)
    found["metrics"] = json.finite(found["metrics"])
    for name, values in {**found, "head": ends}.items():
        json.write(values, build.out / f"{name}.json")
    return found["metrics"]


def _note(found: dict[str, dict[str, Any]], scored: Any, split: str) -> None:
    for kind in ("metrics", "intervals", "slices"):
        found[kind] |= {f"{PREFIX[split]}_{name}": value for name, value in getattr(scored, kind).items()}
    found["classes"] |= {split: scored.classes} if scored.classes else {}
