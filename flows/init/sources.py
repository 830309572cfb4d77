"""Find the files of validation and test next to those of train."""

import re
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pyarrow as pa

from tasks.data.sources.local_path import local_path
from tasks.data.sources.locate import Source, locate
from tasks.data.sources.saved_dataset import is_dataset, is_dataset_dict

SPLIT = re.compile(r"(train|training|validation|valid|val|dev|test)(?![a-z])", re.IGNORECASE)
NAMES = {"training": "train", "valid": "validation", "val": "validation", "dev": "validation"}


def split_sources(spec: str) -> dict[str, str | list[str]]:
    """Return what each split is read from, for a file, folder or glob in which names tell the splits: a folder with
    `train.csv` and `test.csv`, or `train.csv` beside a `test.csv`; else `{"train": spec}`."""
    if "://" in spec or spec.startswith(("package:", "hf:", "sql:")):
        return {"train": spec}
    sources, given = locate(spec, "data.train"), Path(local_path(spec))
    if given.is_dir() and (is_dataset(given) or is_dataset_dict(given)):
        return {"train": spec}
    if given.is_file():
        if _split(given.name) != "train":
            return {"train": spec}
        beside = sorted(path for path in given.parent.glob(f"*{given.suffix}") if path.is_file() and path != given)
        found = _grouped([Source(path, path.name) for path in beside if _split(path.name) not in (None, "train")])
        return {"train": spec, **found}
    found = _grouped(sources) if all(_split(source.name) for source in sources) else {}
    return found if "train" in found and len(found) > 1 else {"train": spec}


def without_columns(tables: dict[str, pa.Table], columns: list[str], found: set[str]) -> dict[str, str]:
    """Return why splits that were `found`, not given, cannot be used: they lack a column, as unlabelled rows do."""
    lacking = {split: [name for name in columns if name not in tables[split].column_names] for split in found}
    return {split: f"it has no column {names[0]!r}" for split, names in lacking.items() if names}


def contains(spec: str | list[str], path: Path) -> bool:
    """Whether a file would be read as data, or is in a folder that is read."""
    target = path.expanduser().absolute()
    for item in [spec] if isinstance(spec, str) else spec:
        if "://" in item or item.startswith(("package:", "hf:", "sql:")):
            continue
        folder = Path(local_path(item)).absolute()
        if target.resolve() == folder.resolve() or (folder.is_dir() and folder.resolve() in target.resolve().parents):
            return True
        if fnmatch(str(target), str(folder)):  # a glob
            return True
    return False


def _split(name: str) -> str | None:
    found = SPLIT.match(PurePosixPath(name).parts[0])
    return NAMES.get(found[1].lower(), found[1].lower()) if found else None


def _grouped(sources: list[Source]) -> dict[str, str | list[str]]:
    groups: dict[str, list[str]] = {}
    for source in sources:
        depth = len(PurePosixPath(source.name).parts)
        path = source.path.parents[depth - 2] if depth > 1 else source.path
        shown = str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
        named = groups.setdefault(_split(source.name) or "", [])
        if shown not in named:
            named.append(shown)
    return {split: paths[0] if len(paths) == 1 else paths for split, paths in groups.items()}
