"""Reads `continual`, a list of tasks or a mapping with `tasks` and options, as the steps of a chain."""

from __future__ import annotations

from pathlib import PurePosixPath

from pydantic import ValidationError

from tasks.config.errors import ConfigError
from tasks.config.json_types import JsonObject, is_mapping, is_sequence
from tasks.config.leaves import given
from tasks.config.reading.draft import Draft
from tasks.config.reading.problems import Problem, problems
from tasks.config.sections.continual import ContinualConfig

FIELD, TASKS = "continual", "tasks"
PLAIN_NAMES = ("train", "data", "dataset", "rows")  # of files, which say nothing of what is in them


def as_mapping(draft: Draft) -> None:
    """Replace a list of tasks in `continual` by a mapping, so that options can be set beside it."""
    values = draft.values.get(FIELD)
    if is_sequence(values) and not isinstance(values, str):
        draft.values[FIELD] = {TASKS: values}
        for path in [path for path in draft.places if path.startswith(f"{FIELD}.")]:
            draft.places[f"{FIELD}.{TASKS}.{path.removeprefix(f'{FIELD}.')}"] = draft.places.pop(path)


def as_steps(draft: Draft) -> ContinualConfig | None:
    """Move the tasks of `continual` to `steps`, a task that is only a data set as its `data`, and return the options;
    None without them.

    Raises:
        ConfigError: `continual` beside `steps`, or it is not valid.
    """
    values = draft.values.pop(FIELD, None)
    if values is None:
        return None
    if not is_mapping(values):
        text = "must be a list of data sets or configs, or a mapping with tasks"
        draft.problems.append((draft.place(FIELD), Problem(FIELD, text)))
    elif "steps" in draft.values:
        draft.problems.append((draft.place(FIELD), Problem(FIELD, "a config has steps or continual; leave one out")))
    if draft.problems or not is_mapping(values):
        raise ConfigError(draft.report())
    options = given({str(name): value for name, value in values.items()})
    tasks = options.pop(TASKS, None)
    for path in [path for path in draft.places if path.startswith(f"{FIELD}.{TASKS}")]:
        draft.places[f"steps{path.removeprefix(f'{FIELD}.{TASKS}')}"] = draft.places.pop(path)
    if is_sequence(tasks) and not isinstance(tasks, str):
        tasks = [each if is_mapping(each) else {"data": each} for each in tasks]
        tasks = [{"name": found, **each} if (found := _name_of(each)) and "name" not in each else each
                 for each in map(_plain, tasks)]  # fmt: skip
        draft.values["steps"] = _numbered(tasks)
    try:
        return ContinualConfig.model_validate(options)
    except ValidationError as error:
        draft.problems += [(draft.place(each.path), each) for each in problems(error, ContinualConfig, FIELD)]
        raise ConfigError(draft.report()) from None


def _plain(task: object) -> JsonObject:
    assert is_mapping(task)
    return {str(name): value for name, value in task.items()}


def _name_of(task: JsonObject) -> str | None:
    """Return a name after a task's data: the file's, or if that says nothing the folder's."""
    data = task.get("data")
    source = data.get("train") if is_mapping(data) else data
    if not isinstance(source, str):
        return None
    path = PurePosixPath(source.partition(":")[2] if ":" in source else source)
    stem = path.name.partition(".")[0]
    name = path.parent.name if stem in PLAIN_NAMES else stem
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).strip("-.") or None


def _numbered(tasks: list[JsonObject]) -> list[JsonObject]:
    """Number names that were made of the data and are alike."""
    seen: dict[object, int] = {}
    for task in tasks:
        name = task.get("name")
        seen[name] = seen.get(name, 0) + 1
        if name is not None and seen[name] > 1 and _name_of(task) == name:
            task["name"] = f"{name}-{seen[name]}"
    return tasks
