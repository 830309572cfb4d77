"""The model card: what the model is, what it was trained from, its metrics, how to load it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.evaluation.per_class import confused_line, matrix_cells, score_cells
from tasks.objectives import objective_of
from tasks.results.metadata import metadata
from tasks.results.usage import usage

SHOWN = ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps",
         "weight_decay", "warmup_steps", "lr_scheduler_type", "optim")  # fmt: skip
SAMPLE, LONG = ("question", "expected", "base", "trained"), 400  # columns; characters shown of each
REPORT_LINE = "\nThe run, stage by stage: `report.html`.\n"


@dataclass(frozen=True)
class Base:
    """The base of a model.

    Attributes:
        name: for people. commit: on the hub; None for a base from elsewhere, which the front matter does not name,
            since its `base_model` is for hub models only.
        head: what became of its own head; empty if it had none.
    """

    name: str
    commit: str | None = None
    head: str = ""

    def __str__(self) -> str:
        at = f" at [{self.commit[:12]}](https://huggingface.co/{self.name}/tree/{self.commit})" if self.commit else ""
        return f"{self.name}{at}"


def card(
    name: str,
    base: Base,
    plan: Mapping[str, Any],
    data: Mapping[str, Any],
    head: Mapping[str, Any],
    metrics: Mapping[str, float | None],
    intervals: Mapping[str, Sequence[float]],
    adapter: Mapping[str, Any] | None,
    auto_model: str,
    tag: str,
    picture: str | None,
    classes: Mapping[str, Any],
    confusion: str | None,
    known: Mapping[str, Any],
    sample: str,
    warnings: Sequence[str] = (),
    samples: Sequence[Mapping[str, str]] = (),
) -> str:
    """Return a model card in markdown with the hub's front matter.

    Args:
        adapter: its `adapter_config.json`, if it is one.
        auto_model: the transformers class that loads it. tag: the hub's `pipeline_tag`.
        plan: `plan.json`. data: `data.json`, with `sources`: hub datasets by field. head: `head.json`.
        metrics, intervals, classes: `metrics.json`, `intervals.json`, `classes.json`.
        picture, confusion: names of the files with the training curves and the confusion matrix.
        known: license and language, as the base's card has them. sample: what the example gives a pipeline.
        warnings: warnings of all stages; those already in `data` are not repeated. samples: see
            `tasks.evaluation.samples`.
    """
    scores = "\n".join(score_rows(metrics, intervals))
    shown = f"\n![Confusion matrix]({confusion})\n" if confusion else ""
    curves = f"\n![Loss and metrics by step]({picture})\n" if picture else ""
    hub_base = base.name if base.commit else None
    method = adapter["peft_type"].lower() if adapter else None
    header = metadata(name, plan["task"], tag, hub_base, method, metrics, data.get("sources", {}), known)
    named = {"base_model_name_or_path": hub_base or "path/to/the/base"}
    return f"""---
{header}
---

# {name}

{base}, fine-tuned for {plan["task"]}{_classes(head["labels"])}.{_sentence(base.head)}

## Use

```python
{usage(".", auto_model, tag, adapter and {**adapter, **named}, sample)}
```

## Results

| metric | value | 95 % interval |
|---|---|---|
{scores}
{_notes(plan["task"], metrics)}{curves}{class_sections(classes)}{shown}{sample_section(samples)}
{_data(data)}
{_training(plan, [line for line in warnings if line not in data["warnings"]])}"""


def _data(data: Mapping[str, Any]) -> str:
    rows = ", ".join(f"{split} {count}" for split, count in data["rows"].items())
    warnings = "".join(f"\n- {line}" for line in data["warnings"]) or "\n- none"
    sources = "".join(f"\n\n{field}: {source}." for field, source in data.get("sources", {}).items())
    return f"""## Data

Rows: {rows}. Columns: {data["columns"]}. Duplicates removed: {data["dropped"]}.{sources}

Data warnings:{warnings}
"""


def _training(plan: Mapping[str, Any], warnings: Sequence[str]) -> str:
    given = plan["arguments"]
    arguments = "\n".join(f"| {field} | {given[field]} |" for field in SHOWN if field in given)
    return f"""## Training

| argument | value |
|---|---|
{arguments}
| max_length | {plan["max_length"]} tokens |
| steps | {plan["steps"]["total"]} |
| seed | {plan["seed"]} |
| device | {plan["device"]} |
{_list("Warnings", warnings)}{REPORT_LINE}"""


def _list(title: str, lines: Sequence[str]) -> str:
    return "\n".join(["", f"{title}:", "", *(f"- {line}" for line in lines), ""]) if lines else ""


def score_rows(metrics: Mapping[str, float | None], intervals: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """Rows of a markdown table: metric, value, 95 % interval."""
    for name, value in metrics.items():
        interval = f"{intervals[name][0]:.4f} to {intervals[name][1]:.4f}" if name in intervals else ""
        yield f"| {name} | {'not a number' if value is None else f'{value:.4f}'} | {interval} |"


def _notes(task: str, metrics: Mapping[str, float | None]) -> str:
    """Return what metrics mean whose names do not say it."""
    found = {
        "exact_match": "exact_match is the share of rows whose generated answer has the final answer of the row's own: "
        "what follows `####`, else the last number, else the whole text.",
        "forgetting": "forgetting is the mean loss per token on held-out text after training less that before; above "
        "0, the model predicts such text worse than its base.",
    }
    there = {name.removeprefix("test_").removeprefix("eval_") for name in metrics}
    if objective_of(task).answers is None:  # other tasks have another metric of that name
        there.discard("exact_match")
    return "".join(f"\n{line}\n" for name, line in found.items() if name in there)


def _sentence(text: str) -> str:
    return f" {text[0].upper()}{text[1:]}." if text else ""


def class_sections(classes: Mapping[str, Any], heading: str = "###") -> str:
    """Scores by class of each split in markdown, with the confusion matrix or the most frequent confusions."""
    parts = []
    for split, found in classes.items():
        parts.append(f"\n{heading} Classes of {split}\n\n{_table([*score_cells(found)])}\n")
        if matrix := matrix_cells(found):
            parts.append(f"\n{_table(matrix)}\n")
        if line := confused_line(found):
            parts.append(f"\n{line}\n")
    return "".join(parts)


def sample_section(samples: Sequence[Mapping[str, str]], heading: str = "###") -> str:
    """Return the answers of the base and the trained model in markdown; empty without any."""
    if not samples:
        return ""
    rows = [tuple(" ".join(shortened(each[name]).split()) for name in SAMPLE) for each in samples]
    return f"\n{heading} Answers\n\n{_table([SAMPLE, *rows])}\n"


def shortened(text: str) -> str:
    """Return the beginning of a long text."""
    return text if len(text) <= LONG else f"{text[: LONG - 1]}…"


def _table(lines: Sequence[Sequence[str]]) -> str:
    head, *rows = (f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)
    return "\n".join([head, f"|{'---|' * len(lines[0])}", *rows])


def _classes(labels: Sequence[str] | None) -> str:
    if not labels:
        return ""
    more = ", …" if len(labels) > 20 else ""
    return f" over {len(labels)} classes ({', '.join(labels[:20])}{more})"
