"""Stage 7d, of tasks that learn from rewards, with `rl.win_rate`: answer the held-out prompts with the model before
training.

In: the token rows of validation and test, the model of stage 6, for `peft.method: continue` the adapter of stage 7,
what rewards answers. Out: `<split>.predictions.arrow`, as stage 10 writes them of the trained model, which it compares.

A separate stage because the model before training is the same for all trainings of a grid over training settings.
"""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.ref import ArtifactRef
from tasks.config import RunConfig
from tasks.data.tokens.token_rows import scored_rows, tokens_of
from tasks.models.device import machine, placed, placing
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.progress import RowProgress
from tasks.runtime.stage import stage

ANSWERING = ("reward_funcs", "reward_weights", "max_completion_length", "reward_code")
BATCH = "per_device_eval_batch_size"


def answers_before(
    objective: Objective, run: RunConfig, options: Mapping[str, Any], tokens: ArtifactRef, **models: Any
) -> ArtifactRef | None:
    """Return this stage's artifact; None if the trained model's answers are not compared with earlier ones.

    Args:
        options: of the loss. models: `base`, `model`, `adapter` and `judges` of the stage.
    """
    if not (objective.rl_options and run.rl.win_rate):
        return None
    answering = {
        "options": {name: options[name] for name in ANSWERING if name in options}, "splits": run.eval.splits,
        "max_samples": run.eval.max_samples, "batch_size": getattr(run.train, BATCH, None),
    }  # fmt: skip
    held_out = tokens.select("validation-*", "test-*")
    return start(objective=objective, tokens=held_out, answering=answering, placing=placing(run), **models)


@stage(
    libraries=("torch", "transformers", "numpy"), components=("view", "collate", "predictor", "rewarding"),
    environment=lambda **_: machine(),
)  # fmt: skip
def start(
    build: Build, *, objective: Objective, tokens: Artifact, base: Artifact, model: Artifact, adapter: Artifact | None,
    judges: Mapping[str, Artifact], answering: Mapping[str, Any], placing: Mapping[str, Any],
) -> Mapping[str, object]:  # fmt: skip
    """Write the answers of the model before training, with their rewards.

    Args:
        adapter: of the model before training, which is trained on. judges: `reward_model`, if answers are rewarded by
            one. placing: where and how precisely to compute.
    """
    from tasks.evaluation.inference import predict_table
    from tasks.models.assemble import starting_model
    from tasks.models.bases.tokenizer import read_tokenizer
    from tasks.training.compute import computing_as

    plan, processor, options = placed(placing), base.json("processor.json"), answering["options"]
    plan["arguments"][BATCH] = answering["batch_size"]
    rewards = objective.component("rewarding")({"loss_options": options}, judges)
    predictor = objective.component("predictor")(
        tokenizer=lambda: read_tokenizer(base.view()), options=options, rewards=rewards
    )
    adapted = adapter.view() if adapter is not None else None
    live, rows = starting_model(model.view(), base.externals(), model.json("load.json"), adapted), dict[str, int]()
    for split in ("validation", "test"):
        table = tokens_of(tokens.paths(f"{split}-")) if split in answering["splits"] else None
        if (table := scored_rows(table, answering["max_samples"], build.info)) is None:
            continue
        view, collate = objective.component("view")(table, processor), objective.component("collate")(processor)
        out = build.out / f"{split}.predictions.arrow"
        with computing_as(plan), RowProgress(f"{split} before training", build.info) as progress:
            predict_table(live, view, collate, predictor, plan, out, progress.rows)
        rows[split] = table.num_rows
    return {"rows": rows}
