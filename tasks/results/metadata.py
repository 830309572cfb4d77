"""The YAML header of a model card, which the Hugging Face hub reads: what the model is, and its metrics."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasks.data.sources.fetch import HF

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

SPLITS = {"eval_": "validation", "test_": "test"}
METRICS = {"matthews": "matthews_correlation", "pearson": "pearsonr", "spearman": "spearmanr", "r2": "r_squared",
           "bleu": "sacrebleu"}  # ours -> the id at hf.co/metrics, where it is another  # fmt: skip
AVERAGES = ("macro", "micro", "weighted", "samples")


def metadata(
    name: str, task: str, tag: str, base: str | None, adapter: str | None, metrics: Mapping[str, float | None],
    sources: Mapping[str, str], known: Mapping[str, Any],
) -> str:  # fmt: skip
    """Return the header without its `---` lines.

    Args:
        tag: the hub's name of the task; empty if it has none. base: a hub model. adapter: peft's name of the method.
        metrics: `metrics.json`. sources: hub data sets by field, as `tasks.s04_prepare.sources` returns them.
        known: what the base's own card says that holds for this model too: license, language.
    """
    from huggingface_hub import ModelCardData

    results = list(_results(tag or task, metrics, sources))
    found = (HF.match(spec) for given in sources.values() for spec in _specs(given))
    data = ModelCardData(
        base_model=base, library_name="peft" if adapter else "transformers", pipeline_tag=tag or None,
        tags=["generated_from_trainer", "finetune-flow", *([adapter] if adapter else [])],
        datasets=list(dict.fromkeys(match["name"] for match in found if match)) or None,
        metrics=list(dict.fromkeys(each.metric_type for each in results)) or None, model_name=name,
        eval_results=results or None, **known,
    )  # fmt: skip
    return data.to_yaml(line_break="\n")


def _results(task: str, metrics: Mapping[str, float | None], sources: Mapping[str, str]) -> Iterator["EvalResult"]:
    from huggingface_hub import EvalResult

    for full, value in metrics.items():
        split, name = SPLITS.get(full[:5]), full[5:]
        if split is None or value is None or name.endswith("loss"):
            continue
        kind, _, average = name.partition("_")
        of_average = average in AVERAGES
        yield EvalResult(
            task_type=task, metric_name=name, metric_value=round(value, 6),
            metric_type=kind if of_average else METRICS.get(name, name),
            metric_args={"average": average} if of_average else None, **_data_set(split, sources),
        )  # fmt: skip


def _data_set(split: str, sources: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a result that say which rows it is of; a split without a source was taken from train."""
    own = _specs(sources.get(f"data.{split}", ""))
    for spec in [*own, *_specs(sources.get("data.train", ""))]:
        if match := HF.match(spec):
            return {"dataset_type": match["name"], "dataset_name": match["name"], "dataset_config": match["config"],
                    "dataset_split": (match["split"] if own else None) or split}  # fmt: skip
    return {"dataset_type": "local", "dataset_name": "local data", "dataset_split": split}


def _specs(given: str) -> Sequence[str]:
    return [each.partition(" at commit ")[0] for each in given.split(", ") if each]
