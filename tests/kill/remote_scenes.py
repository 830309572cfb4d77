"""A finished run on a `memory://` root whose blobs rot: all in one process, for that is where such a root lives."""

from collections.abc import Mapping
from typing import Any

from flows.pipeline import pipeline
from tasks.artifacts.record import Record
from tasks.artifacts.store import Store
from tasks.config import load
from tasks.execution.execute import execute
from tests.kill.scenes import told


def rot(config: Mapping[str, Any], damage: str) -> dict[str, Any]:
    """Damage each blob in turn (or all of them) and run again; return what did not come out the same."""
    loaded = load(config)
    whole = told(execute(loaded.config, pipeline))
    backend = Store(config["store"]["root"]).backend
    wrong: list[str] = []
    blobs = list(backend.names("blobs"))
    for group in [blobs] if damage == "flip all" else [[blob] for blob in blobs]:
        owners = _owners(backend)
        if len(group) == 1 and group[0].removeprefix("blobs/") not in owners:
            continue  # stage 9 was built again meanwhile, and its history tells seconds
        before = {blob: backend.read(blob) for blob in group if backend.size(blob) is not None}
        for blob in before:
            _damage(backend, blob, damage)
        result = told(execute(loaded.config, pipeline))
        built = {stage for stage, state in result["stages"].items() if state == "built"}
        if (result["weights"], result["metrics"]) != (whole["weights"], whole["metrics"]):
            wrong.append(f"{group}: another result")
        if len(group) == 1 and not built <= owners[group[0].removeprefix("blobs/")]:
            wrong.append(f"{group}: built {sorted(built)}")
        if damage == "delete" and not built:
            wrong.append(f"{group}: a missing blob was not missed")
        for blob, data in before.items():  # what nobody read is flipped still
            backend.write(blob, data)
    return {"wrong": wrong, "tried": len(blobs)}


def _owners(backend: Any) -> dict[str, set[str]]:
    """{blob: the stages whose artifacts hold it}: the trainer's state is stage 9's and 11's, and has its seconds."""
    found: dict[str, set[str]] = {}
    for record in (Record.unseal(backend.read(name)) for name in backend.names("records")):
        for member in record.members.values():
            found.setdefault(member.sha256, set()).add(record.stage)
    return found


def _damage(backend: Any, blob: str, damage: str) -> None:
    if damage == "delete":
        backend.delete(blob)
        return
    data = bytearray(backend.read(blob))
    data[len(data) // 2] ^= 1
    backend.write(blob, bytes(data))
