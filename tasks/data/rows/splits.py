"""Find and read the files of each split."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from tasks.config import DataConfig
from tasks.data.rows.columns import Role, may_be_json, may_be_used
from tasks.data.sources.locate import Source, locate
from tasks.data.sources.read import format_of, is_txt, read
from tasks.data.sources.saved_dataset import saved_split

SPLITS = ("train", "validation", "test")


def specs(data: DataConfig) -> Iterator[tuple[str, str | list[str]]]:
    """Yield what each split is read from; the folder of a saved `DatasetDict`, given as train, holds all splits."""
    for split in SPLITS:
        spec = getattr(data, split) or (data.train if saved_split(data.train, split) else None)
        if spec is not None:
            yield split, spec


def split_files(data: DataConfig) -> Mapping[str, Path]:
    """Return each split's files, in order, by names `<split>/<number>/<name>` without absolute paths."""
    return {
        f"{split}/{i:05d}/{_name(source, data)}": source.path
        for split, spec in specs(data)
        for i, source in enumerate(locate(spec, f"data.{split}"))
    }


def read_splits(
    files: Mapping[str, Path], data: DataConfig, roles: Sequence[Role], used: Callable[[str], bool] | None = None
) -> tuple[dict[str, pa.Table], list[str]]:
    """Return the rows of each split, and notices on how they were read.

    Args:
        files: of `split_files`. used: whether a column of that name may be used; None: those that may have a role.

    Raises:
        DataError: files that cannot be read, with file and line.
    """
    tables: dict[str, pa.Table] = {}
    notices: list[str] = []
    wanted = data.columns.model_dump()
    used, mixed = used or may_be_used(roles, wanted), may_be_json(roles, wanted)
    for split, sources in _sources(files, data):
        found = read(sources, _format(data, sources, roles), data.encoding, f"data.{split}", used, mixed)
        tables[split] = found.table
        notices += found.notices
    return tables, notices


def readers_of(files: Mapping[str, Path], data: DataConfig, roles: Sequence[Role]) -> dict[str, str]:
    """Return the reader (`module:attribute`) of each format among the files, by the format's name.

    Args:
        files: of `split_files`.

    Raises:
        DataError: the format of a file is unknown.
    """
    return {
        found.name: found.reader
        for split, sources in _sources(files, data)
        for source in sources
        for found in [format_of(source, _format(data, sources, roles), f"data.{split}")]
    }


def _sources(files: Mapping[str, Path], data: DataConfig) -> Iterator[tuple[str, list[Source]]]:
    """Yield each split with its files."""
    for split, _ in specs(data):
        yield split, [Source(path, name.split("/", 2)[2]) for name, path in files.items()
                      if name.startswith(f"{split}/")]  # fmt: skip


def _name(source: Source, data: DataConfig) -> str:
    """Return a source's name. A text's folder is its class, so it is included even if the user gave the folder."""
    if "/" not in source.name and (data.format == "folder" or is_txt(source.path.name)):
        return f"{source.path.parent.name}/{source.name}"
    return source.name


def _format(data: DataConfig, sources: Sequence[Source], roles: Sequence[Role]) -> str:
    """Return the format. If the task has classes, a `.txt` file is one text of the class named by its folder; else each
    line is a row."""
    texts = all(is_txt(source.path.name) for source in sources)
    learns_classes = any(role.name == "label" for role in roles)
    return "text" if texts and data.format == "auto" and not learns_classes else data.format
