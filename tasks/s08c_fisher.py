"""Stage 8c, of runs with elastic weight consolidation: how much each weight of an earlier model matters for its task.

In: the earlier model (by the digests of its files), its training rows and their classes. Out: `fisher.safetensors`, the
diagonal of the empirical Fisher information at that model's weights, and `center.safetensors`, these weights; both in
float32, of the parameters of the body, by their names there.

A separate stage because it depends on the earlier task alone: it is computed once for all later tasks and for a grid
over `ewc_lambda`.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.config import ConfigError
from tasks.data.tokens.token_rows import tokens_of
from tasks.models.device import machine, placed
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.progress import RowProgress
from tasks.runtime.stage import stage
from tasks.training.methods.ewc import CENTER, FISHER


@stage(
    libraries=("torch", "transformers", "numpy", "peft"),
    components=("auto_model", "view", "collate", "loss", "cross_entropy"),
    environment=lambda **_: machine(),
)
def fisher(
    build: Build, *, objective: Objective, base: Artifact, tokens: Artifact, head: Artifact, samples: int,
    options: Mapping[str, Any], loss_options: Mapping[str, Any], placing: Mapping[str, Any], name: str,
) -> Mapping[str, object]:  # fmt: skip
    """Write the Fisher information and the weights.

    Args:
        base: of the earlier model. head: the classes of its rows. samples: number of training rows, drawn with a fixed
            seed. options: fields of `data` that affect how rows are sampled. placing: where and how precisely to
            compute. name: the task's, for messages; not in the key.

    Raises:
        ConfigError: the model has no trained head for the task, or its loss is not finite.
    """
    from safetensors.torch import save_file

    from tasks.models.bodies import body_of
    from tasks.models.teachers import load_trained
    from tasks.training.compute import computing_as
    from tasks.training.fisher import diagonal_fisher, sampled

    settings, plan, table = base.json("processor.json"), placed(placing), tokens_of(tokens.paths("train-"))
    assert table is not None
    rows = objective.component("view")(table, settings, 0, options)
    loss, collate = objective.component("loss"), objective.component("collate")(settings)
    at = sampled(len(rows), samples)
    try:
        model = load_trained(base.view(external=True), base.externals(), objective.auto_model, head.json("head.json"),
                             settings["pad_token_id"], objective.name)  # fmt: skip
        model.config.use_cache = False
        center = {each: weights.detach().clone() for each, weights in body_of(model).named_parameters()}
        with computing_as(plan), RowProgress(f"Fisher information of {name}", build.info) as progress:
            model = model.to("cuda") if plan["device"] != "cpu" else model
            found = diagonal_fisher(model, rows, at, collate, partial(loss, **loss_options) if loss else None,
                                    objective.cross_entropy, progress.rows)  # fmt: skip
    except ConfigError as error:
        raise ConfigError(f"methods.ewc.previous: {name}: {error}") from error
    for file, tensors in ((FISHER, found), (CENTER, center)):
        save_file({each: tensor.cpu().contiguous() for each, tensor in tensors.items()}, build.out / file)
    return {"rows": len(at)}
