"""A task beside the one that is trained: rows that another model was trained for, prepared as its own run would.

Its stages are called with its own config, so that they are cached if it was trained with the same store. What keeps or
measures the abilities of an earlier model (a guard, elastic weight consolidation, rehearsal) starts from these.
"""

from dataclasses import dataclass

from tasks import s03_base, s04_prepare, s05_tokenize
from tasks.artifacts.ref import ArtifactRef
from tasks.config import RunConfig
from tasks.objectives import objective_of
from tasks.objectives.base import Objective
from tasks.runtime.context import current
from tasks.runtime.inputs import Unkeyed


@dataclass(frozen=True)
class OtherTask:
    """A task and the model that was trained for it, as artifacts.

    Attributes:
        name: for messages and metrics. config: as resolved; its `model` is the one trained for the task.
        base: stage 3's, with the digests of that model. rows: stage 4's. tokens: stage 5's.
    """

    name: str
    config: RunConfig
    objective: Objective
    base: ArtifactRef
    rows: ArtifactRef
    tokens: ArtifactRef


def other_task(name: str, config: RunConfig) -> OtherTask:
    """Prepare a task: read and tokenize its rows with the tokenizer of the model that was trained for it.

    Args:
        config: as resolved.

    Raises:
        ConfigError, DataError: as of a run with this config.
    """
    objective = objective_of(config.task)
    with current().beside(name):
        base = s03_base.base(
            model=Unkeyed(value=config.model), trust_remote_code=config.model.trust_remote_code,
            chat_template=s03_base.template_text(config.model.chat_template),
        )  # fmt: skip
        reading, data = s04_prepare.reading(config.data), Unkeyed(value=config.data)
        rows = s04_prepare.prepare(objective=objective, reading=reading, data=data)
        shape = s05_tokenize.shape(objective, config.data, base)
        tokens = s05_tokenize.tokenize(objective=objective, rows=rows.select("*.arrow"), base=base, shape=shape)
    return OtherTask(name, config, objective, base, rows, tokens)
