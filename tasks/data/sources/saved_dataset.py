"""Finds the Arrow files, in order, of folders written by `save_to_disk` of the `datasets` library."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.artifacts.names import is_inside
from tasks.config.errors import DataError
from tasks.data.messages import nearest
from tasks.data.sources.local_path import InvalidPath, local_path

STATE, INFO, SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"


def is_dataset(folder: Path) -> bool:
    """Whether a folder was written by `Dataset.save_to_disk`."""
    return (folder / STATE).is_file() and (folder / INFO).is_file()


def is_dataset_dict(folder: Path) -> bool:
    """Whether a folder was written by `DatasetDict.save_to_disk`."""
    return (folder / SPLITS).is_file()


def shards(folder: Path, field: str) -> list[tuple[Path, str]]:
    """Return the Arrow files of a saved `Dataset`, in order, with their names.

    Raises:
        DataError: its JSON files are not as `datasets` writes them, or list a file that is not in the folder.
    """
    state, info = _read(folder / STATE, field), _read(folder / INFO, field)
    if not isinstance(info, dict) or not isinstance(info.get("features") or {}, dict):
        raise _foreign(folder / INFO, "an object with 'features'", field)
    if not isinstance(state, dict):
        raise _foreign(folder / STATE, "an object with '_data_files'", field)
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise DataError(
            f"{field}: {str(folder)!r} was saved with an index of rows; call `flatten_indices()` before saving it"
        )
    files = state.get("_data_files")
    if not isinstance(files, list) or not files or not all(isinstance(each, dict) for each in files):
        raise _foreign(folder / STATE, "an object with '_data_files', a list of objects", field)
    names = [each.get("filename") for each in files]
    for name in names:
        if not isinstance(name, str) or not is_inside(name) or not (folder / name).is_file():
            raise DataError(f"{field}: {str(folder / STATE)!r} lists the file {name!r}, which is not in its folder")
    return [(folder / name, name) for name in names]


def split_of(folder: Path, field: str) -> Path:
    """Return the folder of the split with the field's name, or of the only one, in a saved `DatasetDict`.

    Raises:
        DataError: there is no such split, or the folder is not as `datasets` writes it.
    """
    splits = _splits(folder, field)
    wanted = field.rpartition(".")[2]
    split = wanted if wanted in splits else splits[0] if len(splits) == 1 else None
    if split is None:
        near = nearest(wanted, splits)
        raise DataError(f"{field}: {str(folder)!r} has the splits {', '.join(splits)}; give the folder of one of them"
                        f"{near}")  # fmt: skip
    if not is_dataset(folder / split):
        raise DataError(f"{field}: {str(folder)!r} has no {STATE} and {INFO} for its split {split!r}")
    return folder / split


def saved_split(spec: str | list[str], split: str) -> bool:
    """Whether `spec` is the folder of a saved `DatasetDict` that has this split.

    Raises:
        DataError: its `dataset_dict.json` is not as `datasets` writes it.
    """
    try:
        folder = local_path(spec) if isinstance(spec, str) else None
    except InvalidPath:
        return False
    return folder is not None and is_dataset_dict(folder) and split in _splits(folder, f"data.{split}")


def _splits(folder: Path, field: str) -> list[str]:
    found = _read(folder / SPLITS, field)
    splits = found.get("splits") if isinstance(found, dict) else None
    if not isinstance(splits, list) or not splits or not all(isinstance(each, str) for each in splits):
        raise _foreign(folder / SPLITS, "an object with 'splits', a list of names", field)
    if odd := next((each for each in splits if "/" in each or not is_inside(each)), None):
        raise DataError(f"{field}: {str(folder / SPLITS)!r} lists the split {odd!r}, which is not a valid folder name")
    return splits


def _read(path: Path, field: str) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{field}: {str(path)!r} is not valid JSON: {error}") from None


def _foreign(path: Path, wanted: str, field: str) -> DataError:
    return DataError(f"{field}: {str(path)!r} is not {wanted}, as `save_to_disk` of `datasets` writes it")
