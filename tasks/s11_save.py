"""Stage 11: model, tokenizer, metrics and card become one folder.

In: the trained weights, the tokenizer, metrics, plan and counts. Out: an artifact that *is* the model folder: weights
and tokenizer adopted by digest, the picture of the training drawn once. On every run the folder is brought to
`output_dir`: files that already hold those bytes are left alone, others are replaced one by one, `finetune.json` last.
Without `output_dir` nothing is written outside the store.

A stage of its own because a model is not saved until it can be loaded elsewhere, with its labels and its limits.
"""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.evaluation.card import card
from tasks.evaluation.plots import curves
from tasks.models.files import LIVE, MERGED
from tasks.objectives import objective_of
from tasks.runtime.attempt import attempt
from tasks.runtime.build import Build
from tasks.runtime.export import export_folder
from tasks.runtime.stage import stage

PICTURE = "curves.png"
LEFT_OUT = ("base.json", "history.json", "padding.json")
ASKING = ("per_device_eval_batch_size", "bf16", "fp16", "predict_with_generate", "generation_max_length",
          "generation_num_beams")  # fmt: skip


@stage(libraries=("torch", "transformers", "peft", "matplotlib"), parts=("metric_names",), after=export_folder)
def save(
    build: Build,
    *,
    task: str,
    name: str | None,
    model_name: str,
    with_card: bool,
    merge: bool,
    base: Artifact,
    data: Artifact,
    head: Artifact,
    model: Artifact,
    plan: Artifact,
    trained: Artifact,
    history: Artifact,
    evaluated: Artifact,
    tag: str,
    shape: Mapping[str, Any],
    output_dir: str | None,
    promote: str,
    resolved: str,
) -> Mapping[str, Any]:
    """Write the model folder.

    Args:
        tag: the hub's word for what the model does. shape: how rows become tokens.
        history: what is drawn. output_dir, promote, resolved: where the folder goes, if it may, and what made it.
            All not in the key; the history tells seconds.
    """
    adapted = "adapter_config.json" in trained
    kind = model.json("load.json")["auto_model"]
    merge = merge or MERGED in model  # an adapter to what is not in one place could be loaded nowhere
    composite = ":" in kind and not kind.startswith(LIVE)
    if composite or (adapted and merge):
        from tasks.models.assemble import trained_model

        live = trained_model(trained.view(), model.view(), base.externals(), model.json("load.json"), merge=adapted)
        (live.export if composite else live.save_pretrained)(build.out)  # of a composite, parts anybody can load
        adapted = False
    else:
        build.adopted.update(_members(trained))
    folders = [f"{path.name}/" for path in build.out.iterdir() if path.is_dir()] if composite else [""]
    tokenizer = _members(base, but=("config.json",))
    build.adopted.update({f"{folder}{name}": member for folder in folders for name, member in tokenizer.items()})
    if adapted:
        build.adopted["config.json"] = model.ref.members["config.json"]
    planned = plan.json("plan.json")
    asking = _asking(planned, evaluated, shape, data, base, model)
    beside = {"metrics": evaluated.json("metrics.json"), "training_plan": planned, "inference": asking}
    for kept, value in beside.items():
        json.write(value, build.out / f"{kept}.json")
    drawn = _draw(build, task, planned, history.json("history.json"))
    if with_card:
        text = card(
            name or "fine-tuned model", model_name, planned, data.json("data.json"), head.json("head.json"),
            beside["metrics"], evaluated.json("intervals.json"), adapted, kind, tag, PICTURE if drawn else None,
        )  # fmt: skip
        (build.out / "README.md").write_text(text)
    return {"adapter": adapted}


def _draw(build: Build, task: str, planned: Mapping[str, Any], log: Any) -> bool:
    names, given = objective_of(task).metric_names, planned["arguments"]
    best, upward = given.get("metric_for_best_model"), given.get("greater_is_better", True)
    if drawn := attempt("drawing the training", lambda: curves(log, names, best, upward), None, build.warn):
        (build.out / PICTURE).write_bytes(drawn)
    return drawn is not None


def _asking(
    planned: Mapping[str, Any], evaluated: Artifact, shape: Mapping[str, Any], data: Artifact, base: Artifact,
    model: Artifact,
) -> dict[str, Any]:  # fmt: skip
    """What is to be known to ask the model about rows."""
    return {
        "task": planned["task"],
        "head": evaluated.json("head.json"),
        "shape": {**shape, "max_length": planned["max_length"]},
        "columns": data.json("data.json")["columns"],
        "processor": base.json("padding.json"),
        "loading": model.json("load.json"),
        "arguments": {name: planned["arguments"][name] for name in ASKING if name in planned["arguments"]},
        "options": planned["options"],
        "seed": planned["seed"],
    }


def _members(artifact: Artifact, but: tuple[str, ...] = ()) -> dict[str, Any]:
    return {name: member for name, member in artifact.ref.members.items() if name not in LEFT_OUT + but}
