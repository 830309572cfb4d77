"""Stage 10: evaluate the trained weights.

In: the trained weights as saved, the validation and test rows. Out: `metrics.json` (`eval_…` for validation, `test_…`
for test), `intervals.json`, `slices.json`, `classes.json` (scores by class), `head.json` (the head with the threshold
chosen here), and `<split>.predictions.arrow`: the prediction for every row, with its file and line.

A separate stage because evaluating again with other metrics must not train again.
"""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.artifacts.ref import ArtifactRef
from tasks.config import EvalConfig
from tasks.data.tables.arrow_file import open_table
from tasks.data.tokens.token_rows import scored_rows, tokens_of
from tasks.evaluation.attempt import attempt
from tasks.evaluation.metric_code import own_metrics
from tasks.evaluation.scoring import columns_of, score_table
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.progress import RowProgress
from tasks.runtime.stage import stage

if TYPE_CHECKING:
    from tasks.evaluation.scoring import Scores

__all__ = ["evaluate", "own_metrics", "texts"]
PREFIX = {"validation": "eval", "test": "test"}


def texts(rows: ArtifactRef, section: EvalConfig) -> ArtifactRef | None:
    """Return the rows to slice by, or to show answers to."""
    return rows.select("validation.arrow*", "test.arrow*") if section.slices or section.samples else None


@stage(
    libraries=("torch", "transformers", "peft", "scipy", "seqeval", "sacrebleu", "rouge-score", "numpy"),
    components=("auto_model", "view", "collate", "predictor", "scorer", "metric_names", "samples"),
)
def evaluate(
    build: Build, *, objective: Objective, plan: Artifact, tokens: Artifact, base: Artifact, head: Artifact,
    model: Artifact, trained: Artifact, metrics: list[str] | None, custom: Mapping[str, Any], bootstrap: int,
    slices: list[str], threshold: float | str, splits: list[str], seen: Artifact, rows: Artifact | None, samples: int,
) -> Mapping[str, object]:  # fmt: skip
    """Write metrics and predictions of validation and test.

    Args:
        metrics: names to keep and paths of the user's own functions. custom: code versions of those functions.
        threshold: a probability, or how to tune it. splits: to evaluate. bootstrap: samples for the intervals.
        slices: columns of `rows` to slice by. samples: how many of `rows` the model answers for the report, before and
            after training. Without both `rows` is None.
        seen: rows with a text that is in train too; each metric is also given without them, as `…_unseen`.

    Raises:
        ConfigError: an unknown metric or column.
    """
    from tasks.evaluation.inference import predict_table
    from tasks.evaluation.threshold import decided, tune
    from tasks.models.assemble import trained_model, untrained_model
    from tasks.models.bases.tokenizer import read_tokenizer
    from tasks.training.compute import computing_as

    planned, processor = plan.json("plan.json"), base.json("processor.json")
    ends = decided(head.json("head.json"), threshold)
    live = trained_model(trained.view(), model.view(), base.externals(), model.json("load.json"))
    found: dict[str, dict[str, Any]] = {"metrics": {}, "intervals": {}, "slices": {}, "classes": {}}
    last = None
    for split in PREFIX:
        table = tokens_of(tokens.paths(f"{split}-")) if split in splits else None
        if (table := scored_rows(table, planned["max_samples"], build.info)) is None:
            continue
        collate = objective.component("collate")(processor)
        view = objective.component("view")(table, processor, planned["seed"], planned["options"])
        out = build.out / f"{split}.predictions.arrow"
        predictor = objective.component("predictor")(
            head=ends, processor=processor, generation=planned["arguments"], options=planned["preference"],
            tokenizer=lambda: read_tokenizer(base.view()),
        )  # fmt: skip
        with computing_as(planned), RowProgress(f"evaluation of {split}", build.info) as progress:
            loss = predict_table(live, view, collate, predictor, planned, out, progress.rows)
        ends = tune(ends, out, threshold, build.info) if split == "validation" else ends
        predictions, scorer = open_table(out), objective.component("scorer")(ends)
        columns = columns_of(slices, rows.path(f"{split}.arrow"), predictions) if rows and slices else {}
        known = [] if objective.gather else seen.json("seen.json").get(split, [])  # a gathered row has several texts
        scored = score_table(scorer, predictions, loss, metrics, bootstrap, columns, build.warn, known)
        _note(found, scored, split)
        last = split
    found["metrics"] = json.finite(found["metrics"])
    if samples and rows and last:
        held, before = [live], partial(untrained_model, model.view(), base.externals(), model.json("load.json"))
        del live  # freed before the base is loaded
        some, tokenizer = open_table(rows.path(f"{last}.arrow")).slice(0, samples), read_tokenizer(base.view())
        write, out = objective.component("samples"), build.out / "samples.json"
        asked = (held.pop, before), some, tokenizer, processor, planned, out
        attempt("eval.samples", lambda: write(*asked), None, build.warn)
    for name, values in {**found, "head": ends}.items():
        json.write(values, build.out / f"{name}.json")
    return found["metrics"]


def _note(found: dict[str, dict[str, Any]], scored: "Scores", split: str) -> None:
    for kind in ("metrics", "intervals", "slices"):
        found[kind] |= {f"{PREFIX[split]}_{name}": value for name, value in getattr(scored, kind).items()}
    found["classes"] |= {split: scored.classes} if scored.classes else {}
