"""What a distillation costs besides the training: the teacher's answers in the store."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from tasks.config import RunConfig
from tasks.objectives import objective_of
from tasks.runtime.context import RunContext
from tasks.training.arithmetic import drawn
from tasks.training.methods.distillation import refuse_large


def answers_size(config: RunConfig, context: RunContext, plan: Mapping[str, Any], tokens: pa.Table) -> int:
    """Return about how many bytes the teacher's answers to these training rows need; 0 without a teacher.

    Raises:
        ConfigError: more than `max_gb`.
    """
    options, objective = config.methods.get("distillation"), objective_of(config.task)
    if options is None:
        return 0
    processor, head = context.read("s03_base", "processor.json"), context.read("s04_prepare", "head.json")
    base = context.read("s03_base", "base.json")
    masks = {"mlm_probability": config.data.mlm_probability} if config.data.mlm_probability else {}
    rows = objective.component("view")(tokens, processor, 0, masks)
    predictor = objective.component("answering")(
        objective.cross_entropy, classes=len(head["labels"] or [1]), top_k=options["top_k"],
        vocabulary=base["vocabulary"], hidden_size=base["hidden_size"] if options["hidden_states"] else 0,
    )  # fmt: skip
    some, of = plan.get("sampled") or (1, 1)
    epochs = drawn({"seed": 0, "options": {}, **plan})["epochs"] if masks else 1
    size = round(predictor.bytes_of(rows, objective.component("collate")(processor)) * epochs * of / some)
    refuse_large(size, options["max_gb"])
    return size
