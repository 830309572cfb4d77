"""Stage 4: read the data into checked, split and labelled rows.

In: the data files (by content), how to read them, the task's columns. Out: `train.arrow`, `validation.arrow`,
`test.arrow` (for the splits that exist), `head.json`, `seen.json` (validation and test rows with a text that is in
train too) and `data.json`: counts, columns, warnings. Rows keep all other columns, and their file and line.

A separate stage because errors in data must be reported before a model is loaded.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.artifacts.formats import json
from tasks.config import DataConfig
from tasks.config.json_types import JsonObject
from tasks.data.rows.splits import SPLITS, read_splits, readers_of, specs, split_files
from tasks.data.sources.fetch import commit_of
from tasks.data.tables.arrow_file import write
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.inputs import Unkeyed
from tasks.runtime.stage import stage

# Fields read only by tokenization and training.
SHAPES = ("max_length", "overlong", "stride", "prefix", "max_target_length", "merge", "packing", "append_eos",
          "label_all_tokens", "mlm_probability", "train_on")  # fmt: skip


def _files(data: Unkeyed, **_: object) -> Mapping[str, Path]:
    return split_files(data.value)


def _readers(files: Mapping[str, Path], data: Unkeyed, objective: Objective, **_: object) -> Mapping[str, str]:
    found = readers_of(files, data.value, objective.roles)
    return {f"data.format {name}": reader for name, reader in found.items()}


def sources(data: DataConfig) -> dict[str, str]:
    """Return the hub data sets and their commits, by field; call it after the rows are read."""
    given = {f"data.{split}": [spec] if isinstance(spec, str) else spec for split, spec in specs(data)}
    commits = {field: [(spec, commit_of(spec)) for spec in specs] for field, specs in given.items()}
    return {field: ", ".join(f"{spec} at commit {commit}" for spec, commit in found if commit)
            for field, found in commits.items() if any(commit for _, commit in found)}  # fmt: skip


def reading(data: DataConfig) -> JsonObject:
    """Return the fields of `data` that determine rows: all but paths and tokenization options."""
    return data.model_dump(mode="json", exclude={*SPLITS, *SHAPES})


@stage(
    libraries=("pyarrow", "numpy"), components=("prepare", "roles"), files=_files, readers=_readers, run_in_plan=True
)
def prepare(
    build: Build, *, objective: Objective, reading: Mapping[str, Any], data: DataConfig
) -> Mapping[str, object]:
    """Read, check, split and label the data.

    Args:
        reading: the fields of `data` that determine rows, part of the key. `data` itself is not: it has paths too.

    Raises:
        DataError: invalid data, with file and line.
    """
    tables, notices = read_splits(build.files, data, objective.roles)
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
