"""Stage 8b, of runs with distillation: compute the teacher's answers to the training rows.

In: the teacher, the training rows; of tasks whose rows are masked anew in each epoch, `draws.json` of stage 8. Out:
`answers-0000.arrow` with one answer for each row; for rows that change, one file an epoch. Parts of some hundred rows
are artifacts: a build that was killed resumes at the first missing one.

A separate stage because it is computed once for all trainings on the same rows (a grid over rates, weights or
students), which then need no second model in memory.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import pyarrow as pa

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.ref import ArtifactRef
from tasks.config import ConfigError, RunConfig
from tasks.data.tables.arrow_file import open_table, write
from tasks.data.tokens.answered import answers_name
from tasks.data.tokens.token_rows import tokens_of
from tasks.models.device import machine, placed, placing
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.inputs import Unkeyed
from tasks.runtime.parts import predicted_in_parts
from tasks.runtime.progress import RowProgress
from tasks.runtime.stage import stage
from tasks.training.methods.distillation import refuse_large

FIELD = "methods.distillation"
MASKING = "tasks.data.tokens.masking"
OF_TOKENS = ("vocabulary", "next_token")


def answers_of(
    teacher: ArtifactRef | None, objective: Objective, run: RunConfig, plan: ArtifactRef, *, tokens: ArtifactRef,
    base: ArtifactRef, head: ArtifactRef,
) -> dict[str, ArtifactRef]:  # fmt: skip
    """Return this stage's artifact as an input of training; empty without a teacher. Of language models it depends on
    the temperature and `top_k`, as only the likeliest tokens are kept."""
    if teacher is None:
        return {}
    options, names = run.methods["distillation"], ("temperature", "top_k")
    asking = {name: options[name] for name in names} if objective.cross_entropy in OF_TOKENS else {}
    asking["hidden_states"] = bool(options["hidden_states"])
    draws = plan.select("draws.json") if objective.view.startswith(MASKING) else None
    return {"teacher_answers": teacher_answers(
        objective=objective, teacher=teacher, tokens=tokens.select("train-*"), base=base.select("processor.json"),
        head=head, draws=draws, asking=asking, placing=placing(run), max_gb=Unkeyed(value=options["max_gb"]),
    )}  # fmt: skip


@stage(
    libraries=("torch", "transformers", "numpy", "peft"),
    components=("auto_model", "view", "collate", "answering", "cross_entropy"),
    environment=lambda **_: machine(),
)
def teacher_answers(
    build: Build, *, objective: Objective, teacher: Artifact, tokens: Artifact, base: Artifact, head: Artifact,
    draws: Artifact | None, asking: Mapping[str, Any], placing: Mapping[str, Any], max_gb: float,
) -> Mapping[str, object]:  # fmt: skip
    """Write the teacher's answers.

    Args:
        base: `processor.json` of the model that learns. head: the classes of the rows. draws: how rows are masked, and
            for how many epochs. asking: options of the predictor. placing: where and how precisely to compute. max_gb:
            limit of the answers' size; not in the key.

    Raises:
        ConfigError: the teacher has no trained head for the task; the answers would be larger than the limit.
    """
    from tasks.training.compute import computing_as

    drawn = draws.json("draws.json") if draws is not None else {"epochs": 1, "seed": 0, "options": {}}
    settings, ends, plan = base.json("processor.json"), head.json("head.json"), placed(placing)
    plan["arguments"]["per_device_eval_batch_size"] = 8
    table = tokens_of(tokens.paths("train-"))
    assert table is not None
    rows = objective.component("view")(table, settings, drawn["seed"], drawn["options"])
    collate, model_of = objective.component("collate")(settings), cache(lambda: _load(objective, teacher, ends))
    facts, options = teacher.json("base.json"), dict(asking)
    options["hidden_size"] = facts["hidden_size"] if options.pop("hidden_states") else 0
    predictor = objective.component("answering")(
        objective.cross_entropy, vocabulary=facts["vocabulary"], classes=len(ends["labels"] or [1]), **options
    )
    refuse_large(predictor.bytes_of(rows, collate) * drawn["epochs"], max_gb)
    for epoch in range(drawn["epochs"]):
        rows.enter_epoch(epoch)
        what = "teacher's answers" + (f" to epoch {epoch + 1} of {drawn['epochs']}" if draws is not None else "")
        with computing_as(plan), RowProgress(what, build.info) as progress:
            found = predicted_in_parts(build, rows, {"epoch": epoch}, model_of, collate, predictor, plan, progress)
        write(pa.concat_tables(open_table(part) for part in found), build.out / answers_name(epoch))
    return {"rows": len(rows), "epochs": drawn["epochs"]}


def _load(objective: Objective, teacher: Artifact, ends: Mapping[str, Any]) -> Any:
    """Return the teacher, in float32, with its adapter merged if it has one."""
    from tasks.models.teachers import load_trained

    folder, pad = teacher.view(external=True), teacher.json("processor.json")["pad_token_id"]
    try:
        return load_trained(folder, teacher.externals(), objective.auto_model, ends, pad, objective.name)
    except ConfigError as error:
        raise ConfigError(f"{FIELD}.teacher: {error}") from error
