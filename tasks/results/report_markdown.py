"""The report of a run in markdown, for Prefect's UI and `FineTuned.report`."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tasks.config.json_types import JsonObject
from tasks.results.card import class_sections, sample_section, score_rows
from tasks.results.report import Report
from tasks.runtime.pace import duration

RERUN_HINT = ("Run it again: finished stages are reused, and training continues from its last checkpoint.",)


def markdown(report: Report) -> str:
    """Return the report of a run with inline pictures, so that it shows without a network."""
    parts = [f"# {report.title}", _headline(report), *_failure(report), *_model(report), *_metrics(report)]
    if report.curves:
        parts.append(f"![Loss and metrics by step](data:image/png;base64,{b64encode(report.curves).decode()})")
    parts += [*_slices(report), *_classes(report), *_samples(report), *_data(report), *_warnings(report)]
    stages = ((each["stage"], each["state"], f"{each['seconds']:.1f}", each["reason"]) for each in report.stages)
    parts += ["## Stages", _table(("stage", "state", "seconds", "why"), stages)]
    parts += ["## Configuration", _table(("field", "value", "from"), report.given)]
    return "\n\n".join(parts) + "\n"


def table_of_metrics(report: Report) -> list[JsonObject]:
    """Return rows of metric, value and interval as JSON-compatible data."""
    return [
        {"metric": name, "value": "not a number" if value is None else round(value, 6)}
        | dict(zip(("95 % from", "95 % to"), (round(end, 6) for end in report.intervals.get(name, ())), strict=False))
        for name, value in report.metrics.items()
    ]


def _headline(report: Report) -> str:
    took = f" in {duration(report.seconds)}" if report.seconds is not None else ""
    words = [f"{report.record.get('state', '?')}{took}", report.task, f"base `{report.base}`", f"run `{report.run}`"]
    return " · ".join(word for word in words if word)


def _failure(report: Report) -> Iterator[str]:
    if failure := report.record.get("failure"):
        where = f" at {failure['stage']}" if failure.get("stage") else ""
        yield f"**Ended{where}**: {failure['kind']}"
        yield f"```text\n{failure['message']}\n```"
        yield from RERUN_HINT


def _model(report: Report) -> Iterator[str]:
    if report.record.get("failure"):
        return
    yield f"**Model**: {f'`{report.folder}`' if report.folder else report.place}"
    if report.usage:
        yield f"```python\n{report.usage}\n```"


def _metrics(report: Report) -> Iterator[str]:
    if report.metrics:
        yield "## Metrics"
        yield "\n".join(
            ["| metric | value | 95 % interval |", "|---|---|---|", *score_rows(report.metrics, report.intervals)]
        )


def _slices(report: Report) -> Iterator[str]:
    for column, values in report.slices.items():
        names = slice_metrics(values)
        rows = (
            (value, f"{found['rows']:.0f}", *(number(found.get(name)) for name in names))
            for value, found in values.items()
        )
        yield f"### By {column}"
        yield _table((column, "rows", *names), rows)


def _classes(report: Report) -> Iterator[str]:
    if report.classes:
        yield class_sections(report.classes).strip()
    if report.confusion:
        yield f"![Confusion matrix](data:image/png;base64,{b64encode(report.confusion).decode()})"


def _samples(report: Report) -> Iterator[str]:
    if report.samples:
        yield sample_section(report.samples, "##").strip()


def slice_metrics(values: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the names of the first five metrics of slices, in their order."""
    return list(dict.fromkeys(name for found in values.values() for name in found if name != "rows"))[:5]


def number(value: float | None) -> str:
    """Return a metric as text; empty for None."""
    return "" if value is None else f"{value:.4f}"


def _data(report: Report) -> Iterator[str]:
    if not report.data:
        return
    yield "## Data"
    yield _table(("split", "rows"), report.rows.items())
    yield "\n".join(f"- {fact}" for fact in facts(report.data))


def _warnings(report: Report) -> Iterator[str]:
    if report.warnings:
        yield "## Warnings"
        yield "\n".join(f"- {line}" for line in report.warnings)


def facts(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines on the data besides row counts: classes, columns, sources, duplicates, warnings."""
    if data.get("classes"):
        yield f"classes: {data['classes']}"
    if data.get("columns"):
        yield "columns: " + ", ".join(f"{role} from {name}" for role, name in data["columns"].items())
    yield from (f"{field}: {source}" for field, source in data.get("sources", {}).items())
    if data.get("dropped"):
        yield f"duplicates removed: {data['dropped']}"
    yield from (f"warning: {line}" for line in data.get("warnings", ()))


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
