"""Stage 11: save model, tokenizer, metrics and card as one folder.

In: the trained weights, the tokenizer, metrics, plan and counts. Out: an artifact that *is* the model folder: weights,
tokenizer and the Trainer's state are referenced by digest, plots are drawn once. Every run copies the folder to
`output_dir`, one run at a time: files with the same content are left alone, others are replaced together. Without
`output_dir` nothing is written outside the store.

A separate stage because a model is only saved when it can be loaded elsewhere, with its labels and limits.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.config.json_types import JsonObject
from tasks.evaluation.plot_confusion import confusion_picture
from tasks.evaluation.plots import training_curves
from tasks.models.bases.files import GENERATION, LIVE, MERGED, PROMPT_ENCODER
from tasks.models.bases.hub import commit_of
from tasks.models.generation import write_as_scored
from tasks.objectives.base import Objective
from tasks.results.card import Base, card
from tasks.results.export import export_folder
from tasks.results.model_folder import RESULTS as RESULT_FILES
from tasks.results.model_folder import TOKENIZER, inference_facts, limited_tokenizer, write_results
from tasks.results.pictures import draw
from tasks.results.usage import sample_of
from tasks.runtime.build import Build
from tasks.runtime.context import current
from tasks.runtime.stage import stage

COMPONENTS = ("auto_model", "ends", "metric_names", "pipeline_tag", "sample")
LIBRARIES = ("torch", "transformers", "peft", "matplotlib", "huggingface-hub")
PICTURE, CONFUSION, STATE = "curves.png", "confusion.png", "trainer_state.json"
TIMED = (PICTURE, STATE, *RESULT_FILES)  # contain times, which are in no key
RESULTS = ("metrics.json", "intervals.json", "classes.*", "head.json", "samples.*")
LEFT_OUT = ("base.json", "history.json", "processor.json", PROMPT_ENCODER)  # not needed to use the model


@stage(libraries=LIBRARIES, components=COMPONENTS, after=export_folder)
def save(
    build: Build, *, objective: Objective, name: str | None, model_name: str, with_card: bool, merge: bool,
    base: Artifact, data: Artifact, head: Artifact, model: Artifact, plan: Artifact, trained: Artifact,
    history: Artifact, evaluated: Artifact, shape: Mapping[str, Any], sources: Mapping[str, str],
    known: Mapping[str, Any], limits: Mapping[str, Any], guarded: Mapping[str, Any], output_dir: str | None,
    promote: str, resolved: str,
) -> Mapping[str, Any]:  # fmt: skip
    """Write the model folder.

    Args:
        shape: how rows are tokenized. sources: commits of the hub's data sets. known: license and language of the base.
        limits: of generated texts. guarded: further metrics. history: values to plot, and the Trainer's state.
        output_dir, promote, resolved: where and whether to write the folder; the config. The last four are not keyed.
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
    planned, metrics = plan.json("plan.json"), {**evaluated.json("metrics.json"), **guarded}
    folders = [f"{path.name}/" for path in build.out.iterdir() if path.is_dir()] if composite else [""]
    _add_tokenizer(build, base, folders, planned["max_length"])
    if adapted:
        build.adopted["config.json"] = model.ref.members["config.json"]
    before = trained.path(GENERATION) if GENERATION in trained else base.externals().get(GENERATION)
    ends = objective.component("ends") if kind == objective.auto_model else None
    if ends or "predict_with_generate" in planned["arguments"]:
        build.adopted.pop(GENERATION, None)
        files = before, model.path("config.json"), build.out / GENERATION
        if line := write_as_scored(*files, planned["arguments"], ends, base.view()):
            build.warn(f"model.name: {line}")
    asking = inference_facts(planned, limits, evaluated.json("head.json"), shape, data, base, model, adapted)
    for kept, value in {"metrics": metrics, "training_plan": planned, "inference": asking}.items():
        json.write(value, build.out / f"{kept}.json")
    if "state.json" in history:
        build.adopted[STATE] = history.ref.members["state.json"]
        write_results(history.json("state.json"), metrics, data.json("data.json")["rows"], build.out)
    drawn = draw(build, PICTURE, lambda: training_curves(
        history.json("history.json"), objective.metric_names, planned["arguments"]))  # fmt: skip
    classes = evaluated.json("classes.json") if "classes.json" in evaluated else {}
    confusion = draw(build, CONFUSION, lambda: confusion_picture(classes.get("test") or classes.get("validation", {})))
    if with_card:
        text = card(
            name or "fine-tuned model", Base(model_name, commit_of(base.externals()), model.json("size.json")["head"]),
            planned, {**data.json("data.json"), "sources": sources}, head.json("head.json"), metrics,
            evaluated.json("intervals.json"),
            trained.json("adapter_config.json") if adapted else None, kind,
            objective.pipeline_tag, drawn, classes, confusion, known, sample_of(objective, asking["columns"]),
            current().warnings, evaluated.json("samples.json") if "samples.json" in evaluated else (),
        )  # fmt: skip
        (build.out / "README.md").write_text(text)
    return {"adapter": adapted, "sources": dict(sources)}


def _export(build: Build, trained: Artifact, model: Artifact, base: Artifact, composite: bool, merge: bool) -> None:
    from tasks.models.assemble import trained_model

    live = trained_model(trained.view(), model.view(), base.externals(), model.json("load.json"), merge=merge)
    (live.export if composite else live.save_pretrained)(build.out)  # a composite is saved as its loadable parts


def _add_tokenizer(build: Build, base: Artifact, folders: Sequence[str], length: int) -> None:
    limited = limited_tokenizer(base, length)
    members = _members(base, but=("config.json", TOKENIZER) if limited else ("config.json",)).items()
    for folder in folders:
        build.adopted.update({f"{folder}{name}": member for name, member in members})
        if limited:
            json.write(limited, build.out / folder / TOKENIZER)


def _members(artifact: Artifact, but: tuple[str, ...] = ()) -> JsonObject:
    return {name: member for name, member in artifact.ref.members.items() if name not in LEFT_OUT + but}
