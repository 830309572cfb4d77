"""Stage 10: evaluate the trained weights.

In: the trained weights as saved, the validation and test rows. Out: `metrics.json` (`eval_…` for validation, `test_…`
for test), `intervals.json`, `slices.json`, `classes.json` (scores by class), `head.json` (the head with the threshold
chosen here), and `<split>.predictions.arrow`: the prediction for every row, with its file and line (with generated
answers also `answer` and `reference`).

A separate stage because evaluating again with other metrics must not train again.
"""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.data.tables.arrow_file import open_table
from tasks.data.tokens.token_rows import scored_rows, tokens_of
from tasks.evaluation.attempt import attempt
from tasks.evaluation.metric_code import own_metrics
from tasks.evaluation.scoring import Results, Scoring
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.evaluating import generation_settings, scoring, texts
from tasks.runtime.progress import RowProgress
from tasks.runtime.stage import stage

if TYPE_CHECKING:
    import pyarrow as pa

    from tasks.evaluation.host import Computing

__all__ = ["evaluate", "generation_settings", "own_metrics", "scoring", "texts"]


@stage(
    libraries=("torch", "transformers", "peft", "scipy", "seqeval", "sacrebleu", "rouge-score", "numpy"),
    components=("auto_model", "view", "collate", "predictor", "scorer", "metric_names", "answers", "samples",
                "rewarding", "comparing", "generating", "forgetting"),
)  # fmt: skip
def evaluate(
    build: Build, *, objective: Objective, plan: Artifact, tokens: Artifact, base: Artifact, head: Artifact,
    model: Artifact, trained: Artifact, metrics: list[str] | None, custom: Mapping[str, Any], bootstrap: int,
    slices: list[str], threshold: float | str, splits: list[str], seen: Artifact, rows: Artifact | None, samples: int,
    generation: Mapping[str, Any], forgetting: Artifact | None, judges: Mapping[str, Artifact], start: Artifact | None,
) -> Mapping[str, object]:  # fmt: skip
    """Write metrics and predictions of validation and test.

    Args:
        metrics: names to keep and paths of the user's own functions. custom: code versions of those functions.
        threshold: a probability, or how to tune it. splits: to evaluate. bootstrap: samples for the intervals.
        slices: columns of `rows` to slice by. samples: how many of `rows` the model answers for the report, before and
            after training. generation: how answers to `rows` are generated, if they are. Without these, no `rows`.
        seen: rows with a text that is in train too; each metric is also given without them, as `…_unseen`.
        forgetting: held-out tokens and their loss before training, if that is compared. judges: `reward_model`, if
            answers are rewarded by one. start: predictions of the model before training, to compare with.

    Raises:
        ConfigError: an unknown metric or column.
    """
    from tasks.evaluation.threshold import decided, tune
    from tasks.models.assemble import trained_model, untrained_model
    from tasks.models.bases.tokenizer import read_tokenizer
    from tasks.training.compute import computing_rows

    planned, processor = plan.json("plan.json"), base.json("processor.json")
    ends = decided(head.json("head.json"), threshold)
    computing = partial(computing_rows, planned, partial(RowProgress, info=build.info))
    files, found, tables = (base.externals(), model.json("load.json")), Results(), dict[str, "pa.Table"]()
    scores = Scoring(found, metrics, bootstrap, slices, rows and rows.path, seen.json("seen.json"), build.warn)
    live = [trained_model(trained.view(), model.view(), *files)]
    for split in found.prefixes:
        table = tokens_of(tokens.paths(f"{split}-")) if split in splits else None
        if (table := scored_rows(table, planned["max_samples"], build.info)) is None:
            continue
        loss = _predict(build, objective, live[0], split, table, ends, planned, base, computing, judges, start)
        out = build.out / f"{split}.predictions.arrow"
        ends = tune(ends, out, threshold, build.info) if split == "validation" else ends
        scorer, gathered = objective.component("scorer")(ends), objective.gather is not None
        scores.add(split, scorer, open_table(out), loss, gathered, own=not generation)
        tables[split] = table
    if generation and rows:
        score = partial(objective.component("generating"), objective.answers, generation)
        score(build, computing, live[0], read_tokenizer(base.view()), processor, planned, tables, rows.path, scores)
    if forgetting is not None:
        forgotten = objective.component("forgetting")
        found.metrics |= forgotten(build, computing, live[0], forgetting.path, processor, planned)
    if samples and rows and tables:
        asked = open_table(rows.path(f"{[*tables][-1]}.arrow")), objective.answers, samples
        models = live.pop, partial(untrained_model, model.view(), *files)  # one is freed before the other is loaded
        given = models, *asked, read_tokenizer(base.view()), processor, planned, build.out / "samples.json"
        attempt("eval.samples", partial(objective.component("samples"), *given), None, build.warn)
    found.metrics = json.finite(found.metrics)
    for name, values in {**found.__dict__, "head": ends}.items():
        json.write(values, build.out / f"{name}.json")
    return found.metrics


def _predict(
    build: Build, objective: Objective, live: Any, split: str, table: "pa.Table", ends: Mapping[str, Any],
    planned: Mapping[str, Any], base: Artifact, computing: "Computing", judges: Mapping[str, Artifact],
    start: Artifact | None,
) -> float:  # fmt: skip
    """Write the predictions of a split's token rows; return the mean loss."""
    from tasks.evaluation.inference import predict_table
    from tasks.models.bases.tokenizer import read_tokenizer

    processor, rewarding = base.json("processor.json"), objective.component("rewarding")
    collate = objective.component("collate")(processor)
    view = objective.component("view")(table, processor, planned["seed"], planned["options"])
    predictor = objective.component("predictor")(
        head=ends, processor=processor, generation=planned["arguments"], options=planned["loss_options"],
        rewards=rewarding(planned, judges) if rewarding else None, tokenizer=lambda: read_tokenizer(base.view()),
    )  # fmt: skip
    out = build.out / f"{split}.predictions.arrow"
    with computing(f"evaluation of {split}") as on_rows:
        loss = predict_table(live, view, collate, predictor, planned, out, on_rows)
    if start is not None:
        objective.component("comparing")(out, start.path(out.name))
    return loss
