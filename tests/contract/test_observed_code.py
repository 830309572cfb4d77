"""What a stage really calls while it builds, for every task, stands in its key or in a named exclusion."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.pipeline import pipeline
from tasks import OPTIONAL_STAGES, STAGES
from tasks.artifacts.keys.code import INSIDE
from tasks.config import load
from tasks.execution.execute import execute
from tasks.runtime.stage import Stage
from tests.kill.warm import ROOT
from tests.tiny import TASKS, make_task

# What a stage calls of these is not in its key, because nothing it does there can change what is built.
EXCLUDED = {
    "tasks.config": "a run's settings; a stage gets them as values, which are in its key",
    "tasks.objectives": "names of parts; the names are in the key, and so is the code that they name",
    "tasks.artifacts": "keeps what was built; the formats it is written in are in keys",
    "tasks.runtime.build": "where a body reads and writes",
    "tasks.runtime.context": "the run a body is part of",
    "tasks.runtime.stage": "decides whether a body runs",
    "tasks.runtime.inputs": "what a body is given, whose digests and values are in its key",
    "tasks.runtime.log": "what a person reads",
    "tasks.runtime.progress": "what a person reads",
    "tasks.runtime.pace": "what a person reads",
    "tasks.results.report": "what a person reads",
    "tasks.runtime.tracking": "what trackers are told of a training",
    "tasks.training.trackers": "what trackers are told of a training",
    "tasks.runtime.secrets": "keeps secrets out of what a person reads",
    "tasks.runtime.rung": "stops a body; whatever is stopped is built again, to the same bits",
    "tasks.runtime.prefect_api.worker": "stops a body; whatever is stopped is built again, to the same bits",
    "tasks.runtime.prefect_api.stopping": "stops a body; whatever is stopped is built again, to the same bits",
}


def excluded(module: str) -> bool:
    return not module.startswith(INSIDE) and any(module == name or module.startswith(f"{name}.") for name in EXCLUDED)


@contextmanager
def calls(into: set[str]) -> Iterator[None]:
    """Collect the modules of this project that are called, but for their own import."""
    files: dict[str, str] = {}

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":
            file = frame.f_code.co_filename
            if file not in files:
                path = Path(file)
                inside = path.is_relative_to(ROOT / "tasks")
                parts = path.relative_to(ROOT).with_suffix("").parts if inside else ()
                files[file] = ".".join(parts).removesuffix(".__init__")
            if files[file]:
                into.add(files[file])

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["none", "lora"])
@pytest.mark.parametrize("name", TASKS)
def test_what_builds_is_in_the_key(name: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unkeyed: dict[str, list[str]] = {}
    build = Stage._build

    def observed(self: Stage, context: Any, inputs: Any, document: dict[str, Any], *rest: Any) -> Any:
        called: set[str] = set()
        with calls(called):
            ref = build(self, context, inputs, document, *rest)
        unkeyed[self.name] = sorted(each for each in called - document["code"].keys() if not excluded(each))
        return ref

    monkeypatch.setattr(Stage, "_build", observed)
    config = make_task(name, tmp_path)
    config["train"] |= {"max_steps": 2, "eval_strategy": "steps", "eval_steps": 1}
    config["peft"] = {"method": method}
    config["store"] = {"root": str(tmp_path / "store")}
    execute(load(config).config, pipeline)
    assert set(STAGES) <= set(unkeyed) <= {*STAGES, *OPTIONAL_STAGES}
    assert {stage: modules for stage, modules in unkeyed.items() if modules} == {}
