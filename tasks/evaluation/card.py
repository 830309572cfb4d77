"""The model card: what the model is, what it was made from, how good it is, how to load it."""

from collections.abc import Mapping, Sequence
from typing import Any


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
    shown = ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps",
             "weight_decay", "warmup_steps", "lr_scheduler_type", "optim")  # fmt: skip
    arguments = "\n".join(f"| {field} | {training[field]} |" for field in shown if field in training)
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


def usage(folder: str, auto_model: str, tag: str, adapter_of: str | None) -> str:
    """The lines that load and ask the model in `folder` (`adapter_of`: the base it is an adapter to, if it is one)."""
    if ":" in auto_model:  # a class of ours: what it trained is in two folders
        return f"""from transformers import AutoModel, AutoTokenizer

model = AutoModel.from_pretrained({folder + "/discriminator"!r})
tokenizer = AutoTokenizer.from_pretrained({folder + "/discriminator"!r})"""
    if adapter_of is None:
        loading = f"""model = {auto_model}.from_pretrained({folder!r})
tokenizer = AutoTokenizer.from_pretrained({folder!r})"""
        imports = f"from transformers import {auto_model}, AutoTokenizer"
        if tag in PIPELINES and tag != "fill-mask":
            return f"""from transformers import pipeline

print(pipeline({tag!r}, {folder!r})({PIPELINES[tag]}))"""
    else:
        imports = f"""from peft import PeftModel
from transformers import AutoConfig, {auto_model}, AutoTokenizer"""
        loading = f"""config = AutoConfig.from_pretrained({folder!r})
base = {auto_model}.from_pretrained({adapter_of!r}, config=config)
model = PeftModel.from_pretrained(base, {folder!r})
tokenizer = AutoTokenizer.from_pretrained({folder!r})"""
    if tag in PIPELINES:
        imports = imports.replace("AutoTokenizer", "AutoTokenizer, pipeline")
    return f"""{imports}

{loading}
{ASKED.get(tag) or f"print(pipeline({tag!r}, model=model, tokenizer=tokenizer)({PIPELINES[tag]}))"}"""


# What transformers 5 has a pipeline for, and what to ask it.
PIPELINES = {
    "text-classification": '"your text"',
    "token-classification": '"your text"',
    "text-generation": '"your text"',
    "fill-mask": 'f"your {tokenizer.mask_token} text"',
}
ASKED = {
    "question-answering": """tokens = tokenizer("your question", "your text", return_tensors="pt")
answer = model(**tokens)
start, end = int(answer.start_logits.argmax()), int(answer.end_logits.argmax())
print(tokenizer.decode(tokens["input_ids"][0, start : end + 1]))""",
    "text2text-generation": """tokens = model.generate(**tokenizer("your text", return_tensors="pt"))
print(tokenizer.decode(tokens[0], skip_special_tokens=True))""",
}
