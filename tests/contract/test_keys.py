"""Same question, same key; and each stage's key holds only what the stage reads.

`tests/golden/keys.json` holds what each stage's key is made of for a tiny run: config slice, inputs, files, modules
and the names of environment facts. It changes only in a commit that says why. After such a change:

    FINETUNE_GOLDEN=1 pytest tests/contract/test_keys.py
"""

import enum
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import STAGES
from tasks.artifacts.keys.key import canonical, key_of
from tasks.artifacts.record import Member, Record
from tasks.artifacts.ref import ArtifactRef
from tests.kill.warm import ROOT, Warm, warm_parent
from tests.tiny import make_config

GOLDEN = ROOT / "tests" / "golden" / "keys.json"
RUN, PLANS = "tests.kill.scenes:run", "tests.contract.scenes:plans"
QUICK = {"train__max_steps": 2}
LORA = {**QUICK, "peft": {"method": "lora", "r": 8, "lora_alpha": 16}}

slow = pytest.mark.slow


@pytest.fixture(scope="module")
def warm() -> Warm:
    return warm_parent()


@pytest.fixture(scope="module")
def stores(warm: Warm, bert: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Two finished runs, full and LoRA, as the configs that made them."""
    configs = {}
    for name, more in (("full", QUICK), ("lora", LORA)):
        configs[name] = make_config(bert, rows, tmp_path_factory.mktemp(name), **more)
        assert warm.play(RUN, config=configs[name]).code == 0
    return configs


def documents(config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for stage in STAGES:
        (path,) = Path(config["store"]["root"]).glob(f"records/{stage}/*.json")
        yield stage, Record.unseal(path.read_bytes()).document


# -- golden ---------------------------------------------------------------------------------------------------------


@slow
def test_what_keys_are_made_of(stores: dict[str, dict[str, Any]], bert: Path) -> None:
    found = {}
    for stage, document in documents(stores["lora"]):
        named = {name: sorted(document[name]) for name in ("inputs", "files", "code", "environment")}
        config = json.loads(json.dumps(document["config"]).replace(str(bert), "<model>"))
        found[stage] = {"format": document["format"], "config": config, **named}
    if os.environ.get("FINETUNE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    assert found == json.loads(GOLDEN.read_text())


# -- the same everywhere --------------------------------------------------------------------------------------------

PLAN = """
import json, os, sys
from flows.api import plan
from tasks.config import load
found = []
for cwd, home in json.loads(sys.argv[2]):
    os.chdir(cwd)
    os.environ["HOME"] = home
    _, context = plan(load(json.loads(sys.argv[1])))
    found.append([(entry.stage, entry.state, entry.key) for entry in context.entries])
print(json.dumps(found))
"""


@slow
@pytest.mark.parametrize("hash_seed", ["0", "1", "4711"])
def test_equal_in_every_process(hash_seed: str, warm: Warm, stores: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    (expected,) = warm.play(PLANS, config=stores["full"]).result
    assert {state for _, state, _ in expected} == {"hit"}
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    places = [[str(cwd), str(home)] for cwd, home in itertools.product(folders, folders)]
    home = str(folders[int(hash_seed) % 2])
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "HOME": home, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PLAN, json.dumps(stores["full"]), json.dumps(places)],
        cwd=home, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [expected] * 4


def moved(stores: dict[str, dict[str, Any]], bert: Path, rows: Path, folder: Path) -> dict[str, Any]:
    shutil.copytree(bert, folder / "elsewhere" / "bert")
    (folder / "data").mkdir()
    shutil.copy(rows, folder / "data" / rows.name)
    root = Path(stores["full"]["store"]["root"])
    return make_config(folder / "elsewhere" / "bert", folder / "data" / rows.name, root, **QUICK)


@slow
def test_where_model_and_data_lie_does_not_count(
    warm: Warm, stores: dict[str, dict[str, Any]], bert: Path, rows: Path, tmp_path: Path
) -> None:
    (here,) = warm.play(PLANS, config=stores["full"]).result
    (there,) = warm.play(PLANS, config=moved(stores, bert, rows, tmp_path)).result
    assert there[:10] == here[:10]


@slow
def test_where_the_model_lies_does_not_count_when_it_is_saved(
    warm: Warm, stores: dict[str, dict[str, Any]], bert: Path, rows: Path, tmp_path: Path
) -> None:
    (here,) = warm.play(PLANS, config=stores["full"]).result
    (there,) = warm.play(PLANS, config=moved(stores, bert, rows, tmp_path)).result
    assert there[10:] == here[10:]


# -- the slices -----------------------------------------------------------------------------------------------------

# What is asked anew when one field changes: stages from which on nothing is a hit, and single ones before them.
NUMBERS = {stage: int(stage[1:3]) for stage in STAGES}
CHANGES: list[tuple[str, str, set[int]]] = [
    ("full", "train.learning_rate=1e-3", {1, 8, 9, 10, 11, 12}),
    ("full", "train.per_device_train_batch_size=4", {1, 8, 9, 10, 11, 12}),
    ("full", "train.weight_decay=0.1", {1, 8, 9, 10, 11, 12}),
    ("full", "eval.best=accuracy", {1, 8, 9, 10, 11, 12}),
    ("full", "eval.metrics=[accuracy]", {1, 10, 11, 12}),
    ("full", "seed=7", {2, 6, 7, 8, 9, 10, 11, 12}),
    ("full", "data.max_length=8", {5, 8, 9, 10, 11, 12}),
    ("full", "data.split.seed=7", {4, 5, 8, 9, 10, 11, 12}),
    ("full", "model.attn_implementation=eager", {6, 7, 9, 10, 11, 12}),
    ("full", "export.card=false", {11, 12}),
    ("full", "name=another", {11, 12}),
    ("full", "train.logging_steps=7", set()),
    ("full", "train.save_steps=7", set()),
    ("full", "train.save_strategy=epoch", set()),
    ("full", "train.save_total_limit=2", set()),
    ("full", "train.dataloader_num_workers=1", set()),
    ("full", "checkpoint.every_minutes=7", set()),
    ("full", "output_dir=somewhere", set()),
    ("full", "export.promote=if_better", set()),
    ("full", "export.overwrite=true", set()),
    ("full", "store.verify=size", set()),
    ("lora", "peft.r=4", {7, 9, 10, 11, 12}),
    ("lora", "peft.lora_dropout=0.2", {7, 9, 10, 11, 12}),
    ("lora", "train.learning_rate=1e-3", {1, 8, 9, 10, 11, 12}),
    ("lora", "export.merge=true", {11, 12}),
]


@slow
def test_what_each_field_asks_anew(warm: Warm, stores: dict[str, dict[str, Any]]) -> None:
    for which, config in stores.items():
        changes = [(override, numbers) for name, override, numbers in CHANGES if name == which]
        found = warm.play(PLANS, config=config, overrides=[[override] for override, _ in changes]).result
        for (override, numbers), stages in zip(changes, found, strict=True):
            assert {NUMBERS[stage] for stage, state, _ in stages if state != "hit"} == numbers, (which, override)


# -- the key itself -------------------------------------------------------------------------------------------------

LEAVES = (
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)  # fmt: skip
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
DOCUMENTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=4)


def shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: shuffled(value[name]) for name in reversed(value)}
    return [shuffled(leaf) for leaf in value] if isinstance(value, list) else value


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, leaf in inner:
        yield (*path, name)
        yield from paths(leaf, (*path, name))


def exact(value: Any) -> Any:
    """`value` such that only what JSON tells apart differs: 1, 1.0 and True are three things, 0.0 and -0.0 one."""
    if isinstance(value, dict):
        return {name: exact(leaf) for name, leaf in value.items()}
    if isinstance(value, list):
        return [exact(leaf) for leaf in value]
    return (type(value).__name__, value)


@given(DOCUMENTS)
def test_order_does_not_count(document: dict[str, Any]) -> None:
    assert key_of(shuffled(document)) == key_of(document)


@given(DOCUMENTS, VALUES, st.data())
def test_any_changed_leaf_changes_the_key(document: dict[str, Any], value: Any, data: st.DataObject) -> None:
    places = list(paths(document))
    if not places:
        return
    *path, last = data.draw(st.sampled_from(places))
    changed = json.loads(json.dumps(document))
    place = changed
    for name in path:
        place = place[name]
    place[last] = value
    assert (key_of(changed) == key_of(document)) == (exact(changed) == exact(document))


@settings(max_examples=300)
@given(DOCUMENTS, DOCUMENTS)
def test_two_questions_have_two_names(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (canonical(one) == canonical(other)) == (exact(one) == exact(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": "b", "c": "d"}, {"a": 'b","c":"d'}),
        ({"ab": "c"}, {"a": "bc"}),
        ({"a": ["b", "c"]}, {"a": ["bc"]}),
        ({"a": {"b": 1}}, {"a.b": 1}),
        ({"a": 1}, {"a": "1"}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1}, {"a": True}),
        ({"a": None}, {}),
        ({"a": []}, {"a": {}}),
        ({"é": 1}, {"e\u0301": 1}),
    ],
)
def test_nothing_runs_together(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert key_of(one) != key_of(other)


class Colour(enum.Enum):
    RED = "red"


class Word(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({1, 2}, "set"), (frozenset("a"), "frozenset"), (float("nan"), "nan"), (float("inf"), "inf"),
        (Path("a"), "PosixPath"), (b"a", "bytes"), (Colour.RED, "Colour"), (Word.RED, "Word"), (1j, "complex"),
        ({1: "a"}, "int"),
    ],
)  # fmt: skip
def test_what_has_no_one_form_is_refused_by_name(value: object, named: str) -> None:
    with pytest.raises(TypeError, match=named) as caught:
        key_of({"section": {"field": [value]}})
    assert "$.section.field[0]" in str(caught.value)


def test_an_artifact_of_fewer_members_is_another_one() -> None:
    members = {name: Member(sha256=name * 64, size=1) for name in ("a", "b")}
    whole, part = (ArtifactRef(stage="s", key="k", members=each) for each in (members, {"a": members["a"]}))
    assert whole.digest != part.digest  # computed before: it must not go with the copies
    assert whole.select("a").digest == whole.without("b").digest == part.digest


def test_minus_zero_asks_what_zero_asks() -> None:
    assert key_of({"a": -0.0}) == key_of({"a": 0.0})
