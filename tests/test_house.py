"""The rules of the house that no linter keeps: sizes, the order of the stages, and that every named part exists."""

import ast
import builtins
import inspect
import keyword
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from tasks import OPTIONAL_STAGES, STAGES
from tasks.config.formats import FORMATS, Format
from tasks.objectives import OBJECTIVES, objective_of
from tasks.runtime.stage import Stage

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("flows/**/*.py"), *ROOT.glob("tasks/**/*.py")])


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    limit = 120 if path.stem in (*STAGES, *OPTIONAL_STAGES) else 112 if name(path) == "flows/pipeline.py" else 300
    assert text.count("\n") <= limit
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
            assert node.end_lineno - node.lineno < 60, f"{node.name} is {node.end_lineno - node.lineno + 1} lines"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_files_say_what_they_are(path: Path) -> None:
    assert path.stem == "__init__" or ast.get_docstring(ast.parse(path.read_text()))


Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
# Names of libraries and of users that docstrings speak of and no code of ours does.
FOREIGN = {
    *("DatasetDict", "Encoding", "IterableDataset", "TaskType", "basicConfig", "compute_metrics", "save_to_disk"),
    *("BCEWithLogitsLoss", "compute_class_weight", "sigmoid_focal_loss", "sparse_prediction"),
    *("chosen_input_ids", "test_accuracy", "translation_en_to_de"),
}


def docstrings(tree: ast.AST) -> Iterator[tuple[ast.Module | Documented, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | Documented) and (text := ast.get_docstring(node)):
            yield node, text


def members(node: ast.AST) -> set[str]:
    """The parameters of a function; the attributes, methods and parameters of a class."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)}
    found: set[str] = set()
    for each in getattr(node, "body", []):
        if isinstance(each, ast.FunctionDef):
            found |= {each.name}
            if each.name == "__init__":
                stored = (part for part in ast.walk(each) if isinstance(part, ast.Attribute))
                found |= members(each) | {part.attr for part in stored if isinstance(part.ctx, ast.Store)}
        elif isinstance(each, ast.AnnAssign | ast.Assign):
            targets = [each.target] if isinstance(each, ast.AnnAssign) else each.targets
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def listed(docstring: str) -> Iterator[str]:
    """The names under `Args:` and `Attributes:`."""
    for section in re.findall(r"^(?:Args|Attributes):\n((?: {4}.*\n?|\n)+)", docstring, re.MULTILINE):
        for names in re.findall(r"(?:^ {4}|\. )(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: \([^)]*\))?: ", section, re.MULTILINE):
            yield from {each.strip(" *") for each in names.split(",")} - {"None"}  # `x: a number. None: no limit.`


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_docstrings_list_names_that_exist(path: Path) -> None:
    for node, text in docstrings(ast.parse(path.read_text())):
        assert set(listed(text)) <= members(node), getattr(node, "name", path.stem)


def test_docstrings_quote_identifiers_that_exist() -> None:
    """A word in backticks that no code has is an old name of something."""
    words = FOREIGN | set(dir(builtins)) | set(keyword.kwlist)
    quoted: dict[str, str] = {}
    for path in SOURCES:
        words |= set(path.relative_to(ROOT).with_suffix("").parts)
        prose = set()
        tree = ast.parse(path.read_text())
        for node, text in docstrings(tree):
            prose.add(node.body[0].value)  # type: ignore[union-attr]
            for word in re.findall(r"`([A-Za-z_][\w.]*)(?:\(\))?`", text):
                quoted |= dict.fromkeys(word.split("."), f"{name(path)}: {word}")
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant):
                if isinstance(node.value, str) and node not in prose and not re.search(r"\s", node.value.strip()):
                    words |= set(re.findall(r"\w+", node.value))
            else:  # every other node that has a name has it in one of these fields
                fields = (getattr(node, field, None) for field in ("id", "attr", "arg", "name", "asname"))
                words |= {part for value in fields if isinstance(value, str) for part in value.split(".")}
    assert not {where for word, where in quoted.items() if word not in words}


@pytest.mark.parametrize("path", sorted(ROOT.glob("tests/**/test_*.py")), ids=name)
def test_no_test_looks_at_the_clock(path: Path) -> None:
    """What a promise says in seconds is measured in tests/benchmarks; a machine may be four times slower tomorrow."""
    read = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert not read & {"monotonic", "perf_counter", "process_time", "thread_time"}


def test_every_stage_is_a_file_with_one_stage() -> None:
    assert sorted(path.stem for path in ROOT.glob("tasks/s[01][0-9]*.py")) == sorted((*STAGES, *OPTIONAL_STAGES))
    for stage in (*STAGES, *OPTIONAL_STAGES):
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
            "template_text",
            "known",
            "shape",
            "options",
            "labels",
            "preference",
            "own_metrics",
            "texts",
            "fitting",
            "sources",
            "settings",
            "generation_settings",
            "scoring",
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
    assert objective.peft_task_type in TaskType.__members__
    assert all(objective_of(alias) is objective for alias in objective.aliases)


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS.keys())
def test_formats_name_readers_that_exist(format: Format) -> None:
    assert callable(format.load())


@pytest.mark.xdist_group("house")
def test_groups_reach_the_scheduler(request: pytest.FixtureRequest) -> None:
    """A pytest that pytest-xdist does not know would spread the tests of one server over several, in silence."""
    assert request.node.nodeid.endswith("@house") is hasattr(request.config, "workerinput")


def test_the_flows_take_every_section() -> None:
    """Prefect reads the form from a flow's signature, so a section of the config that one lacks could not be set."""
    import inspect

    from flows.chain.flow import align
    from flows.pipeline import finetune
    from flows.sweep.flow import grid
    from tasks.config import RunConfig

    sections = set(RunConfig.model_fields)
    assert set(inspect.signature(finetune.fn).parameters) == sections
    assert set(inspect.signature(grid.fn).parameters) == {*sections, "sweep"}
    assert set(inspect.signature(align.fn).parameters) == {*sections, "steps"}
