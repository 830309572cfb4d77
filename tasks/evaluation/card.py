"""The model card: what the model is, what it was made from, how good it is, how to load it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.evaluation.usage import usage

SHOWN = ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps",
         "weight_decay", "warmup_steps", "lr_scheduler_type", "optim")  # fmt: skip


def card(
    name: str,
    base: str,
    plan: Mapping[str, Any],
    data: Mapping[str, Any],
    head: Mapping[str, Any],
    metrics: Mapping[str, float | None],
    intervals: Mapping[str, Sequence[float]],
    adapter: bool,
    auto_model: str,
    tag: str,
    picture: str | None,
) -> str:
    """Return a model card in markdown with the hub's front matter.

    Args:
        auto_model: the transformers class that loads it. tag: the hub's word for what it does.
        base: the base model's name. plan: `plan.json`. data: `data.json`. head: `head.json`.
        metrics, intervals: `metrics.json`, `intervals.json`. picture: the file with the curves of the training.
    """
    scores = "\n".join(score_rows(metrics, intervals))
    curves = f"\n![Loss and metrics by step]({picture})\n" if picture else ""
    return f"""---
base_model: {base}
pipeline_tag: {tag}
library_name: {"peft" if adapter else "transformers"}
---

# {name}

{base}, fine-tuned for {plan["task"]}{_classes(head["labels"])}.

## Use

```python
{usage(".", auto_model, tag, base if adapter else None)}
```

## Results

| metric | value | 95 % interval |
|---|---|---|
{scores}
{curves}
{_data(data)}
{_training(plan)}"""


def _data(data: Mapping[str, Any]) -> str:
    rows = ", ".join(f"{split} {count}" for split, count in data["rows"].items())
    warnings = "".join(f"\n- {line}" for line in data["warnings"]) or "\n- none"
    return f"""## Data

Rows: {rows}. Columns: {data["columns"]}. Repeats left out: {data["dropped"]}.

What the checks said of it:{warnings}
"""


def _training(plan: Mapping[str, Any]) -> str:
    given = plan["arguments"]
    arguments = "\n".join(f"| {field} | {given[field]} |" for field in SHOWN if field in given)
    return f"""## Training

| argument | value |
|---|---|
{arguments}
| steps | {plan["steps"]["total"]} |
| seed | {plan["seed"]} |
| device | {plan["device"]} |

How it came to be, stage by stage: `report.html`.
"""


def score_rows(metrics: Mapping[str, float | None], intervals: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """Rows of a markdown table: metric, value, 95 % interval."""
    for name, value in metrics.items():
        sure = f"{intervals[name][0]:.4f} to {intervals[name][1]:.4f}" if name in intervals else ""
        yield f"| {name} | {'not a number' if value is None else f'{value:.4f}'} | {sure} |"


def _classes(labels: Sequence[str] | None) -> str:
    if not labels:
        return ""
    more = ", …" if len(labels) > 20 else ""
    return f" over {len(labels)} classes ({', '.join(labels[:20])}{more})"
