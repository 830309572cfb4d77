"""Complete or absent, and a hit is proved: a publish that dies anywhere, a store that rots anywhere, a disk that is
full at any moment.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.artifacts.backend import FsspecBackend, sha256_file
from tasks.artifacts.record import Record
from tasks.artifacts.ref import ArtifactRef
from tasks.artifacts.store import Miss, Store
from tasks.artifacts.upkeep.scrub import scrub
from tasks.s11_save import TIMED
from tests.kill import publish_scenes as scenes
from tests.kill.warm import Warm, warm_parent
from tests.tiny import make_config

pytestmark = pytest.mark.slow
SCENES = "tests.kill.publish_scenes"
RUN = "tests.kill.scenes:run"
QUICK = {"train__max_steps": 2}


@pytest.fixture(scope="module")
def warm() -> Warm:
    return warm_parent()


def proved_or_absent(store: Store) -> None:
    """A lookup is a miss, or every byte of every member is what its name says."""
    found = store.lookup(scenes.STAGE, scenes.KEY)
    if isinstance(found, Miss):
        return
    assert set(found.members) == {"rows.arrow", "new.safetensors", "summary.json"}
    for member in found.members.values():
        path = store.path(member)
        assert (sha256_file(path), path.stat().st_size) == (member.sha256, member.size)


def repaired(store: Store, digest: str) -> None:
    """Publishing again gives the artifact, and nothing in the store is damaged."""
    scenes.publish(store)
    found = store.lookup(scenes.STAGE, scenes.KEY)
    assert isinstance(found, ArtifactRef)
    assert found.digest == digest
    assert list(scrub(store)) == []


@pytest.mark.parametrize("when", ["before", "after", "middle"])
def test_dying_at_every_boundary(when: str, warm: Warm, tmp_path: Path) -> None:
    count = warm.play(f"{SCENES}:boundaries", root=str(tmp_path / "whole")).result
    whole = Store(str(tmp_path / "whole")).lookup(scenes.STAGE, scenes.KEY)
    assert isinstance(whole, ArtifactRef)
    assert count > 15
    died = 0
    for number in range(1, count + 1):
        root = tmp_path / str(number)
        ended = warm.play(f"{SCENES}:die_at", root=str(root), number=number, when=when)
        assert ended.code == -9 or (when == "middle" and ended.code == 0), ended.log
        died += ended.code == -9
        store = Store(str(root))
        proved_or_absent(store)
        repaired(store, whole.digest)
    assert died == count or (when == "middle" and died >= 2)


class Died(BaseException):
    """What a dead process would do to those who wait for it: nothing more happens."""


@pytest.mark.parametrize("when", ["before", "after"])
def test_dying_at_every_call_of_a_remote_root(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("read", "write", "put", "size", "delete")

    def publish_until(number: int, root: str) -> int:
        seen = 0
        with monkeypatch.context() as patch:
            for name in names:
                original = getattr(FsspecBackend, name)

                def call(self: Any, *inputs: Any, original: Any = original) -> Any:
                    nonlocal seen
                    seen += 1
                    if seen == number and when == "before":
                        raise Died
                    done = original(self, *inputs)
                    if seen == number:
                        raise Died
                    return done

                patch.setattr(FsspecBackend, name, call)
            scenes.publish(Store(root))
        return seen

    count = publish_until(0, f"memory://whole-{when}")
    whole = Store(f"memory://whole-{when}").lookup(scenes.STAGE, scenes.KEY)
    assert isinstance(whole, ArtifactRef)
    for number in range(1, count + 1):
        root = f"memory://{when}-{number}"
        with pytest.raises(Died):
            publish_until(number, root)
        store = Store(root)
        for lease in list(store.backend.names("leases")):
            store.backend.delete(lease)  # of the dead; waiting for its ttl is proved elsewhere
        proved_or_absent(store)
        repaired(store, whole.digest)


# -- a store that rots ----------------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


DAMAGES = {"flip": flip, "truncate": truncate, "delete": Path.unlink}


def users(root: Path, path: Path) -> list[str]:
    """The stages of which a file is a member, in order; the first must build it again. Empty: nobody needs it any
    more."""
    if path.parent.name == "blobs":
        records = [Record.unseal(record.read_bytes()) for record in root.glob("records/*/*.json")]
        return sorted(r.stage for r in records if path.name in {member.sha256 for member in r.members.values()})
    return [path.parent.name]


@pytest.fixture(scope="module")
def finished(
    warm: Warm, bert: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, dict[str, Any]]]:
    root = tmp_path_factory.mktemp("finished")
    yield root, warm.play(RUN, config=make_config(bert, rows, root, **QUICK)).result


@pytest.mark.parametrize("damage", DAMAGES)
def test_any_damaged_file_is_built_again(
    damage: str, warm: Warm, finished: tuple[Path, dict[str, Any]], bert: Path, rows: Path, tmp_path: Path
) -> None:
    root, whole = tmp_path / "store", finished[1]
    shutil.copytree(finished[0], root)
    config = make_config(bert, rows, root, **QUICK)
    pieces = set(root.glob("records/*.pieces/*.json"))  # nobody reads those of an artifact that is whole
    files = sorted({*root.glob("blobs/*"), *root.glob("records/*/*.json")} - pieces)
    assert len(files) > 30 and pieces
    seconds: set[str] = set()  # files that tell how long the training took, which is in no key
    for made, names in (("s09_train", ("history.json", "state.json")), ("s11_save", TIMED)):
        (members,) = (Record.unseal(path.read_bytes()).members for path in root.glob(f"records/{made}/*"))
        seconds |= {member.sha256 for name, member in members.items() if name in names}
    for path in files:
        stages = users(root, path)
        if not stages:
            assert path.name in seconds  # its stage was built again meanwhile
            continue
        DAMAGES[damage](path)
        result = warm.play(RUN, config=config).result
        # Equal bytes come of it, which also heal other stages of which it is a member, unless it tells seconds: the
        # state of stage 9 is `trainer_state.json` of stage 11.
        built = [name for name, state in result["stages"].items() if state == "built"]
        assert built == (stages if path.name in seconds else stages[:1]), path
        if damage != "delete" or path.parent.name == "blobs":
            assert all("DAMAGED" in result["reasons"][stage] for stage in built)
        assert (result["weights"], result["metrics"]) == (whole["weights"], whole["metrics"])
    assert list(scrub(Store(str(root)))) == []


def test_rot_under_an_unchanged_stamp_is_found_by_verify(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    root = tmp_path / "store"
    shutil.copytree(finished[0], root)
    path = max(root.glob("blobs/*"), key=lambda path: path.stat().st_size)
    status = path.stat()
    flip(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert {(found.kind, found.name) for found in scrub(Store(str(root)))} == {("rotten blob", f"blobs/{path.name}")}


@pytest.mark.parametrize("damage", ["flip", "delete", "flip all"])
def test_a_remote_root_that_rots(damage: str, warm: Warm, bert: Path, rows: Path) -> None:
    result = warm.play(
        "tests.kill.remote_scenes:rot", config=make_config(bert, rows, "memory://rots", **QUICK), damage=damage
    ).result
    assert result["tried"] > 0
    assert result["wrong"] == []


@pytest.mark.parametrize("which", ["all", "last"])
def test_a_newer_store_is_refused_untouched(
    which: str, warm: Warm, finished: tuple[Path, dict[str, Any]], bert: Path, rows: Path, tmp_path: Path
) -> None:
    root = tmp_path / "store"
    shutil.copytree(finished[0], root)
    records = sorted(root.glob("records/*/*.json"))
    for path in records if which == "all" else records[-1:]:
        newer = Record.unseal(path.read_bytes()).model_copy(update={"format": 2})
        path.write_bytes(newer.seal())

    def state() -> dict[str, str]:
        files = [*root.glob("blobs/*"), *root.glob("records/*/*")]
        return {str(path): sha256_file(path) for path in files}

    before = state()
    result = warm.play(RUN, config=make_config(bert, rows, root, **QUICK)).result
    assert (result["error"], result["exit_code"]) == ("NewerStore", 5)
    assert "newer finetune-flow" in result["message"]
    assert state() == before


# -- a disk that is full --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["s05_tokenize", "s06_model"])
def test_a_full_disk_at_every_write_of_a_publish(
    stage: str, warm: Warm, finished: tuple[Path, dict[str, Any]], bert: Path, rows: Path, tmp_path: Path
) -> None:
    torn, root = tmp_path / "torn", tmp_path / "store"
    shutil.copytree(finished[0], torn)
    (record,) = torn.glob(f"records/{stage}/*")
    for member in Record.unseal(record.read_bytes()).members.values():
        (torn / "blobs" / member.sha256).unlink()
    record.unlink()
    config, number = make_config(bert, rows, root, **QUICK), 0
    while True:
        number += 1
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(torn, root)
        told = warm.play(f"{SCENES}:full_disk", config=config, stage=stage, number=number).result
        if told["error"] is None:
            break
        assert (told["error"]["kind"], told["error"]["exit_code"]) == ("MachineError", 5)
        assert stage in told["error"]["message"] and str(root) in told["error"]["message"]
        assert scenes.places(str(root)) == []
        again = warm.play(RUN, config=config).result if number % 4 == 0 else finished[1]
        assert (again["weights"], again["metrics"]) == (finished[1]["weights"], finished[1]["metrics"])
    assert number > told["count"] > 8, "the disk was full once at each of its writes"


def test_a_full_disk_when_all_is_cached(
    warm: Warm, finished: tuple[Path, dict[str, Any]], bert: Path, rows: Path
) -> None:
    config = make_config(bert, rows, finished[0], **QUICK)
    told = warm.play(f"{SCENES}:full_disk_at_run_record", config=config).result
    assert told["kind"] == "MachineError"
    assert "s01_arguments" in told["message"] and str(finished[0]) in told["message"]
