"""What lies in a store may have been written by anybody: it is a miss or refused, never a traceback, and nothing
outside the store is reached through it."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.backend import sha256_file
from tasks.artifacts.formats import weights
from tasks.artifacts.formats.manifest import MANIFEST, commit, is_complete
from tasks.artifacts.names import is_inside
from tasks.artifacts.record import FORMAT, DamagedRecord, Member, NewerStore, Record
from tasks.artifacts.ref import ArtifactRef
from tasks.artifacts.runs import read_run
from tasks.artifacts.store import DamagedBlob, Miss, Store
from tasks.artifacts.upkeep.gc import collect
from tasks.artifacts.upkeep.scrub import scrub
from tasks.config.errors import MachineError
from tasks.runtime.build import Build
from tasks.runtime.runs import run_line, runs
from tasks.training.checkpoints import newest_whole

STAGE, KEY = "s05_tokenize", "ab" * 32
DIGEST = "0123456789abcdef" * 4
DEEP = b"[" * 100_000 + b"]" * 100_000
BYTES = [b"", b"\xff\xfe", b"[]", b"[1]", b"{}", b"null", b"1", b'"text"', b'{"a": [', DEEP, b"9" * 5000, b"NaN"]

few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
anything = st.recursive(
    leaf,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
names = st.one_of(
    st.text(max_size=12),
    st.lists(st.sampled_from(["..", ".", "", "a", "b.json", "/", "\0", "~", "c" * 300]), max_size=4).map("/".join),
)


def published(
    root: Path, members: tuple[str, ...] = ("rows.arrow", "deep/new.safetensors")
) -> tuple[Store, ArtifactRef]:
    store = Store(str(root))
    with store.building(STAGE, KEY) as out:
        for name in members:
            (out / name).parent.mkdir(exist_ok=True)
            (out / name).write_bytes(name.encode() * 9)
        ref = store.publish(STAGE, KEY, {"config": {"a": 1}}, out, facts={}, run="test", seconds=0.0)
    return store, ref


def as_bytes(said: Any) -> bytes:
    return said if isinstance(said, bytes) else json.dumps(said).encode()


def short(said: Any) -> str:
    return repr(said)[:40]


def sealed(body: Any) -> bytes:
    """A record as `Record.seal` would write it, whatever it says."""
    data = as_bytes(body)
    return f"{hashlib.sha256(data).hexdigest()}\n".encode() + data + b"\n"


def body_with(**changed: Any) -> dict[str, Any]:
    member = {"sha256": DIGEST, "size": 1, "stamp": [1, 1]}
    return {
        "format": FORMAT, "stage": STAGE, "key": KEY, "document": {}, "members": {"a.json": member}, "facts": {},
        "run": "r", "created": "c", "seconds": 0.0, **changed,
    }  # fmt: skip


DOCUMENTS = [body_with(document={"inputs": each}) for each in ([1], "x", {"a": [1]})]

# -- records --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x", "..", ".", "", "a//b", "a/", "a\0b", "a" * 300])
def test_a_member_is_a_file_inside(name: str) -> None:
    member = {"sha256": DIGEST, "size": 1}
    with pytest.raises(DamagedRecord):
        Record.unseal(sealed(body_with(members={name: member})))
    with pytest.raises(ValidationError):
        ArtifactRef.model_validate({"stage": STAGE, "key": KEY, "members": {name: member}})


def test_a_member_is_not_the_folder_of_another() -> None:
    member = {"sha256": DIGEST, "size": 1}
    with pytest.raises(DamagedRecord):
        Record.unseal(sealed(body_with(members={"a": member, "a/b": member})))


@pytest.mark.parametrize("digest", ["../../etc/passwd", "/etc/passwd", "", "AB" * 32, "ab" * 31, f"{'ab' * 32}\n"])
def test_a_digest_is_a_digest(digest: str) -> None:
    with pytest.raises(ValidationError):
        Member(sha256=digest, size=1)
    with pytest.raises(DamagedRecord):
        Record.unseal(sealed(body_with(members={"a.json": {"sha256": digest, "size": 1}})))


@pytest.mark.parametrize("body", [*BYTES, *DOCUMENTS], ids=short)
def test_a_resealed_record_is_a_miss(body: Any, tmp_path: Path) -> None:
    store, _ = published(tmp_path)
    (tmp_path / f"records/{STAGE}/{KEY}.json").write_bytes(sealed(body))
    assert store.lookup(STAGE, KEY) == Miss("DAMAGED", "its record is damaged")
    assert list(store.records(STAGE)) == []
    assert [found.kind for found in scrub(store)] == ["torn record"]


@few
@given(st.binary() | anything)
def test_no_record_ends_in_a_traceback(body: Any) -> None:
    with suppress(DamagedRecord, NewerStore):
        Record.unseal(sealed(body))


@few
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(body_with(), anything)), st.dictionaries(names, anything))
def test_what_a_record_names_is_inside(changed: dict[str, Any], members: dict[str, Any]) -> None:
    member = {"sha256": DIGEST, "size": 1}
    for body in (body_with(**changed), body_with(members=dict.fromkeys(members, member))):
        try:
            found = Record.unseal(sealed(json.dumps(body).encode()))
        except (DamagedRecord, NewerStore):
            continue
        assert all(map(is_inside, found.members))
        assert all(len(bytes.fromhex(member.sha256)) == 32 for member in found.members.values())


# -- things of another kind in the place of files -------------------------------------------------------------------


@pytest.mark.parametrize("verify", ["full", "size"])
def test_a_folder_in_the_place_of_a_blob_makes_way(verify: Any, tmp_path: Path) -> None:
    _, ref = published(tmp_path)
    store, path = Store(str(tmp_path), verify), tmp_path / "blobs" / ref.members["rows.arrow"].sha256
    path.unlink()
    (path / "inside").mkdir(parents=True)
    assert store.lookup(STAGE, KEY) == Miss("DAMAGED", "rows.arrow is missing in the store")
    with pytest.raises(DamagedBlob):
        store.path(ref.members["rows.arrow"])
    path.mkdir(exist_ok=True)
    assert published(tmp_path)[1].digest == ref.digest
    assert isinstance(store.lookup(STAGE, KEY), ArtifactRef)


def test_a_folder_in_the_place_of_a_record_makes_way(tmp_path: Path) -> None:
    store, ref = published(tmp_path)
    path = tmp_path / f"records/{STAGE}/{KEY}.json"
    path.unlink()
    path.mkdir()
    assert isinstance(store.lookup(STAGE, KEY), Miss)
    assert published(tmp_path)[1].digest == ref.digest


def test_a_link_in_the_place_of_a_blob_is_replaced_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    _, ref = published(tmp_path / "store")
    for member in ref.members.values():
        blob = tmp_path / "store/blobs" / member.sha256
        blob.unlink()
        blob.symlink_to(outside)
    assert published(tmp_path / "store")[1].digest == ref.digest
    assert list(outside.iterdir()) == []


PLACES = ["locks/gc", f"locks/{STAGE}-{KEY}.lock", "locks/run-x.lock"]


@pytest.mark.parametrize("place", PLACES)
def test_a_folder_in_the_place_of_a_lock_is_named(place: str, tmp_path: Path) -> None:
    from tasks.config.errors import MACHINE_ERRORS

    store, _ = published(tmp_path)
    (tmp_path / place).mkdir(parents=True)
    for use in (store.gc_lock, lambda: store.lease(STAGE, KEY), lambda: store.run_lock("x")):
        try:
            with use():
                continue
        except OSError as error:  # which stages and the command say by name
            assert error.errno in MACHINE_ERRORS and str(error.filename).endswith(place)
            return
    pytest.fail("nobody met it")


def test_gc_and_verify_pass_by_what_is_no_record(tmp_path: Path) -> None:
    store, ref = published(tmp_path)
    for stray in (
        "records/notes.txt",
        f"records/{STAGE}/deep/er.json",
        "records/x.json",
        "work/x",
        "work/a/x",
        "runs/x",
    ):
        (tmp_path / stray).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / stray).write_text("a person's")
    assert list(scrub(store)) == []
    collect(store, keep_runs=0, grace_hours=0, sweep=True)
    assert (tmp_path / "records/notes.txt").exists() and not list((tmp_path / "blobs").iterdir())
    assert store.lookup(STAGE, KEY) == Miss("MISSING", "not built yet")
    assert ref.members


# -- records of runs ------------------------------------------------------------------------------------------------


def note(root: Path, data: bytes) -> Store:
    (root / "runs").mkdir(exist_ok=True, parents=True)
    (root / "runs" / "forged.json").write_bytes(data)
    return Store(str(root))


@pytest.mark.parametrize("data", [
    *BYTES, b'{"stages": [1]}', b'{"stages": {"stage": 1}}', b'{"building": 5}', b'{"run": [1], "state": "running"}',
    b'{"run": "../../x", "state": "running"}', b'{"config": {"model": [1]}}', b'{"metrics": {"a": "b"}}',
    b'{"started": {}}', b'{"stages": [{"stage": "s", "key": ["x"]}]}',
], ids=short)  # fmt: skip
def test_a_forged_run_stops_neither_gc_nor_the_list(data: bytes, tmp_path: Path) -> None:
    store, _ = published(tmp_path)
    note(tmp_path, data)
    collect(store, sweep=True)
    assert all(run_line(store, found)["run"] == "forged" for found in runs(store))
    assert {path.name for path in tmp_path.iterdir()} <= {"blobs", "records", "runs", "locks", "work"}


SAID = ["state", "started", "stages", "building", "config", "metrics", "run"]


@few
@given(st.dictionaries(st.sampled_from(SAID), anything))
def test_any_run_record_can_be_listed(tmp_path_factory: pytest.TempPathFactory, found: dict[str, Any]) -> None:
    store = note(tmp_path_factory.getbasetemp() / "noted", json.dumps(found).encode())
    collect(store)
    assert all(run_line(store, each) for each in runs(store))
    assert read_run(store, "runs/none.json") == Miss("MISSING", "it is gone")


# -- manifests ------------------------------------------------------------------------------------------------------


LED_OUT = b'{"../checkpoint-1/model.safetensors": {"sha256": "%s"}}'


def checkpoint(folder: Path, step: int) -> Path:
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / "model.safetensors").write_bytes(b"weights")
    (made / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    commit(made)
    return made


@pytest.mark.parametrize("data", [*BYTES, b'{"a": 1}', LED_OUT], ids=short)
def test_a_torn_manifest_makes_no_checkpoint(data: bytes, tmp_path: Path) -> None:
    before, torn = checkpoint(tmp_path, 1), checkpoint(tmp_path, 2)
    digest = sha256_file(before / "model.safetensors").encode()
    (torn / MANIFEST).write_bytes(data.replace(b"%s", digest))
    assert newest_whole(tmp_path) == before


@pytest.mark.parametrize("name", [MANIFEST, "model.safetensors"])
def test_a_folder_in_a_checkpoint_s_file_s_place(name: str, tmp_path: Path) -> None:
    before, torn = checkpoint(tmp_path, 1), checkpoint(tmp_path, 2)
    (torn / name).unlink()
    (torn / name).mkdir()
    (tmp_path / "checkpoint-3").write_text("no folder")
    assert newest_whole(tmp_path) == before


@few
@given(st.binary() | st.dictionaries(names, anything) | anything)
def test_no_manifest_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, said: Any) -> None:
    folder = tmp_path_factory.getbasetemp() / "manifest"
    folder.mkdir(exist_ok=True)
    (folder / MANIFEST).write_bytes(as_bytes(said))
    assert not is_complete(folder)


# -- safetensors ----------------------------------------------------------------------------------------------------


def safetensors(path: Path, head: bytes) -> Path:
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"\0" * 8)
    return path


@pytest.mark.parametrize("head", [
    *(each for each in BYTES if each != b"{}"), b'{"a": 1}', b'{"a": {}}',
    b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": "04"}}',
    b'{"a": {"dtype": 4, "shape": [1], "data_offsets": [0, 4]}}',
    b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
    b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4000]}}',
], ids=short)  # fmt: skip
def test_a_broken_header_is_refused_by_name(head: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        weights.header(safetensors(tmp_path / "model.safetensors", head))


@few
@given(st.binary() | st.dictionaries(st.text(max_size=5), anything) | anything)
def test_no_header_ends_in_another_error(tmp_path_factory: pytest.TempPathFactory, head: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    with suppress(ValueError):
        weights.header(safetensors(path, as_bytes(head)))


# -- bytes that changed unseen --------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    """Change a byte and put the time back."""
    status, data = path.stat(), bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_blob_that_changed_unseen_is_found_when_it_is_read(tmp_path: Path) -> None:
    store, ref = published(tmp_path)
    flip(tmp_path / "blobs" / ref.members["deep/new.safetensors"].sha256)
    assert store.lookup(STAGE, KEY) == ref  # inode and time are what they were
    with pytest.raises(DamagedBlob):
        Artifact(ref, Store(str(tmp_path))).view()
    assert isinstance(store.lookup(STAGE, KEY), Miss)


def test_a_copied_store_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.artifacts.keys.digests.MEMO_MIN_BYTES", 1)
    _, ref = published(tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    read: list[Path] = []

    def counting(path: Path) -> str:
        read.append(path)
        return sha256_file(path)

    monkeypatch.setattr("tasks.artifacts.keys.digests.sha256_file", counting)
    for _ in range(3):
        assert Store(str(tmp_path / "copy")).lookup(STAGE, KEY) == ref
    assert len(read) == len(ref.members)
    (tmp_path / "copy/blobs" / ref.members["rows.arrow"].sha256).write_bytes(b"otherwise" * 10)
    assert isinstance(Store(str(tmp_path / "copy")).lookup(STAGE, KEY), Miss)


# -- remote roots ---------------------------------------------------------------------------------------------------


def test_a_kept_folder_never_lies_in_memory_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, copy = Store("memory://kept"), Store("memory://kept")
    build = Build(source, STAGE, KEY, tmp_path, {})
    made = checkpoint(build.work, 1)
    refused: list[str] = []
    for name in ("read", "write"):
        monkeypatch.setattr(f"tasks.artifacts.backend.FsspecBackend.{name}", lambda *_, name=name: refused.append(name))
    build.upload_checkpoint(made)
    again = Build(copy, STAGE, KEY, tmp_path, {})
    again.restore()
    assert not refused
    assert is_complete(again.work / made.name) and again.work != build.work


def test_a_name_that_leads_out_is_not_fetched(tmp_path: Path) -> None:
    store = Store("memory://led")
    build = Build(store, STAGE, KEY, tmp_path, {})
    for name in (MANIFEST, "../../../../../led-out"):
        store.backend.write(f"work/{STAGE}/{KEY}/checkpoint-1/{name}", b"x")
    build.restore()
    assert [path.name for path in store.scratch().rglob("*") if path.is_file()] == [".finetune-scratch", MANIFEST]


BEHIND: dict[str, Callable[[Path], Any]] = {
    "blobs": lambda root: root.write_text("a file"),
    "records": lambda root: root.symlink_to(root),
}


@pytest.mark.parametrize("place", BEHIND)
def test_a_store_with_a_file_for_a_folder_is_a_machine_s_fault(place: str, tmp_path: Path) -> None:
    from tasks.config.errors import MACHINE_ERRORS

    BEHIND[place](tmp_path / place)
    with pytest.raises((MachineError, OSError)) as raised:
        published(tmp_path)
    assert isinstance(raised.value, MachineError) or raised.value.errno in MACHINE_ERRORS
