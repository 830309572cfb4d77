"""Stage 6: create the model from the base and the task.

In: the base's weights (by digest), the class names, loading options, a seed. Out: `config.json` with the head,
`new.safetensors` with only the parameters that the base lacks and a head that was matched to the classes, `load.json`,
`head.json` (the model's classes: the base's names are kept if the data only has numbers), `size.json`, the state of the
random generator afterwards, and, if the base's adapter is merged, `merged.safetensors` with the parameters it changed.
For a base of 7 billion parameters the artifact has some kilobytes.

A separate stage because the head is initialized at random: it must be the same in every run with the same base, labels
and seed.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.config import ConfigError, RunConfig
from tasks.config.json_types import JsonObject
from tasks.models.bases.base import live_class
from tasks.models.device import kind, quantizes, training_device
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.log import warn
from tasks.runtime.stage import stage

NOT_HERE = "the installed bitsandbytes has no library to compute quantized layers"


def loading(objective: Objective, run: RunConfig) -> JsonObject:
    """Return how to load the model, as data.

    Raises:
        ConfigError: bitsandbytes does not compute on the training's device, if `quant.on_unavailable` is `error`.
    """
    where, wanted = training_device(getattr(run.train, "use_cpu", None)), run.quant.bits is not None
    if wanted and not quantizes(where):
        if run.quant.on_unavailable == "error":
            raise ConfigError(
                f"quant: {NOT_HERE} on {where}; set quant: false, or quant.on_unavailable: ignore to train unquantized "
                "on such machines"
            )
        warn(f"quant is ignored: {NOT_HERE} on {where}, so the model is trained unquantized")
        wanted = False
    model, live = run.model, live_class(run.model)
    if wanted and ":" in objective.auto_model:
        raise ConfigError(f"quant: {objective.name} trains two models that share embeddings; set quant: false")
    if live and (wanted or ":" in objective.auto_model):
        raise ConfigError("base: a live model of a custom class cannot be quantized or be the base of "
                          f"{objective.name}; save it as a transformers model first")  # fmt: skip
    quantized = {
        "quantization": run.quant.arguments(), "quantizer": version("bitsandbytes"), "quantized_on": kind(where),
        "spared": getattr(run.peft, "modules_to_save", None) or [],
    }  # fmt: skip
    usual = run.quant.bnb_4bit_compute_dtype if wanted else "float32"
    return {
        "auto_model": objective.auto_model,
        "dtype": usual if model.dtype == "auto" else model.dtype,
        "attn_implementation": model.attn_implementation,
        "trust_remote_code": model.trust_remote_code,
        **(quantized if wanted else {}),
        **live,
    }


@stage(libraries=("torch", "transformers"), components=("auto_model",))
def model(
    build: Build, *, objective: Objective, base: Artifact, head: Artifact, seeds: Artifact, loading: Mapping[str, Any],
    merge: bool,
) -> Mapping[str, object]:  # fmt: skip
    """Write the model's config and new parameters.

    Args:
        merge: whether to merge the base's adapter, if it has one; stage 7 trains others on.

    Raises:
        ConfigError: the base's architecture has no head for the task, or no layer that can be quantized.
    """
    from tasks.models.create import create
    from tasks.models.load import Loading

    ends = head.json("head.json")
    pad = base.json("processor.json")["pad_token_id"]
    folder = base.view(external=True)
    tokens = base.json("base.json")["vocabulary"]
    made = create(folder, build.out, Loading(**loading), ends, seeds.json("seeds.json")["model"], pad, tokens, merge)
    if made.unused:
        build.warn(f"model.name: its adapter's head is for another task or other labels and is not used: "
                   f"{', '.join(made.unused)}")  # fmt: skip
    if made.resized:
        build.warn(f"model.name: its tokenizer has more tokens ({tokens:,}) than the model has embeddings; they "
                   "are resized, and the whole model is saved")  # fmt: skip
    fitted = made.head
    if fitted is not None and fitted.message:
        (build.info if fitted.how == "kept" else build.warn)(f"model.name: {fitted.message}")
    spared = {"spared": made.spared} if made.quantized else {}
    if made.quantized:
        build.info(f"quant: {made.quantized / made.parameters:.0%} of {made.parameters:,} weights are quantized; "
                  "embeddings, norms and heads are not")  # fmt: skip
    json.write({**loading, **spared}, build.out / "load.json")
    json.write({**ends, "labels": fitted.labels if fitted else ends["labels"]}, build.out / "head.json")
    size = {"parameters": made.parameters, "quantized": made.quantized, "logits": made.logits,
            "head": fitted.message if fitted else ""}  # fmt: skip
    json.write(size, build.out / "size.json")
    facts = {"parameters": made.parameters, "classes": len(ends["labels"] or [])}
    return {**facts, "head": fitted.how} if fitted else facts
