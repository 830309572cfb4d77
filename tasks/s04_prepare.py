"""Stage 4: what was given as data becomes rows that can be trusted.

In: the data files (by their bytes), how to read them, the task's idea of a row. Out: `train.arrow`,
`validation.arrow`, `test.arrow` (those there are), `head.json`, `seen.json` (which rows of validation and test have a
text that train has too) and `data.json`: counts, columns, warnings.
All other columns stay in the rows, and every row knows its file and line.

A stage of its own because what is wrong with data must be said before a model is even looked at.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.artifacts.formats import json
from tasks.config import DataConfig
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
# What only tokenizing and training read.
SHAPES = ("max_length", "overlong", "stride", "prefix", "max_target_length", "merge", "packing", "append_eos",
          "label_all_tokens", "mlm_probability")  # fmt: skip


def _files(data: Unkeyed, **_: Any) -> Mapping[str, Path]:
    """Each split's files, in order, under names without absolute paths."""
    return {
        f"{split}/{i:05d}/{_name(source, data.value)}": source.path
        for split, spec in _specs(data.value)
        for i, source in enumerate(locate(spec, f"data.{split}"))
    }


def _name(source: Source, data: DataConfig) -> str:
    """A text's folder is its class, so it belongs to its name even where the user gave the folder itself."""
    if "/" not in source.name and (data.format == "folder" or source.path.suffix == ".txt"):
        return f"{source.path.parent.name}/{source.name}"
    return source.name


def _specs(data: DataConfig) -> Iterator[tuple[str, str | list[str]]]:
    """What each split is read from; the folder of a saved `DatasetDict`, given as train, has the others beside it."""
    for split in SPLITS:
        spec = getattr(data, split) or (data.train if saved_split(data.train, split) else None)
        if spec is not None:
            yield split, spec


def _format(data: DataConfig, sources: list[Source], objective: Objective) -> str:
    """Text files are a text a file, of the class that is their folder, where classes are learnt; else a row a line."""
    texts = all(source.path.suffix == ".txt" for source in sources)
    learns_classes = any(role.name == "label" for role in objective.roles)
    return "text" if texts and data.format == "auto" and not learns_classes else data.format


def sources(data: DataConfig) -> dict[str, str]:
    """What of the data is the hub's, and at which commit, by field; called once its rows are there."""
    given = {f"data.{split}": [spec] if isinstance(spec, str) else spec for split, spec in _specs(data)}
    commits = {field: [(spec, commit_of(spec)) for spec in specs] for field, specs in given.items()}
    return {field: ", ".join(f"{spec} at commit {commit}" for spec, commit in found if commit)
            for field, found in commits.items() if any(commit for _, commit in found)}  # fmt: skip


def reading(data: DataConfig) -> dict[str, Any]:
    """What of the data section shapes rows: all but where files lie and what tokenizing does with them."""
    return data.model_dump(mode="json", exclude={*SPLITS, *SHAPES})


@stage(libraries=("pyarrow", "numpy"), components=("prepare", "roles"), files=_files, run_in_plan=True)
def prepare(build: Build, *, objective: Objective, reading: Mapping[str, Any], data: DataConfig) -> Mapping[str, Any]:
    """Read, check, split and label.

    Args:
        reading: what of `data` shapes rows; it stands in the key. `data` itself does not: it also says where files lie.

    Raises:
        DataError: naming the file and line of what is wrong.
    """
    tables, notices = {}, []
    for split, _ in _specs(data):
        prefix = f"{split}/"
        sources = [Source(path, name.split("/", 2)[2]) for name, path in build.files.items() if name.startswith(prefix)]
        found = read(sources, _format(data, sources, objective), data.encoding, f"data.{split}")
        tables[split] = found.table
        notices += found.notices
    prepared = objective.component("prepare")(tables, data, objective.roles)
    for name, table in prepared.splits.items():
        write(table, build.out / f"{name}.arrow")
    json.write(prepared.head, build.out / "head.json")
    json.write(prepared.seen, build.out / "seen.json")
    counts = {name: table.num_rows for name, table in prepared.splits.items()}
    told = [*notices, *prepared.warnings]
    facts = {
        "rows": counts,
        "classes": len(prepared.head["labels"] or []),
        "columns": prepared.columns,
        "dropped": prepared.dropped,
    }
    json.write({**facts, "warnings": told, "preview": prepared.preview}, build.out / "data.json")
    for line in told:
        build.warn(line)
    return facts
