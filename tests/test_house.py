"""The rules of the house that no linter keeps: sizes, the order of the stages, and that every named part exists."""

import ast
import inspect
from importlib import import_module
from pathlib import Path

import pytest

from tasks import STAGES
from tasks.objectives import OBJECTIVES, objective_of
from tasks.runtime.stage import Stage

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("flows/**/*.py"), *ROOT.glob("tasks/**/*.py")])


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    limit = 120 if path.stem in STAGES else 90 if name(path) == "flows/pipeline.py" else 300
    assert text.count("\n") <= limit
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
            assert node.end_lineno - node.lineno < 60, f"{node.name} is {node.end_lineno - node.lineno + 1} lines"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_files_say_what_they_are(path: Path) -> None:
    assert path.stem == "__init__" or ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", sorted(ROOT.glob("tests/**/test_*.py")), ids=name)
def test_no_test_looks_at_the_clock(path: Path) -> None:
    """What a promise says in seconds is measured in tests/benchmarks; a machine may be four times slower tomorrow."""
    read = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert not read & {"monotonic", "perf_counter", "process_time", "thread_time"}


def test_every_stage_is_a_file_with_one_stage() -> None:
    assert sorted(path.stem for path in ROOT.glob("tasks/s[01][0-9]_*.py")) == sorted(STAGES)
    for stage in STAGES:
        found = [value for value in vars(import_module(f"tasks.{stage}")).values() if isinstance(value, Stage)]
        assert [each.name for each in found] == [stage]


def test_the_flow_is_the_twelve_calls_in_order() -> None:
    from flows.pipeline import pipeline

    calls = [
        node.func.value.id
        for node in ast.walk(ast.parse(inspect.getsource(pipeline)))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in STAGES
        and node.func.attr
        not in (
            "reading",
            "loading",
            "public_name",
            "shape",
            "options",
            "own_metrics",
            "fitting",
            "sources",
        )
    ]
    assert calls == list(STAGES)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES.keys())
def test_objectives_name_parts_that_exist(objective) -> None:
    for part in ("prepare", "encode", "view", "collate", "predictor", "scorer", "trainer"):
        assert callable(objective.component(part))
    from peft import TaskType

    from tasks.models.load import model_class

    assert callable(model_class(objective.auto_model).from_pretrained)
    assert objective.greater_is_better.keys() <= set(objective.metric_names)
    assert objective.peft_task_type in TaskType.__members__
    assert all(objective_of(alias) is objective for alias in objective.aliases)


@pytest.mark.xdist_group("house")
def test_groups_reach_the_scheduler(request: pytest.FixtureRequest) -> None:
    """A pytest that pytest-xdist does not know would spread the tests of one server over several, in silence."""
    assert request.node.nodeid.endswith("@house") is hasattr(request.config, "workerinput")


def test_the_flows_take_every_section() -> None:
    """Prefect reads the form from a flow's signature, so a section of the config that one lacks could not be set."""
    import inspect

    from flows.pipeline import finetune
    from flows.sweep.flow import grid
    from tasks.config import RunConfig

    sections = set(RunConfig.model_fields)
    assert set(inspect.signature(finetune.fn).parameters) == sections
    assert set(inspect.signature(grid.fn).parameters) == {*sections, "sweep"}
