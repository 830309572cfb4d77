"""What a stage is given besides single artifacts: mappings of artifacts, and components that bring code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.artifacts.keys.key import key_of
from tasks.artifacts.ref import ArtifactRef
from tasks.artifacts.store import Store
from tasks.objectives.regression import REGRESSION
from tasks.objectives.text_classification import TEXT_CLASSIFICATION
from tasks.runtime.build import Build
from tasks.runtime.context import RunContext, open_run
from tasks.runtime.inputs import Pending, Unkeyed, artifacts_in
from tasks.runtime.stage import stage


@stage(components=("encode",))
def together(
    build: Build, *, teachers: Mapping[str, Artifact], tasks: Mapping[str, Any], weights: Mapping[str, float]
) -> Mapping[str, Any]:
    """Write what each teacher says."""
    said = {name: teacher.json("answer.json") for name, teacher in teachers.items()}
    json.write({"said": said, "tasks": {name: task.name for name, task in tasks.items()}}, build.out / "said.json")
    return {"teachers": len(teachers), "weights": dict(weights)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def answer(store: Store, value: int) -> ArtifactRef:
    key = key_of({"answer": value})
    with store.building("teacher", key) as out:
        json.write(value, out / "answer.json")
        return store.publish("teacher", key, {}, out, facts={}, run="r", seconds=0.0)


def asked(store: Store, overlay: Store | None = None, **changes: Any) -> tuple[ArtifactRef, RunContext]:
    """The stage's artifact for two teachers, and the run it was asked in."""
    inputs: dict[str, Any] = {
        "teachers": {"small": answer(store, 1), "large": answer(store, 2)},
        "tasks": {"topics": TEXT_CLASSIFICATION, "scores": REGRESSION}, "weights": {"topics": 1.0},
    }  # fmt: skip
    with open_run(RunContext(store, "run", overlay=overlay)) as context:
        return together(**inputs | changes), context


def test_each_artifact_of_a_mapping_is_an_input(store: Store) -> None:
    found, context = asked(store)
    assert Artifact(found, store).json("said.json") == {
        "said": {"small": 1, "large": 2}, "tasks": {"topics": "text-classification", "scores": "regression"},
    }  # fmt: skip
    question, _ = together._key_document(context, {"teachers": {"small": answer(store, 1)}, "tasks": {}, "weights": {}})
    assert question["inputs"] == {"teachers.small": answer(store, 1).digest}
    assert asked(store)[1].entries[-1].state == "cached"


def test_another_artifact_name_or_component_is_another_key(store: Store) -> None:
    keys = {
        name: asked(store, **changes)[0].key
        for name, changes in {
            "as it is": {},
            "another answer": {"teachers": {"small": answer(store, 1), "large": answer(store, 3)}},
            "other names": {"teachers": {"tiny": answer(store, 1), "large": answer(store, 2)}},
            "one less": {"teachers": {"small": answer(store, 1)}},
            "other tasks": {"tasks": {"topics": TEXT_CLASSIFICATION, "scores": TEXT_CLASSIFICATION}},
            "other weights": {"weights": {"topics": 2.0}},
        }.items()
    }
    assert len(set(keys.values())) == len(keys)


def test_the_components_code_is_in_the_key(store: Store) -> None:
    _, context = asked(store)
    code = [
        together._key_document(context, {"teachers": {}, "tasks": tasks, "weights": {}})[0]["code"]
        for tasks in ({}, {"topics": TEXT_CLASSIFICATION})
    ]
    assert "tasks.data.tokens.encode" not in code[0] and "tasks.data.tokens.encode" in code[1]


def test_a_plan_waits_for_every_artifact_of_a_mapping(store: Store, tmp_path: Path) -> None:
    waiting = Pending(stage="teacher", key="0" * 64, members={})
    teachers = {"small": answer(store, 1), "large": waiting}
    found, context = asked(store, Store(str(tmp_path / "overlay")), teachers=teachers)
    assert isinstance(found, Pending)
    assert context.entries[-1].reason == "DATA: teachers.large will be new"


def test_a_mapping_holds_artifacts_or_values_and_not_both(store: Store) -> None:
    assert artifacts_in({"watching": Unkeyed(value=1), "plain": {"a": 1}}) == {}
    with pytest.raises(TypeError, match="teachers: a mapping of artifacts has other values too: small, temperature"):
        asked(store, teachers={"small": answer(store, 1), "temperature": 2.0})


def test_prefect_draws_the_edges_of_a_mapping(store: Store, prefect_api: str) -> None:
    """Its run graph knows what each task run was given by the results of others among its parameters."""
    from prefect import flow, get_client, task
    from prefect.context import get_run_context
    from prefect.settings import PREFECT_API_URL, temporary_settings

    @task(persist_result=False)
    def teacher(value: int) -> ArtifactRef:
        return answer(store, value)

    @flow(persist_result=False)
    def graph() -> Any:
        teachers = {"small": teacher(1), "large": teacher(2)}
        with open_run(RunContext(store, "run")):
            together(teachers=teachers, tasks={}, weights={})
        return get_run_context().flow_run.id  # type: ignore[union-attr]

    with temporary_settings({PREFECT_API_URL: prefect_api}):
        run = graph()
        with get_client(sync_client=True) as client:
            from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

            found = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])))
    (drawn,) = [each for each in found if each.name.startswith("test_inputs")]
    assert len(drawn.task_inputs["artifacts"]) == 2, drawn.task_inputs
