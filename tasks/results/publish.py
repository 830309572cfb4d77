"""Publishes a run's report: as artifacts in Prefect's UI, and as `report.html` beside the model.

A failure here is a warning and never ends a run.
"""

from collections.abc import Callable
from pathlib import Path

from tasks.config import FinetuneError
from tasks.evaluation.attempt import attempt
from tasks.results.export import write_report
from tasks.results.output_dir import REPORT
from tasks.results.report import Report, gather, results
from tasks.results.report_html import html
from tasks.results.report_markdown import markdown, table_of_metrics
from tasks.runtime.context import RunContext
from tasks.runtime.log import warn
from tasks.runtime.prefect_api import launch
from tasks.runtime.secrets import redact


def publish(context: RunContext) -> None:
    """Publish a finished run's report, and add to its record the results that `finetune runs` and others read."""
    context.summary |= attempt("the run's results", lambda: results(context), {}, warn)
    report = attempt("the run's report", lambda: gather(context.store, context.record("completed")), None, warn)
    if report is None:
        return
    if report.folder:
        place, key = Path(report.folder), context.refs["s11_save"].key
        attempt(REPORT, lambda: write_report(place, key, lambda: html(report)), None, warn)
    if launch.in_flow() and launch.api_answers():
        _create_prefect_artifacts(report)


def publish_failure(context: RunContext, error: BaseException, state: str) -> None:
    """Publish the report of a run that did not finish: where it ended, why, and what to do."""
    from tasks import STAGES

    done = {entry.stage for entry in context.entries}
    stage = context.building[0] if context.building else next((name for name in STAGES if name not in done), None)
    message = str(error) if isinstance(error, FinetuneError) or str(error) else "it was stopped"
    context.summary["failure"] = {"stage": stage, "kind": type(error).__name__, "message": redact(message)}
    if launch.in_flow() and launch.api_answers():
        _make("report", lambda: _markdown(markdown(Report(context.record(state)))))


def _create_prefect_artifacts(report: Report) -> None:
    from prefect.artifacts import create_link_artifact, create_table_artifact

    _make("report", lambda: _markdown(markdown(report)))
    _make("metrics", lambda: create_table_artifact(
        table_of_metrics(report), key="metrics", description=f"metrics of {report.title}"))  # fmt: skip
    if report.folder:
        folder = Path(report.folder)
        for key, path in (("model", folder), ("report-file", folder / REPORT)):
            _make(key, lambda key=key, path=path: create_link_artifact(
                path.as_uri(), link_text=str(path), key=key, description=f"{key} of {report.title}"))  # fmt: skip


def _markdown(text: str) -> object:
    from prefect.artifacts import create_markdown_artifact

    return create_markdown_artifact(text, key="report", description="configuration, stages and results of the run")


def _make(key: str, create: Callable[[], object]) -> None:
    attempt(f"Prefect's artifact {key!r}", create, None, warn)
