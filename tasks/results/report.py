"""Collects the facts of a run from its record and those of its artifacts that have not been garbage collected."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.artifacts.record import Record
from tasks.artifacts.ref import ArtifactRef
from tasks.artifacts.runs import own_stages
from tasks.artifacts.store import DamagedBlob, Store
from tasks.config import ConfigError
from tasks.config.json_types import JsonObject
from tasks.objectives import objective_of
from tasks.results.usage import sample_of, usage
from tasks.runtime.context import RunContext
from tasks.runtime.main_metric import best_of, main_metric

PICTURES = ("curves.png", "confusion.png")
RESULTS = ("metrics", "intervals", "slices", "classes", "samples", "data")
IN_STORE_ONLY = "in the store only; set output_dir to write it to a folder"


@dataclass(frozen=True)
class Report:
    """The facts of a run, as shown by `markdown`, `html` and the terminal.

    Attributes:
        record: `runs/<run>.json`. data: `data.json` of stage 4, or what is left of it.
        metrics, intervals: by name; a metric that is not a number is None. slices: metrics by column and value.
        classes: scores by class, by split. samples: see `tasks.evaluation.samples`. curves, confusion: PNGs of the
            training curves and the confusion matrix.
        usage: the lines that load the model; all three may be None.
    """

    record: Mapping[str, Any]
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    intervals: Mapping[str, Sequence[float]] = field(default_factory=dict)
    slices: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    classes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    samples: Sequence[Mapping[str, str]] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    curves: bytes | None = None
    confusion: bytes | None = None
    usage: str | None = None

    @property
    def run(self) -> str:
        return str(self.record.get("run", "?"))

    @property
    def title(self) -> str:
        return self.record.get("name") or self.run

    @property
    def config(self) -> JsonObject:
        return self.record.get("config") or {}

    @property
    def task(self) -> str:
        return self.config.get("task", "")

    @property
    def base(self) -> str:
        """The base model's name."""
        return (self.config.get("model") or {}).get("name", "")

    @property
    def main(self) -> str | None:
        """The main metric of the run."""
        return main_metric(self.task, best_of(self.config), self.metrics)

    @property
    def rows(self) -> Mapping[str, int]:
        """Number of rows by split: train, validation, test."""
        rows = self.data.get("rows", {})
        return {split: rows[split] for split in ("train", "validation", "test") if split in rows}

    @property
    def stages(self) -> Sequence[JsonObject]:
        unknown = {"state": "?", "seconds": 0.0, "reason": ""}  # records of earlier versions lack these
        return [{**unknown, **each} for each in self.record.get("stages") or []]

    @property
    def warnings(self) -> Sequence[str]:
        """Warnings of the run and its stages, except those in `data`."""
        shown = self.data.get("warnings", ())
        stages = (line for each in self.stages for line in each.get("warnings", ()) if line not in shown)
        return [*self.record.get("warnings", ()), *stages]

    @property
    def given(self) -> Sequence[tuple[str, Any, str]]:
        """The config's non-default values: field, value, where it was set."""
        return [(name, value, origin) for name, value, origin in self.record.get("given") or []]

    @property
    def folder(self) -> str | None:
        """The folder of the model, if the run wrote one."""
        done = self.record.get("state") == "completed"
        return self.record.get("model_path") if done and not self.record.get("kept") else None

    @property
    def place(self) -> str:
        """Where the model is, in words."""
        if kept := self.record.get("kept"):
            return f"in the store only; {self.record.get('model_path')} {kept}"
        return self.folder or IN_STORE_ONLY

    @property
    def seconds(self) -> float | None:
        """How long the run took, or until its record was last updated."""
        started, updated = self.record.get("started"), self.record.get("updated")
        if not started or not updated:
            return None
        start, end = (datetime.fromisoformat(each).astimezone() for each in (started, updated))
        return (end - start).total_seconds()


def results(context: RunContext) -> JsonObject:
    """Return the metrics and data facts to store in a finished run's record, so that they outlive its artifacts."""
    return _results({stage: Artifact(ref, context.store) for stage, ref in context.refs.items()})


def gather(store: Store, record: Mapping[str, Any]) -> Report:
    """Return the report of a run given its record, without what has been garbage collected since."""
    artifacts = dict(_artifacts(store, record))
    found = {**_results(artifacts), **{name: record[name] for name in RESULTS if name in record}}
    found["metrics"] = {name: found["metrics"][name] for name in sorted(found["metrics"], key=_test_first)}
    pictures = {name.removesuffix(".png"): _picture(artifacts, name) for name in PICTURES}
    report = Report(record, **pictures, **found)
    with suppress(ConfigError):  # the task's package is not installed here
        return replace(report, usage=_usage(report))
    return report


def _picture(artifacts: Mapping[str, Artifact], name: str) -> bytes | None:
    with suppress(KeyError, DamagedBlob, OSError):
        return artifacts["s11_save"].path(name).read_bytes()
    return None


def _results(artifacts: Mapping[str, Artifact]) -> JsonObject:
    report = _json(artifacts, "s12_handoff", "report.json")
    data = _json(artifacts, "s04_prepare", "data.json")
    sources = artifacts["s11_save"].ref.facts.get("sources", {}) if data and "s11_save" in artifacts else {}
    return {
        "metrics": report.get("metrics", {}),
        "intervals": report.get("intervals", {}),
        "slices": report.get("slices", {}),
        "classes": report.get("classes", {}),
        **({"samples": report["samples"]} if "samples" in report else {}),
        "data": {
            name: value for name, value in {**data, "sources": sources}.items() if name != "preview" and value != {}
        },
    }


def _test_first(name: str) -> tuple[bool, str]:
    return not name.startswith("test_"), name


def _artifacts(store: Store, record: Mapping[str, Any]) -> Iterator[tuple[str, Artifact]]:
    for entry in own_stages(record):
        found = store.record(entry["stage"], entry["key"])
        if isinstance(found, Record):
            ref = ArtifactRef(stage=found.stage, key=found.key, members=found.members, facts=found.facts)
            yield entry["stage"], Artifact(ref, store)


def _json(artifacts: Mapping[str, Artifact], stage: str, name: str) -> JsonObject:
    """Return a JSON member, or {} if the artifact is gone or a custom stage did not write it."""
    with suppress(KeyError, DamagedBlob, ValueError, OSError):
        return artifacts[stage].json(name)
    return {}


def _usage(report: Report) -> str | None:
    if report.folder is None:
        return None
    objective, adapter = objective_of(report.task), None
    with suppress(OSError, KeyError, TypeError, ValueError):
        found = json.read(Path(report.folder) / "adapter_config.json")
        adapter = {name: found[name] for name in ("base_model_name_or_path", "peft_type")}
    sample = sample_of(objective, report.data.get("columns", ()))
    return usage(report.folder, objective.auto_model, objective.pipeline_tag, adapter, sample)
