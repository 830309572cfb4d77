"""Stage 6: create the model from the base and the task.

In: the base's weights (by digest), the class names, loading options, a seed. Out: `config.json` with the head,
`new.safetensors` with only the parameters that the base lacks and a head that was matched to the classes, `load.json`,
`head.json` (the model's classes: the base's names are kept if the data only has numbers), `size.json`, the state of the
random generator afterwards, and, if the base has an adapter, `merged.safetensors` with the parameters it changed. For a
base of 7 billion parameters the artifact has some kilobytes.

A separate stage because the head is initialized at random: it must be the same in every run with the same base, labels
and seed.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.config import ConfigError, ModelConfig, QuantConfig
from tasks.config.json_types import JsonObject
from tasks.models.bases.base import live_class
from tasks.models.device import device
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.log import warn
from tasks.runtime.stage import stage


def loading(objective: Objective, model: ModelConfig, quant: QuantConfig) -> JsonObject:
    """Return how to load the model, as data.

    Raises:
        ConfigError: quantization without CUDA, if `quant.on_unavailable` is `error`.
    """
    wanted = quant.load_in_4bit or quant.load_in_8bit
    if wanted and device() == "cpu":
        if quant.on_unavailable == "error":
            raise ConfigError(
                "quant: quantized training needs a CUDA device and there is none here; set quant: false, or "
                "quant.on_unavailable: ignore to train unquantized on such machines"
            )
        warn("quant is ignored: there is no CUDA device here, so the model is trained unquantized")
        wanted = False
    dtype = model.dtype if model.dtype != "auto" else quant.bnb_4bit_compute_dtype if wanted else "float32"
    fields = {"on_unavailable"} if quant.load_in_4bit else {
        "on_unavailable", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant"}  # fmt: skip
    live = live_class(model)
    if live and (wanted or ":" in objective.auto_model):
        raise ConfigError("base: a live model of a custom class cannot be quantized or be the base of "
                          f"{objective.name}; save it as a transformers model first")  # fmt: skip
    return {
        "auto_model": objective.auto_model,
        "dtype": dtype,
        "attn_implementation": model.attn_implementation,
        "quantization": quant.model_dump(mode="json", exclude=fields) if wanted else None,
        "trust_remote_code": model.trust_remote_code,
        "quantizer": version("bitsandbytes") if wanted else None,
        **live,
    }


@stage(libraries=("torch", "transformers"), components=("auto_model",))
def model(
    build: Build, *, objective: Objective, base: Artifact, head: Artifact, seeds: Artifact, loading: Mapping[str, Any]
) -> Mapping[str, object]:
    """Write the model's config and new parameters.

    Raises:
        ConfigError: the base's architecture has no head for the task.
    """
    from tasks.models.create import create
    from tasks.models.load import Loading

    ends = head.json("head.json")
    pad = base.json("processor.json")["pad_token_id"]
    folder = base.view(external=True)
    tokens = base.json("base.json")["vocabulary"]
    made = create(folder, build.out, Loading(**loading), ends, seeds.json("seeds.json")["model"], pad, tokens)
    if made.unused:
        build.warn(f"model.name: its adapter's head is for another task or other labels and is not used: "
                   f"{', '.join(made.unused)}")  # fmt: skip
    if made.resized:
        build.warn(f"model.name: its tokenizer has more tokens ({tokens:,}) than the model has embeddings; they "
                   "are resized, and the whole model is saved")  # fmt: skip
    fitted = made.head
    if fitted is not None and fitted.said:
        (build.say if fitted.how == "kept" else build.warn)(f"model.name: {fitted.said}")
    spared = {"spared": made.new} if loading["quantization"] else {}
    json.write({**loading, **spared}, build.out / "load.json")
    json.write({**ends, "labels": fitted.labels if fitted else ends["labels"]}, build.out / "head.json")
    size = {"parameters": made.parameters, "logits": made.logits, "head": fitted.said if fitted else ""}
    json.write(size, build.out / "size.json")
    facts = {"parameters": made.parameters, "classes": len(ends["labels"] or [])}
    return {**facts, "head": fitted.how} if fitted else facts
