"""The model card: what the model is, what it was made from, how good it is, how to load it."""

from collections.abc import Mapping, Sequence
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
    metrics: Mapping[str, float],
    adapter: bool,
    auto_model: str,
    tag: str,
) -> str:
    """Return a model card in markdown with the hub's front matter.

    Args:
        auto_model: the transformers class that loads it. tag: the hub's word for what it does.
        base: the base model's name. plan: `plan.json`. data: `data.json`. metrics: `metrics.json`.
    """
    training = plan["arguments"]
    rows = ", ".join(f"{split} {count}" for split, count in data["rows"].items())
    scores = "\n".join(f"| {metric} | {value:.4f} |" for metric, value in metrics.items())
    arguments = "\n".join(f"| {field} | {training[field]} |" for field in SHOWN if field in training)
    warnings = "".join(f"\n- {line}" for line in data["warnings"]) or "\n- none"
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

| metric | value |
|---|---|
{scores}

## Data

Rows: {rows}. Columns: {data["columns"]}. Repeats left out: {data["dropped"]}.

What the checks said of it:{warnings}

## Training

| argument | value |
|---|---|
{arguments}
| steps | {plan["steps"]["total"]} |
| seed | {plan["seed"]} |
| device | {plan["device"]} |
"""


def _classes(labels: Sequence[str] | None) -> str:
    if not labels:
        return ""
    more = ", …" if len(labels) > 20 else ""
    return f" over {len(labels)} classes ({', '.join(labels[:20])}{more})"
