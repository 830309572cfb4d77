"""Stage 7: add an adapter to the model, if one is configured; for `peft.method: continue` the base's own.

In: the model of stage 6 and the `peft` section. Out: `adapter_config.json` and `adapter_model.safetensors` with the
adapter's initial weights and its saved head (and `prompt_encoder.safetensors` with the network that makes a prompt, if
one does); for `peft.method: none` only `adapter.json`.

A separate stage because a sweep over ranks must not create the model again, and because the initial weights are drawn
at random: the generator continues from its state after stage 6, as in a script that seeds once.
"""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.config import ContinuePeft, NoPeft, PeftConfig
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.stage import stage


@stage(libraries=("torch", "transformers", "peft"), components=("peft_task_type", "auto_model"))
def adapter(
    build: Build, *, objective: Objective, base: Artifact, model: Artifact, seeds: Artifact, peft: PeftConfig
) -> Mapping[str, Any]:
    """Write the adapter's config and initial weights.

    Raises:
        ConfigError: `peft.target_modules` matches no layer, or peft refuses an option for this model; there is no
            adapter to continue, or it does not fit.
    """
    if isinstance(peft, NoPeft):
        json.write({"method": "none"}, build.out / "adapter.json")
        return {"method": "none"}
    from tasks.artifacts.formats import weights
    from tasks.models.adapters import attach, dropped_inputs
    from tasks.models.assemble import starting_model
    from tasks.models.bases.files import INSIDE
    from tasks.models.create import RNG, restore_rng
    from tasks.models.folding import continued
    from tasks.models.heads import heads_of
    from tasks.models.load import NEW
    from tasks.training.save import save_weights

    folder = model.view()
    live = starting_model(folder, base.externals(), model.json("load.json"), None)
    restore_rng(model.path(RNG), seeds.json("seeds.json")["model"])
    heads = heads_of(live, weights.header(model.path(NEW)))
    if isinstance(peft, ContinuePeft):
        live = continued(live, base.view(external=True) / INSIDE, objective.peft_task_type, heads)
    else:
        live = attach(live, peft, objective.peft_task_type, heads, base.view())
    save_weights(live, build.out)
    trainable = sum(parameter.numel() for parameter in live.parameters() if parameter.requires_grad)
    found = {"method": peft.method, "trainable": trainable, "dropped": dropped_inputs(live)}
    json.write(found, build.out / "adapter.json")
    return {"method": peft.method, "trainable": trainable}
