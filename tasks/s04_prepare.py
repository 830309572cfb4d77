"""Stage 4: read the data into checked, split and labelled rows.

In: the data files (by content), how to read them, the task's columns. Out: `train.arrow`, `validation.arrow`,
`test.arrow` (for the splits that exist), `head.json`, `seen.json` (validation and test rows with a text that is in
train too) and `data.json`: counts, columns, warnings. Rows keep all other columns, and their file and line.

A separate stage because errors in data must be reported before a model is loaded.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.artifacts.formats import json
from tasks.config import DataConfig
from tasks.config.json_types import JsonObject
from tasks.data.rows.columns import may_be_used
from tasks.data.sources.fetch import commit_of
from tasks.data.sources.locate import Source, locate
from tasks.data.sources.read import read
from tasks.data.sources.saved_dataset import saved_split
from tasks.data.tables.arrow_file import write
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.inputs import Unkeyed
from tasks.runtime.stage import stage

SPLITS = ("train", "validation", "test")
# Fields read only by tokenization and training.
SHAPES = ("max_length", "overlong", "stride", "prefix", "max_target_length", "merge", "packing", "append_eos",
          "label_all_tokens", "mlm_probability")  # fmt: skip


def _files(data: Unkeyed, **_: object) -> Mapping[str, Path]:
    """Return each split's files, in order, by names without absolute paths."""
    return {
        f"{split}/{i:05d}/{_name(source, data.value)}": source.path
        for split, spec in _specs(data.value)
        for i, source in enumerate(locate(spec, f"data.{split}"))
    }


def _name(source: Source, data: DataConfig) -> str:
    """Return a source's name. A text's folder is its class, so it is included even if the user gave the folder."""
    if "/" not in source.name and (data.format == "folder" or source.path.suffix == ".txt"):
        return f"{source.path.parent.name}/{source.name}"
    return source.name


def _specs(data: DataConfig) -> Iterator[tuple[str, str | list[str]]]:
    """Yield what each split is read from; the folder of a saved `DatasetDict`, given as train, holds all splits."""
    for split in SPLITS:
        spec = getattr(data, split) or (data.train if saved_split(data.train, split) else None)
        if spec is not None:
            yield split, spec


def _format(data: DataConfig, sources: list[Source], objective: Objective) -> str:
    """Return the format. If the task has classes, a `.txt` file is one text of the class named by its folder; else each
    line is a row."""
    texts = all(source.path.suffix == ".txt" for source in sources)
    learns_classes = any(role.name == "label" for role in objective.roles)
    return "text" if texts and data.format == "auto" and not learns_classes else data.format


def sources(data: DataConfig) -> dict[str, str]:
    """Return the hub data sets and their commits, by field; call it after the rows are read."""
    given = {f"data.{split}": [spec] if isinstance(spec, str) else spec for split, spec in _specs(data)}
    commits = {field: [(spec, commit_of(spec)) for spec in specs] for field, specs in given.items()}
    return {field: ", ".join(f"{spec} at commit {commit}" for spec, commit in found if commit)
            for field, found in commits.items() if any(commit for _, commit in found)}  # fmt: skip


def reading(data: DataConfig) -> JsonObject:
    """Return the fields of `data` that determine rows: all but paths and tokenization options."""
    return data.model_dump(mode="json", exclude={*SPLITS, *SHAPES})


@stage(libraries=("pyarrow", "numpy"), components=("prepare", "roles"), files=_files, run_in_plan=True)
def prepare(
    build: Build, *, objective: Objective, reading: Mapping[str, Any], data: DataConfig
) -> Mapping[str, object]:
    """Read, check, split and label the data.

    Args:
        reading: the fields of `data` that determine rows, part of the key. `data` itself is not: it has paths too.

    Raises:
        DataError: invalid data, with file and line.
    """
    tables, notices = {}, []
    for split, _ in _specs(data):
        prefix = f"{split}/"
        sources = [Source(path, name.split("/", 2)[2]) for name, path in build.files.items() if name.startswith(prefix)]
        used = may_be_used(objective.roles, data.columns.model_dump())
        found = read(sources, _format(data, sources, objective), data.encoding, f"data.{split}", used)
        tables[split] = found.table
        notices += found.notices
    prepared = objective.component("prepare")(tables, data, objective.roles)
    for name, table in prepared.splits.items():
        write(table, build.out / f"{name}.arrow")
    json.write(prepared.head, build.out / "head.json")
    json.write(prepared.seen, build.out / "seen.json")
    counts = {name: table.num_rows for name, table in prepared.splits.items()}
    warnings = [*notices, *prepared.warnings]
    facts = {
        "rows": counts,
        "classes": len(prepared.head["labels"] or []),
        "columns": prepared.columns,
        "dropped": prepared.dropped,
    }
    json.write({**facts, "warnings": warnings, "preview": prepared.preview}, build.out / "data.json")
    for line in warnings:
        build.warn(line)
    return facts
