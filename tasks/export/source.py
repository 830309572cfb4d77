"""Find what to export: a model folder, or a run of the store, whose model may be in the store only."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.record import Record
from tasks.artifacts.ref import ArtifactRef
from tasks.artifacts.runs import own_stages
from tasks.artifacts.store import Store
from tasks.config import ConfigError, ModelConfig
from tasks.config.json_types import JsonObject
from tasks.inference.saved_model import INFERENCE
from tasks.models.bases.base import base_files, public_name
from tasks.models.bases.files import ADAPTER_CONFIG
from tasks.results.export import adapter_config
from tasks.results.output_dir import DONE, REPORT, RESOLVED, written
from tasks.runtime.runs import runs
from tasks.runtime.sweeps import find_one_run

HERE_ONLY = (DONE, RESOLVED, REPORT)  # they contain paths of this machine
SAVED = "s11_save"


@dataclass(frozen=True)
class Source:
    """A model to export.

    Attributes:
        files: its files by name; texts are to be written as they are.
        tokens: the run's token rows, stage 5; None if they are no longer in the store.
    """

    files: Mapping[str, Path | str]
    tokens: Artifact | None


def find_source(word: str, store: Store | None) -> Source:
    """Find a model.

    Args:
        word: a model folder, or a run: its name or a prefix of it, or its config's name. store: where the runs are.

    Raises:
        ConfigError: neither a folder of ours nor a run; the run saved no model, or its results were removed.
    """
    folder = Path(word).expanduser()
    if folder.is_dir():
        if not (folder / INFERENCE).is_file():
            raise ConfigError(f"RUN: {word!r} has no {INFERENCE}, which `finetune run` writes")
        found = written(folder)
        if found and found.key is None:
            raise ConfigError(f"RUN: a run was killed while it wrote {word!r}; run it again")
        record = next(_of_key(store, found.key), None) if store and found and found.key else None
        return Source(dict(_files(folder)), _artifact(store, record, "s05_tokenize"))
    if store is None:
        raise ConfigError(f"RUN: {word!r} is not a folder, and there is no store with runs; see --store")
    record = find_one_run(store, word)
    saved = _artifact(store, record, SAVED)
    if saved is None:
        why = "its results were removed from the store; run it again" if _key(record) else "it saved no model"
        raise ConfigError(f"RUN: {word!r} is {record.get('state')}: {why}")
    files: dict[str, Path | str] = {name: saved.path(name) for name in saved.ref.members}
    if ADAPTER_CONFIG in files:
        model = ModelConfig.model_validate(record["config"]["model"])
        files[ADAPTER_CONFIG] = adapter_config(saved, base_files(model), public_name(model))
    return Source(files, _artifact(store, record, "s05_tokenize"))


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files of a model: those that a run wrote there, if that is known; not a user's own."""
    found = written(folder)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in HERE_ONLY and not name.startswith(".") and (not found or name in found.files):
            yield name, path


def _of_key(store: Store, key: str) -> Iterator[JsonObject]:
    """The records of runs that saved the model with this key."""
    return (record for record in runs(store) if _key(record) == key)


def _key(record: JsonObject, stage: str = SAVED) -> str | None:
    return next((entry["key"] for entry in own_stages(record) if entry["stage"] == stage), None)


def _artifact(store: Store | None, record: JsonObject | None, stage: str) -> Artifact | None:
    key = _key(record, stage) if record else None
    found = store.record(stage, key) if store and key else None
    if store is None or not isinstance(found, Record):
        return None
    ref = ArtifactRef(stage=found.stage, key=found.key, members=found.members, facts=found.facts)
    return Artifact(ref, store)
