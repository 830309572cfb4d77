"""A run in words: the same text in Prefect's UI, in Python and on request."""

from collections.abc import Mapping

from tasks.runtime.context import RunContext


def markdown(context: RunContext, metrics: Mapping[str, float]) -> str:
    """Return the run's report: metrics, stages with their reasons, what of the config was not default, the model."""
    scores = "\n".join(f"| {name} | {value:.4f} |" for name, value in metrics.items())
    stages = "\n".join(
        f"| {entry.stage} | {entry.state} | {entry.seconds:.1f} | {entry.reason} |" for entry in context.entries
    )
    changed = "\n".join(f"| {name} | {value} | {origin} |" for name, value, origin in context.summary["given"])
    path = context.summary.get("model_path") or "in the store only; set output_dir to have it as a folder"
    return f"""# {context.summary["name"] or context.run}

**Model**: `{path}`

| metric | value |
|---|---|
{scores}

## Stages

| stage | state | seconds | why |
|---|---|---|---|
{stages}

## What was asked

| field | value | from |
|---|---|---|
{changed}
"""
