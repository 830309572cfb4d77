"""Loads a chain of runs: sections that all steps share, and `steps`, each with its own values over the shared ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasks.config.errors import ConfigError
from tasks.config.json_types import JsonObject, is_mapping, is_object, is_sequence
from tasks.config.leaves import given, leaves
from tasks.config.reading.continual import FIELD as CONTINUAL
from tasks.config.reading.continual import as_mapping, as_steps
from tasks.config.reading.draft import COMMAND_LINE, Draft, expand_sections, make_draft, override_value
from tasks.config.reading.load import Loaded, load
from tasks.config.reading.problems import Problem, problems
from tasks.config.sections.continual import ContinualConfig
from tasks.config.sections.run import RunConfig

FEWEST = 2
NAME = re.compile(r"\w[\w.-]*")
OF_A_STEP = re.compile(r"(?:steps|continual)(?:\.tasks)?(?:\[(\d+)\]|\.(\d+))\.(.+)", re.DOTALL)
# Set once for all steps.
WHOLE = ("name", "output_dir", "store", "secrets", "steps", "model", "model.name", "model.revision")
REFUSED = {
    "store": "all steps share one store; set it at the top level",
    "secrets": "all steps share them; set them at the top level",
    "model.name": "a step starts from the model of an earlier one, and the first from model at the top level; leave it "
    "out",
    "model.revision": "only the base at the top level has revisions; set it there",
    "sweep": "a step is one run; leave it out",
    "steps": "a step has no steps of its own; leave it out",
}  # fmt: skip


@dataclass(frozen=True)
class ChainStep:
    """One step: its name, and its run. The run's `model.name` is the chain's base; see `starting_from`. `field` is the
    list that it is in, for messages."""

    name: str
    run: Loaded
    field: str = "steps"

    def starting_from(self, folder: Path, of: str) -> Loaded:
        """Return the run with the model in `folder`, which the step called `of` made, as its base."""
        place = f"the model of step {of}"
        found = load(self.run.config, settings={"model.name": str(folder), "model.revision": None}, place=place)
        return replace(self.run, config=found.config, origin={**self.run.origin, "model.name": place})

    def rewarded_by(self, folder: str, of: str) -> ChainStep:
        """Return the step with the reward model in `folder`, which the step called `of` made."""
        place = f"the model of step {of}"
        found = load(self.run.config, settings={"rl.reward_model": folder}, place=place)
        origin = {**self.run.origin, "rl.reward_model": place}
        return replace(self, run=replace(self.run, config=found.config, origin=origin))

    def with_template(self, template: str | None) -> ChainStep:
        """Return the step with this chat template, unless it has one."""
        if template is None or self.run.config.model.chat_template is not None:
            return self
        found = load(self.run.config, settings={"model.chat_template": template})
        return replace(self, run=replace(self.run, config=found.config))

    def with_values(self, settings: Mapping[str, object]) -> ChainStep:
        """Return the step with other values: `{dotted field: value}`."""
        found = load(self.run.config, settings=settings, place="continual")
        return replace(self, run=replace(self.run, config=found.config, origin={**self.run.origin, **found.origin}))


@dataclass(frozen=True)
class LoadedChain:
    """A valid chain. `model` is the first step's base, `name` that of the chain. `output_dir` holds the
    folders of its steps. `continual`: options of continual learning; None: each step starts from the model that the
    last answering one before it made."""

    steps: tuple[ChainStep, ...]
    model: JsonObject
    name: str | None
    notices: tuple[str, ...]
    file: str | None = None
    continual: ContinualConfig | None = None
    output_dir: str | None = None

    def parameters(self) -> JsonObject:
        """Return the chain as parameters of its flow: each step with all its values."""
        shared = self.steps[0].run.config
        steps = [{**_own(step.run.config), "name": step.name} for step in self.steps]
        options = {"continual": {**given(self.continual), "tasks": steps}} if self.continual else {"steps": steps}
        whole = {"name": self.name, "model": self.model, "output_dir": self.output_dir, "store": shared.store}
        return {**whole, "secrets": shared.secrets, **options}


def load_chain(source: str | Path | Mapping[str, Any] | RunConfig, overrides: Sequence[str] = ()) -> LoadedChain:
    """Load and validate a config with `steps` or `continual`. All problems are raised together, as one ConfigError.

    An override (`train.learning_rate=1e-5`) is for all steps, and one with a step's number (`steps[1].train…`) for that
    step alone. Mappings in a step are merged into the shared ones; any other value replaces the shared one, and so does
    a `peft` with another method.
    """
    whole = [each for each in overrides if _is_whole(_path(each))]
    draft = make_draft(source, ())
    as_mapping(draft)
    for each in whole:
        override_value(draft, each)
    continual = as_steps(draft)
    try:
        return _load(draft, [each for each in overrides if each not in whole], continual)
    except ConfigError as error:
        if continual is not None:
            error.args = (str(error).replace("steps[", f"{CONTINUAL}[").replace(": steps: ", f": {CONTINUAL}: "),)
        raise


def _load(draft: Draft, overrides: Sequence[str], continual: ContinualConfig | None) -> LoadedChain:
    notices, steps = draft.notices, draft.values.pop("steps", None)
    if draft.values.pop("sweep", None) is not None:
        draft.problems.append((draft.place("sweep"), Problem("sweep", "a config has steps or a sweep; leave one out")))
    if draft.values.get("model") is None:
        draft.problems.append((draft.name, Problem("model", "missing; the base of the first step")))
    own = _own_drafts(draft, steps)
    for override in overrides:
        _override(draft, own, override)
    if draft.problems:
        raise ConfigError(draft.report())
    merged = [_merged_draft(draft, each) for each in own]
    names = _names(draft, own, merged)
    for name, each in zip(names, merged, strict=True):
        _place_in_chain(draft, name, each)
    found = [_validated(draft, at, each, step) for at, (each, step) in enumerate(zip(own, merged, strict=True))]
    runs = [each for each in found if each is not None]
    if draft.problems:
        raise ConfigError(draft.report())
    notices = tuple(dict.fromkeys([*notices, *(notice for each in own for notice in each.notices)]))
    field = "steps" if continual is None else CONTINUAL
    chained = tuple(ChainStep(name, run, field) for name, run in zip(names, runs, strict=True))
    name, folder = draft.values.get("name"), draft.values.get("output_dir")
    return LoadedChain(chained, draft.values["model"], name, notices, draft.file, continual, folder and str(folder))


def _path(override: str) -> str:
    return override.partition("=")[0].strip()


def _is_whole(path: str) -> bool:
    """Whether an override is for the chain and not for its steps."""
    of_all = path.startswith((f"{CONTINUAL}.", "store.", "secrets.")) and OF_A_STEP.fullmatch(path) is None
    return of_all or path in (*WHOLE, CONTINUAL)


def _own_drafts(draft: Draft, steps: object) -> list[Draft]:
    """Return a draft of each step's own values; problems go to `draft`."""
    if not is_sequence(steps) or isinstance(steps, str) or len(steps) < FEWEST:
        found = "missing" if steps is None else f"{len(steps)} given" if is_sequence(steps) else "not a list"
        text = f"{found}; a chain needs a list of at least two steps, such as [{{task: sft, …}}, {{task: dpo, …}}]"
        draft.problems.append((draft.place("steps"), Problem("steps", text)))
        return []
    drafts: list[Draft] = []
    for at, values in enumerate(steps):
        inside = f"steps.{at}."
        places = {path.removeprefix(inside): place for path, place in draft.places.items() if path.startswith(inside)}
        if not is_mapping(values):
            text = f"must be a mapping (task: …, data: …), not {values!r:.40}"
            draft.problems.append((draft.place(f"steps.{at}"), Problem(f"steps[{at}]", text)))
            values = JsonObject()
        each = Draft(draft.name, given(values), places)
        expand_sections(each)
        drafts.append(each)
    return drafts


def _override(draft: Draft, own: Sequence[Draft], override: str) -> None:
    """Apply an override to the step that it names, else to all steps."""
    match = OF_A_STEP.fullmatch(override)
    chosen = list(enumerate(own))
    if match:
        number = int(match[1] or match[2])
        if number >= len(own):
            text = f"there are {len(own)} steps, counted from 0"
            draft.problems.append((COMMAND_LINE, Problem(f"steps[{number}]", text)))
            return
        override, chosen = match[3], [(number, own[number])]
    else:
        draft.places[_path(override)] = COMMAND_LINE
    for at, each in chosen:
        override_value(each, override)
        inside = f"steps[{at}]." if match else ""
        for _, problem in each.problems:
            pair = COMMAND_LINE, Problem(f"{inside}{problem.path}", problem.text)
            draft.problems += [pair] if pair not in draft.problems else []
        each.problems.clear()


def _merged_draft(shared: Draft, own: Draft) -> Draft:
    values = {name: value for name, value in shared.values.items() if name not in ("name", "output_dir")}
    return Draft(shared.name, _merge(values, own.values), {**shared.places, **own.places}, shared.file)


def _merge(shared: JsonObject, own: JsonObject) -> JsonObject:
    found = deepcopy(shared)
    for name, value in own.items():
        there: object = found.get(name)
        deep = is_object(there) and is_object(value) and value and _same_method(there, value)
        found[name] = _merge(there, value) if deep and is_object(there) and is_object(value) else deepcopy(value)
    return found


def _same_method(there: JsonObject, value: JsonObject) -> bool:
    """Whether both are of one kind: fields of one method of `peft` do not fit another."""
    method = there.get("method")
    return value.get("method", method) == method


def _names(draft: Draft, own: Sequence[Draft], merged: Sequence[Draft]) -> list[str]:
    """Return the steps' names: their own, else their tasks, numbered where a task is repeated."""
    names: list[str] = []
    for at, (each, step) in enumerate(zip(own, merged, strict=True)):
        name, task = each.values.get("name"), step.values.get("task")
        if task is None:
            draft.problems.append((draft.place(f"steps.{at}"), Problem(f"steps[{at}].task", "missing; such as sft")))
        if name is not None and not (isinstance(name, str) and NAME.fullmatch(name)):
            text = f"{name!r} given; valid: letters, digits, '-', '_' and '.', as it names a folder"
            draft.problems.append((each.place("name"), Problem(f"steps[{at}].name", text)))
        plain = re.sub(r"[^\w.-]+", "-", str(name or task))
        if name is not None and plain in names:
            draft.problems.append((each.place("name"), Problem(f"steps[{at}].name", f"{name!r} is given twice")))
        while name is None and plain in names:
            plain = f"{task}-{at + 1}" if plain == task else f"{plain}-"
        names.append(plain)
    return names


def _place_in_chain(draft: Draft, name: str, step: Draft) -> None:
    """Set the name and the folder of a step's run."""
    chain, folder = draft.values.get("name"), draft.values.get("output_dir")
    step.values["name"] = f"{chain}-{name}" if isinstance(chain, str) else name if chain is None else chain
    step.places["name"] = draft.place("name")
    if folder is not None and "output_dir" not in step.values:
        step.values["output_dir"] = str(Path(folder) / name) if isinstance(folder, str | Path) else folder
        step.places["output_dir"] = draft.place("output_dir")


def _validated(draft: Draft, at: int, own: Draft, step: Draft) -> Loaded | None:
    """Return the run of a step; problems go to `draft`, with the step's number where they are not of shared values."""
    for path, why in REFUSED.items():
        if _has(own.values, path):
            draft.problems.append((own.place(path), Problem(f"steps[{at}].{path}", why)))
            return None
    try:
        config = RunConfig.model_validate(step.values)
    except ValidationError as error:
        for found in problems(error):
            shared = _has(draft.values, found.path) and not _has(own.values, found.path)
            shared = shared or step.place(found.path) == draft.place(found.path) == COMMAND_LINE
            problem = Problem(found.path if shared else f"steps[{at}].{found.path}", found.text)
            pair = (step.place(found.path) if _has(step.values, found.path) else draft.place(f"steps.{at}"), problem)
            if pair not in draft.problems:
                draft.problems.append(pair)
        return None
    origin = {leaf.path: step.place(leaf.path) for leaf in leaves(config) if leaf.is_set}
    return Loaded(config, origin, (), step.file)


def _has(values: object, path: str) -> bool:
    for part in path.split("."):
        if not is_mapping(values) or part not in values:
            return False
        values = values[part]
    return True


def _own(config: RunConfig) -> JsonObject:
    """Return a run's values as those of a step, which has no store and no base of its own."""
    found: JsonObject = {name: value for name, value in given(config).items() if name not in ("store", "secrets")}
    model = {name: value for name, value in found.pop("model").items() if name not in ("name", "revision")}
    return found | ({"model": model} if model else {})
