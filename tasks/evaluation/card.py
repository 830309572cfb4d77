"""The model card: what the model is, what it was made from, how good it is, how to load it."""

from collections.abc import Mapping, Sequence
from typing import Any


def card(
    name: str,
    base: str,
    plan: Mapping[str, Any],
    data: Mapping[str, Any],
    labels: Sequence[str],
    metrics: Mapping[str, float],
    adapter: bool,
) -> str:
    """Return a model card in markdown with the hub's front matter.

    Args:
        base: the base model's name. plan: `plan.json`. data: `data.json`. metrics: `metrics.json`.
    """
    training = plan["arguments"]
    rows = ", ".join(f"{split} {count}" for split, count in data["rows"].items())
    scores = "\n".join(f"| {metric} | {value:.4f} |" for metric, value in metrics.items())
    shown = ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps",
             "weight_decay", "warmup_steps", "lr_scheduler_type", "optim")  # fmt: skip
    arguments = "\n".join(f"| {field} | {training[field]} |" for field in shown if field in training)
    warnings = "".join(f"\n- {line}" for line in data["warnings"]) or "\n- none"
    return f"""---
base_model: {base}
pipeline_tag: {plan["task"]}
library_name: {"peft" if adapter else "transformers"}
---

# {name}

{base}, fine-tuned for {plan["task"]} over {len(labels)} classes ({", ".join(labels[:20])}).

## Use

```python
{usage(".", base if adapter else None)}
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


def usage(folder: str, adapter_of: str | None) -> str:
    """The lines that load and ask the model in `folder` (`adapter_of`: the base it is an adapter to, if it is one)."""
    if adapter_of is None:
        return f"""from transformers import pipeline

print(pipeline("text-classification", {folder!r})("your text"))"""
    return f"""from peft import PeftModel
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, pipeline

config = AutoConfig.from_pretrained({folder!r})
base = AutoModelForSequenceClassification.from_pretrained({adapter_of!r}, config=config)
model = PeftModel.from_pretrained(base, {folder!r})
tokenizer = AutoTokenizer.from_pretrained({folder!r})
print(pipeline("text-classification", model=model, tokenizer=tokenizer)("your text"))"""
