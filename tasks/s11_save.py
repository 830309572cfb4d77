"""Stage 11: save model, tokenizer, metrics and card as one folder.

In: the trained weights, the tokenizer, metrics, plan and counts. Out: an artifact that *is* the model folder: weights,
tokenizer and the Trainer's state are referenced by digest, plots are drawn once. Every run copies the folder to
`output_dir`, one run at a time: files with the same content are left alone, others are replaced together. Without
`output_dir` nothing is written outside the store.

A separate stage because a model is only saved when it can be loaded elsewhere, with its labels and limits.
"""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.config.json_types import JsonObject
from tasks.evaluation.plot_confusion import confusion_picture
from tasks.evaluation.plots import training_curves
from tasks.models.bases.files import GENERATION, INSIDE, LIVE, MERGED
from tasks.models.bases.hub import commit_of
from tasks.models.generation import LIMITS, write_as_scored
from tasks.objectives.base import Objective
from tasks.results.card import Base, card
from tasks.results.export import export_folder
from tasks.results.pictures import draw
from tasks.runtime.build import Build
from tasks.runtime.context import current
from tasks.runtime.stage import stage

LIBRARIES = ("torch", "transformers", "peft", "matplotlib")
PICTURE, CONFUSION, STATE = "curves.png", "confusion.png", "trainer_state.json"
TIMED = (PICTURE, STATE)  # contain times, which are in no key
RESULTS = ("metrics.json", "intervals.json", "classes.*", "head.json")
LEFT_OUT = ("base.json", "history.json", "processor.json")
ASKING = ("per_device_eval_batch_size", "bf16", "fp16", "predict_with_generate", *LIMITS)


@stage(libraries=LIBRARIES, components=("auto_model", "metric_names", "pipeline_tag"), after=export_folder)
def save(
    build: Build, *, objective: Objective, name: str | None, model_name: str, with_card: bool, merge: bool,
    base: Artifact, data: Artifact, head: Artifact, model: Artifact, plan: Artifact, trained: Artifact,
    history: Artifact, evaluated: Artifact, shape: Mapping[str, Any], sources: Mapping[str, str],
    output_dir: str | None, promote: str, resolved: str,
) -> Mapping[str, Any]:  # fmt: skip
    """Write the model folder.

    Args:
        shape: how rows are tokenized. sources: commits of the hub's data sets.
        history: values to plot, and the Trainer's state. output_dir, promote, resolved: where and whether to write
            the folder, and the config. None of these four is in the key.
    """
    adapted = "adapter_config.json" in trained
    kind = model.json("load.json")["auto_model"]
    merge = merge or MERGED in model  # an adapter to a base that exists nowhere in one piece could not be loaded
    composite = ":" in kind and not kind.startswith(LIVE)
    if composite or (adapted and merge):
        if model.json("load.json").get("quantization"):
            build.warn("export.merge: the adapter is merged into the unquantized base, the metrics are those of the "
                       "quantized one; `finetune evaluate` measures the merged model")  # fmt: skip
        _export(build, trained, model, base, composite, adapted)
        adapted = False
    else:
        build.adopted.update(_members(trained))
    folders = [f"{path.name}/" for path in build.out.iterdir() if path.is_dir()] if composite else [""]
    tokenizer = _members(base, but=("config.json",)).items()
    build.adopted.update({f"{folder}{name}": member for folder in folders for name, member in tokenizer})
    if adapted:
        build.adopted["config.json"] = model.ref.members["config.json"]
    planned, metrics = plan.json("plan.json"), evaluated.json("metrics.json")
    before = trained.path(GENERATION) if GENERATION in trained else base.externals().get(GENERATION)
    if "predict_with_generate" in planned["arguments"]:
        build.adopted.pop(GENERATION, None)
        if line := write_as_scored(before, model.path("config.json"), build.out / GENERATION, planned["arguments"]):
            build.warn(f"model.name: {line}")
    asking = _asking(planned, evaluated, shape, data, base, model, adapted)
    for kept, value in {"metrics": metrics, "training_plan": planned, "inference": asking}.items():
        json.write(value, build.out / f"{kept}.json")
    build.adopted.update({STATE: history.ref.members["state.json"]} if "state.json" in history else {})
    drawn = draw(build, PICTURE, lambda: training_curves(
        history.json("history.json"), objective.metric_names, planned["arguments"]))  # fmt: skip
    classes = evaluated.json("classes.json") if "classes.json" in evaluated else {}
    confusion = draw(build, CONFUSION, lambda: confusion_picture(classes.get("test") or classes.get("validation", {})))
    if with_card:
        text = card(
            name or "fine-tuned model", Base(model_name, commit_of(base.externals()), model.json("size.json")["head"]),
            planned, {**data.json("data.json"), "sources": sources}, head.json("head.json"), metrics,
            evaluated.json("intervals.json"),
            trained.json("adapter_config.json") if adapted else None,
            kind, objective.pipeline_tag, drawn, classes, confusion, current().warnings,
        )  # fmt: skip
        (build.out / "README.md").write_text(text)
    return {"adapter": adapted, "sources": dict(sources)}


def _export(build: Build, trained: Artifact, model: Artifact, base: Artifact, composite: bool, merge: bool) -> None:
    from tasks.models.assemble import trained_model

    live = trained_model(trained.view(), model.view(), base.externals(), model.json("load.json"), merge=merge)
    (live.export if composite else live.save_pretrained)(build.out)  # a composite is saved as its loadable parts


def _asking(planned: Mapping[str, Any], evaluated: Artifact, shape: Any, data: Artifact, base: Artifact,
            model: Artifact, adapted: bool) -> JsonObject:  # fmt: skip
    """Return what inference needs to run the model on new rows."""
    weights = base.json("base.json")["weights"]
    return {
        **{name: planned[name] for name in ("task", "options", "seed")},
        "head": evaluated.json("head.json"),
        "shape": {**shape, "max_length": planned["max_length"]},
        "columns": data.json("data.json")["columns"],
        "processor": base.json("processor.json"),
        "loading": model.json("load.json"),
        "arguments": {name: planned["arguments"][name] for name in ASKING if name in planned["arguments"]},
        "base": {name: digest for name, digest in weights.items() if not name.startswith(INSIDE)} if adapted else {},
    }


def _members(artifact: Artifact, but: tuple[str, ...] = ()) -> JsonObject:
    return {name: member for name, member in artifact.ref.members.items() if name not in LEFT_OUT + but}
