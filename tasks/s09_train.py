"""Stage 9: the plan is carried out.

In: the plan, the token rows, model and adapter. Out: the trained weights (a whole model, or an adapter with its head)
and `history.json` and `state.json` (the Trainer's). Checkpoints lie in the stage's work folder, complete or absent; a
build that was killed is simply built again and goes on from the newest whole one, to the same bits.

A stage of its own because it is what everything else exists to spend once.
"""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.config import CheckpointConfig
from tasks.objectives import objective_of
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.progress import Progress
from tasks.runtime.rung import rung_of
from tasks.runtime.scoring import of_all_logits, while_training
from tasks.runtime.stage import stage
from tasks.runtime.token_rows import tokens_of

LIBRARIES = ("torch", "transformers", "accelerate", "peft", "tokenizers", "numpy")


@stage(libraries=LIBRARIES, parts=("view", "collate", "judge", "score", "metric_names"))
def train(
    build: Build,
    *,
    task: str,
    plan: Artifact,
    tokens: Artifact,
    base: Artifact,
    head: Artifact,
    model: Artifact,
    adapter: Artifact,
    watching: Mapping[str, Any],
    checkpoint: CheckpointConfig,
) -> Mapping[str, Any]:
    """Train, evaluating and saving as planned.

    Args:
        watching: training arguments that only say what is logged and kept; not in the key, and neither is `checkpoint`.

    Raises:
        Interrupted: a signal came; a checkpoint is saved. TrainingError: the training diverged.
        Paused: the run asked for a pause, and it is reached (that it was, is a piece: it is not judged again).
    """
    from tasks.models.assemble import starting_model
    from tasks.models.tokenizer import read_tokenizer
    from tasks.training.run import save_weights, settled
    from tasks.training.run import train as run
    from tasks.training.trainer import Examination

    objective, planned = objective_of(task), plan.json("plan.json")
    rung = rung_of(build, planned["steps"]["total"])  # raises if it was reached before
    adapted = adapter.view() if "adapter_config.json" in adapter else None
    live = starting_model(model.view(), base.externals(), model.json("load.json"), adapted)
    build.restore()
    processor = base.json("padding.json")
    evaluating = planned["arguments"].get("eval_strategy", "no") != "no" or rung.step is not None

    def rows(split: str) -> Any:
        table = tokens_of(tokens, split)
        return objective.part("view")(table, processor, planned["seed"], planned["options"])

    ends = head.json("head.json")
    judge = objective.part("judge")(head=ends, processor=processor, tokenizer=lambda: read_tokenizer(base.view()),
                                    generation=planned["arguments"])  # fmt: skip
    with settled(planned), Progress(planned["steps"]["total"], build.say) as progress:
        done = run(
            live, planned, rows("train"), rows("validation") if evaluating else None,
            objective.part("collate")(processor),
            Examination(judge, while_training(objective.part("score")(ends), planned, build.warn),
                        of_all_logits(planned, build.warn)),
            build.work,
            _watching(build, progress, watching, checkpoint, objective, rung.step),
        )  # fmt: skip
    if done.paused:
        rung.pause(done)
    save_weights(live, build.out)
    json.write(json.finite(done.history), build.out / "history.json")
    json.write(json.finite(done.state), build.out / "state.json")
    return {"steps": planned["steps"]["total"]}


def _watching(
    build: Build,
    progress: Progress,
    arguments: Mapping[str, Any],
    checkpoint: CheckpointConfig,
    objective: Objective,
    until: int | None,
) -> Any:
    from tasks.training.run import Watching

    falling = [name for name, upward in objective.greater_is_better.items() if not upward]
    return Watching(
        arguments, checkpoint.every_minutes, progress.step, progress.log, build.keep, build.forget, build.say,
        build.warn, falling, until,
    )  # fmt: skip
