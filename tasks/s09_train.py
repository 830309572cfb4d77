"""Stage 9: train.

In: the plan, the token rows, model and adapter. Out: the trained weights (a whole model, or an adapter with its head)
and the Trainer's `history.json` and `state.json`. Checkpoints are in the stage's work folder, complete or absent; a
build that was killed resumes from the newest complete one and ends with bit-identical weights.

A separate stage because it is the expensive one, to be run once.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.config import CheckpointConfig
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.context import current
from tasks.runtime.progress import Progress
from tasks.runtime.resuming import begin, keep_end, keeps_end, named_files, resuming
from tasks.runtime.rung import rung_of
from tasks.runtime.stage import stage
from tasks.runtime.tracking import tracking

if TYPE_CHECKING:  # only the methods that a run uses are in its key
    from tasks.objectives.methods import Methods

LIBRARIES = ("torch", "transformers", "accelerate", "peft", "tokenizers", "numpy")


@stage(
    libraries=LIBRARIES,
    components=("auto_model", "view", "collate", "trainer", "loss", "predictor", "scorer", "metric_names",
                "rewarding"),
    files=named_files, resuming=resuming,
)  # fmt: skip
def train(
    build: Build,
    *,
    objective: Objective,
    methods: "Methods",
    plan: Artifact,
    tokens: Artifact,
    base: Artifact,
    head: Artifact,
    judges: Mapping[str, Artifact],
    method_inputs: Mapping[str, Artifact],
    model: Artifact,
    adapter: Artifact,
    watching: Mapping[str, Any],
    checkpoint: CheckpointConfig,
    resume: str | None,
) -> Mapping[str, object]:
    """Train, evaluating and saving as planned.

    Args:
        methods: the training methods.
        judges: `reward_model`, if answers are rewarded by one. method_inputs: artifacts that methods need.
        watching: training arguments that only affect logging and kept checkpoints; not in the key, as `checkpoint`.
        resume: where the checkpoint to continue from is; its content is in the key.

    Raises:
        Interrupted: by a signal; a checkpoint is saved. TrainingError: the training diverged.
        Paused: a requested pause is reached; its evaluation is kept and not repeated.
    """
    from tasks.models.assemble import starting_model
    from tasks.models.bases.tokenizer import read_tokenizer
    from tasks.training import run
    from tasks.training.adalora import adapter_hooks
    from tasks.training.adopt import take_over
    from tasks.training.compute import computing_as
    from tasks.training.given import components
    from tasks.training.save import save_weights

    planned = plan.json("plan.json")
    rung = rung_of(build, planned["steps"]["total"])  # raises Paused if it was reached before
    adapted = adapter.view() if "adapter_config.json" in adapter else None
    live = starting_model(model.view(), base.externals(), model.json("load.json"), adapted)
    begin(build, planned, lambda files: take_over(files, build.work, planned, live))
    evaluating = planned["arguments"].get("eval_strategy", "no") != "no" or rung.step is not None

    given = components(
        objective.component, planned, lambda split: tokens.paths(f"{split}-"), head.json("head.json"),
        base.json("processor.json"), lambda: read_tokenizer(base.view()), evaluating,
        [*methods.hooks(live, planned, method_inputs), *adapter_hooks(live, planned)], build.warn, judges,
    )  # fmt: skip
    with computing_as(planned), Progress(planned["steps"]["total"], build.info) as progress:
        watched = _watching(build, progress, watching, checkpoint, objective, rung.step, planned)
        done = run.train(live, planned, given, build.work, watched)
    rung.end(done)  # raises Paused if this is a pause
    current().signalled = done.signalled
    keep_end(build, planned)
    save_weights(live, build.out, done.extra)
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

    arguments, trackers = tracking(build, arguments)
    falling = [name for name, upward in objective.greater_is_better.items() if not upward]
    return Watching(
        arguments, checkpoint.every_minutes, progress.step, progress.rows, progress.log,
        build.upload_checkpoint, build.remove_checkpoint,
        build.info, build.warn, falling, until, keeps_end(planned, arguments), trackers,
    )  # fmt: skip
