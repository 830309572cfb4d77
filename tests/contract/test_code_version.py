"""Change code, change key: of each stage, the modules it is made of and no other; comments and layout do not count."""

import ast
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import grimp
import pytest

from tasks.artifacts.keys.code import INSIDE, OUTSIDE, code_version
from tests.contract.scenes import modules_of_stages
from tests.kill.warm import ROOT, Warm, warm_parent
from tests.tiny import make_config

pytestmark = pytest.mark.slow
VERSIONS, REPLACED = "tests.contract.scenes:versions", "tests.contract.scenes:replaced"


@pytest.fixture(scope="module")
def warm() -> Warm:
    return warm_parent()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code, to be changed at will."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("flows", "tasks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "tasks"


def modules(copy: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(copy.rglob("*.py")):
        name = ".".join(path.relative_to(copy.parent).with_suffix("").parts)
        yield name.removesuffix(".__init__"), path


def counts(module: str) -> bool:
    """Whether a module is in a room that can reach a stage's bytes."""

    def under(rooms: Iterable[str]) -> bool:
        return any(module == room or module.startswith(f"{room}.") for room in rooms)

    return not under(OUTSIDE) or under(INSIDE)


def closure(graph: grimp.ImportGraph, start: Iterable[str]) -> set[str]:
    """All that importing `start` runs, as far as it counts; the graph is not ours."""
    found: set[str] = set()
    waiting = set(start)
    while waiting:
        module = waiting.pop()
        if module in found or not counts(module):
            continue
        found.add(module)
        parts = module.split(".")
        waiting |= {".".join(parts[:i]) for i in range(1, len(parts))}
        waiting |= graph.find_modules_directly_imported_by(module)
    return found


def test_each_module_changes_its_dependents_and_no_other(warm: Warm, copy: Path) -> None:
    graph = grimp.build_graph("tasks", exclude_type_checking_imports=True, cache_dir=None)
    closures = {stage: closure(graph, start) for stage, start in modules_of_stages().items()}
    edits = {name: (name, path.read_text() + "\nHARMLESS_NEW_CONSTANT = 1\n") for name, path in modules(copy)}
    assert len(edits) > 80
    changed = warm.play(VERSIONS, edits=edits, copy=str(copy)).result
    for module in edits:
        expected = sorted(stage for stage, needed in closures.items() if module in needed)
        assert changed[module] == expected, module
    assert any(changed.values())


def test_what_a_reader_sees_only_changes_nothing(warm: Warm, copy: Path) -> None:
    edits = {name: (name, reworded(path.read_text())) for name, path in modules(copy)}
    assert all(source != path.read_text() for (_, path), (_, source) in zip(modules(copy), edits.values(), strict=True))
    changed = warm.play(VERSIONS, edits=edits, copy=str(copy)).result
    assert {name: stages for name, stages in changed.items() if stages} == {}


def reworded(source: str) -> str:
    """The same code with other docstrings, more comments and more room."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            at = node.body[0].lineno - 1
            lines[at] = lines[at].replace('"""', '"""In other words: ', 1)
    return "# a comment\n\n\n" + "\n".join(lines) + "\n\n\n# the end\n"


def test_parts_of_the_task_count_where_they_are_used(warm: Warm, copy: Path) -> None:
    edits = {}
    for module in ("tasks.evaluation.predictors.classes", "tasks.data.tokens.encode", "tasks.data.tokens.collate"):
        path = copy.parent.joinpath(*module.split(".")).with_suffix(".py")
        edits[module] = (module, path.read_text() + "\nX = 1\n")
    changed = warm.play(VERSIONS, edits=edits, copy=str(copy)).result
    stages = {module: {each.split()[0] for each in found if not each.endswith(" of sft")}
              for module, found in changed.items()}  # fmt: skip
    assert stages["tasks.evaluation.predictors.classes"] == {"s09_train", "s10_evaluate"}
    assert stages["tasks.data.tokens.encode"] == {"s05_tokenize"}
    assert stages["tasks.data.tokens.collate"] == {"s09_train", "s10_evaluate"}
    asks = {each.split()[0] for each in changed["tasks.data.tokens.encode"] if each.endswith(" of sft")}
    assert asks == {"s05_tokenize", "s10_evaluate"}, "its evaluation asks questions"


def test_a_changed_operator_counts_and_a_type_checkers_import_does_not(warm: Warm, copy: Path) -> None:
    module = "tasks.training.arithmetic"
    source = (copy / "training" / "arithmetic.py").read_text()
    unseen = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    X = {0}\nelse:\n    Y = {1}\n"
    plain, typed, other = (source + unseen.format(x, y) for x, y in ((1, 1), (2, 1), (1, 2)))
    changed = warm.play(
        VERSIONS, copy=str(copy), edits={"operator": (module, source.replace("//", "*", 1).replace("max(", "min(", 1))}
    ).result
    assert "s08_trainer of text-classification" in changed["operator"]
    (copy / "training" / "arithmetic.py").write_text(plain)
    changed = warm.play(VERSIONS, copy=str(copy), edits={"typed": (module, typed), "other": (module, other)}).result
    (copy / "training" / "arithmetic.py").write_text(source)
    assert changed["typed"] == []
    assert "s08_trainer of text-classification" in changed["other"]


def test_code_is_what_was_loaded_not_what_is_written_since(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that goes on while its code is edited executes the old code: it must not publish as the new."""
    from tasks.artifacts.keys import code

    shutil.copytree(ROOT / "tasks", tmp_path / "tasks")
    monkeypatch.setattr(code, "SOURCES", code.read_sources(tmp_path / "tasks"))
    before = code_version(["tasks.s08_trainer"])
    edited = tmp_path / "tasks" / "training" / "arithmetic.py"
    edited.write_text(edited.read_text() + "\nX = 1\n")
    assert code_version(["tasks.s08_trainer"]) == before
    monkeypatch.setattr(code, "SOURCES", code.read_sources(tmp_path / "tasks"))
    assert code_version(["tasks.s08_trainer"]) != before


MINE = '''
from tasks.s05_tokenize import tokenize


def mine(build, **inputs):
    """Stage 5, but mine."""
    facts = tokenize.body(build, **inputs)
    return {**facts, "mine": %d}
'''


def test_a_callers_own_stage_stands_in_the_key(warm: Warm, bert: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(bert, rows, tmp_path / "store", name="edited", train__max_steps=2)
    own = warm.play("tests.kill.scenes:run", config=config).result

    def run(text: str) -> dict[str, dict[str, str]]:
        (tmp_path / "my_stage.py").write_text(text)
        return warm.play(REPLACED, config=config, module="my_stage", folder=str(tmp_path)).result

    first = run(MINE % 1)
    assert first["keys"]["s05_tokenize"] != own["keys"]["s05_tokenize"]
    # It writes the bytes ours does, so nothing after it is built again.
    assert [stage for stage, state in first["stages"].items() if state == "built"] == ["s05_tokenize"]
    assert run(MINE % 1 + "# a comment\n")["stages"]["s05_tokenize"] == "cached"
    edited = run(MINE % 2)
    assert edited["stages"]["s05_tokenize"] == "built"
    assert "CODE" in edited["reasons"]["s05_tokenize"]


def test_a_part_in_somebody_elses_package_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task type may come from a package of its own; what its parts import there is followed too."""
    package = tmp_path / "their_tasks"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text("from their_tasks.helper import half\nfrom tasks.data.messages import count\n")
    (package / "helper.py").write_text("def half(x):\n    return x / 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = code_version(["their_tasks.parts"])
    assert {"their_tasks.parts", "their_tasks.helper", "tasks.data.messages"} <= before.keys()
    (package / "helper.py").write_text("def half(x):\n    return x // 2\n")
    after = code_version(["their_tasks.parts"])
    assert {name for name in after if after[name] != before[name]} == {"their_tasks.helper"}
