"""Stage 11: model, tokenizer, metrics and card become one folder.

In: the trained weights, the tokenizer, metrics, plan and counts. Out: an artifact that *is* the model folder (weights
and tokenizer adopted by digest, not copied again). On every run, found or built, the folder is brought to
`output_dir`: files that already hold those bytes are left alone, others are replaced one by one, `finetune.json`
last. Without `output_dir` nothing is written outside the store.

A stage of its own because a model is not saved until it can be loaded elsewhere, with its labels and its limits.
"""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.config import ExportConfig
from tasks.evaluation.card import card
from tasks.runtime.build import Build
from tasks.runtime.export import export_folder
from tasks.runtime.stage import stage

LEFT_OUT = ("base.json", "history.json", "padding.json")
ASKING = ("per_device_eval_batch_size", "bf16", "fp16", "predict_with_generate", "generation_max_length",
          "generation_num_beams")  # fmt: skip


@stage(libraries=("torch", "transformers", "peft"), after=export_folder)
def save(
    build: Build,
    *,
    name: str | None,
    model_name: str,
    export: ExportConfig,
    base: Artifact,
    data: Artifact,
    head: Artifact,
    model: Artifact,
    plan: Artifact,
    trained: Artifact,
    evaluated: Artifact,
    tag: str,
    shape: Mapping[str, Any],
    output_dir: str | None,
    resolved: str,
) -> Mapping[str, Any]:
    """Write the model folder.

    Args:
        tag: the hub's word for what the model does. shape: how rows become tokens.
        output_dir, resolved: where the folder goes, and the config that made it; not in the key.
    """
    adapted = "adapter_config.json" in trained
    kind = model.json("load.json")["auto_model"]
    if ":" in kind or (adapted and export.merge):
        from tasks.models.assemble import trained_model

        merge = adapted
        live = trained_model(trained.view(), model.view(), base.externals(), model.json("load.json"), merge=merge)
        if ":" in kind:  # a class of ours, which nobody else could load: its parts are models anybody can
            live.export(build.out)
        else:
            live.save_pretrained(build.out)
        adapted = False
    else:
        build.adopted.update(_members(trained))
    folders = [f"{path.name}/" for path in build.out.iterdir() if path.is_dir()] if ":" in kind else [""]
    tokenizer = _members(base, but=("config.json",))
    build.adopted.update({f"{folder}{name}": member for folder in folders for name, member in tokenizer.items()})
    if adapted:
        build.adopted["config.json"] = model.ref.members["config.json"]
    metrics = evaluated.json("metrics.json")
    json.write(metrics, build.out / "metrics.json")
    planned = plan.json("plan.json")
    json.write(planned, build.out / "training_plan.json")
    known = _asking(planned, head, shape, data, base, model)
    json.write(known, build.out / "inference.json")
    if export.card:
        text = card(
            name or "fine-tuned model", model_name, planned, data.json("data.json"),
            head.json("head.json"), metrics, adapted, model.json("load.json")["auto_model"], tag,
        )  # fmt: skip
        (build.out / "README.md").write_text(text)
    return {"adapter": adapted}


def _asking(
    planned: Mapping[str, Any],
    head: Artifact,
    shape: Mapping[str, Any],
    data: Artifact,
    base: Artifact,
    model: Artifact,
) -> dict[str, Any]:
    """What is to be known to ask the model about rows."""
    return {
        "task": planned["task"],
        "head": head.json("head.json"),
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
