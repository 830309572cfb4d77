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
from tasks.data.tokens.token_rows import scored_rows, tokens_of
from tasks.evaluation.scoring import of_all_logits, while_training
from tasks.objectives import objective_of
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.context import current
from tasks.runtime.progress import Progress
from tasks.runtime.resuming import begin, keep_end, keeps_end, named_files, resuming
from tasks.runtime.rung import rung_of
from tasks.runtime.stage import stage

LIBRARIES = ("torch", "transformers", "accelerate", "peft", "tokenizers", "numpy")


@stage(libraries=LIBRARIES, parts=("auto_model", "view", "collate", "judge", "score", "metric_names"),
       files=named_files, resuming=resuming)  # fmt: skip
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
    resume: str | None,
) -> Mapping[str, Any]:
    """Train, evaluating and saving as planned.

    Args:
        watching: training arguments that only say what is logged and kept; not in the key, and neither is `checkpoint`.
        resume: whose checkpoint it goes on from; what lies there is in the key.

    Raises:
        Interrupted: a signal came; a checkpoint is saved. TrainingError: the training diverged.
        Paused: the run asked for a pause, and it is reached (that it was, is a piece: it is not judged again).
    """
    from tasks.models.assemble import starting_model
    from tasks.models.bases.tokenizer import read_tokenizer
    from tasks.training.adopt import take_over
    from tasks.training.evaluator import Examination
    from tasks.training.run import save_weights, settled
    from tasks.training.run import train as run

    objective, planned, processor = objective_of(task), plan.json("plan.json"), base.json("padding.json")
    rung = rung_of(build, planned["steps"]["total"])  # raises if it was reached before
    adapted = adapter.view() if "adapter_config.json" in adapter else None
    live = starting_model(model.view(), base.externals(), model.json("load.json"), adapted)
    begin(build, planned, lambda files: take_over(files, build.work, planned, live))
    evaluating = planned["arguments"].get("eval_strategy", "no") != "no" or rung.step is not None

    def rows(split: str, most: int | None = None) -> Any:
        table = scored_rows(tokens_of(tokens.paths(f"{split}-")), most)
        return objective.part("view")(table, processor, planned["seed"], planned["options"])

    ends = head.json("head.json")
    judge = objective.part("judge")(head=ends, processor=processor, tokenizer=lambda: read_tokenizer(base.view()),
                                    generation=planned["arguments"])  # fmt: skip
    with settled(planned), Progress(planned["steps"]["total"], build.say) as progress:
        done = run(
            live, planned, rows("train"), rows("validation", planned["max_samples"]) if evaluating else None,
            objective.part("collate")(processor),
            Examination(judge, while_training(objective.part("score")(ends), planned, build.warn),
                        of_all_logits(planned, build.warn)),
            build.work, _watching(build, progress, watching, checkpoint, objective, rung.step, planned),
        )  # fmt: skip
    rung.end(done)  # raises if it is a pause
    current().signalled = done.signalled
    keep_end(build, planned)
    save_weights(live, build.out)
    for name in ("history", "state"):
        json.write(json.finite(getattr(done, name)), build.out / f"{name}.json")
    return {"steps": planned["steps"]["total"]}


def _watching(
    build: Build,
    progress: Progress,
    arguments: Mapping[str, Any],
    checkpoint: CheckpointConfig,
    objective: Objective,
    until: int | None,
    planned: Mapping[str, Any],
) -> Any:
    from tasks.training.run import Watching

    falling = [name for name, upward in objective.greater_is_better.items() if not upward]
    return Watching(
        arguments, checkpoint.every_minutes, progress.step, progress.rows, progress.log, build.keep, build.forget,
        build.say, build.warn, falling, until, keeps_end(planned, arguments),
    )  # fmt: skip
