"""The steps of a chain: what each starts from, the folder of its model, and errors that name it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.artifacts.store import Store
from tasks.config import ChainStep, ConfigError, LoadedChain, ModelConfig, RunConfig
from tasks.config.cache import cache_home
from tasks.config.errors import FinetuneError
from tasks.models.bases.base import public_name
from tasks.models.bases.files import ADAPTER_CONFIG
from tasks.objectives import objective_of, objectives
from tasks.results.export import adapter_config

ANSWERING, SCORING = "AutoModelForCausalLM", "reward"
FIELD = re.compile(r"(?:- )?(\w+)[.\w\[\]]*: ")


def answers(step: ChainStep) -> bool:
    """Whether a step trains a model that answers, from which later steps start; a reward model only scores."""
    return objective_of(step.run.config.task).auto_model == ANSWERING


def starts_of(chain: LoadedChain) -> list[int | None]:
    """Return for each step the number of the step that makes its base: the last one before it that answers. None: it
    starts from the chain's model.

    Raises:
        ConfigError: a task that cannot be a step, or no step that trains a model that answers.
    """
    if chain.continual is not None:
        return [None if chain.continual.start == "base" or not at else at - 1 for at in range(len(chain.steps))]
    found: list[int | None] = []
    latest: int | None = None
    for at, step in enumerate(chain.steps):
        with naming_step(at, step):
            objective = objective_of(step.run.config.task)
        if not answers(step) and objective.name != SCORING:
            valid = [name for name, each in objectives().items() if each.auto_model == ANSWERING]
            raise ConfigError(f"steps[{at}].task: {step.run.config.task} does not train a model that answers; valid "
                              f"are {', '.join([*valid, SCORING])}")  # fmt: skip
        found.append(latest)
        latest = at if answers(step) else latest
    if latest is None:
        raise ConfigError("steps: all of them train reward models, which no step starts from; use `finetune run`")
    return found


def judges_of(chain: LoadedChain) -> list[int | None]:
    """Return for each step the number of the step whose reward model rewards its answers: the last one before it. None:
    its task does not learn from rewards, it names a reward model itself, or there is none before it."""
    found: list[int | None] = []
    latest: int | None = None
    if chain.continual is not None:
        return [None] * len(chain.steps)
    for at, step in enumerate(chain.steps):
        objective, given = objective_of(step.run.config.task), step.run.config.rl
        found.append(latest if objective.rl_options and given.reward_model is None else None)
        latest = at if objective.name == SCORING else latest
    return found


@contextmanager
def naming_step(at: int, step: ChainStep) -> Iterator[None]:
    """Within, an error that a user can fix names the step: `steps[1].data.train: …`."""
    place = f"{step.field}[{at}]"
    try:
        yield
    except FinetuneError as error:
        lines = str(error).split("\n")
        named = [_named(line, place) for line in lines]
        if named == lines:
            named[0] = f"{place} ({step.name}): {lines[0]}"
        error.args = ("\n".join(named), *error.args[1:])
        raise
    except Exception as error:
        error.add_note(f"in {place} ({step.name})")
        raise


def _named(line: str, place: str) -> str:
    match = FIELD.match(line)
    if match is None or match[1] not in RunConfig.model_fields:
        return line
    return f"{line[: match.start(1)]}{place}.{line[match.start(1) :]}"


def linked_folder(saved: Artifact, base: Artifact, model: ModelConfig, name: str) -> Path:
    """Return a folder, in the store, with a saved model: links to its files. It is the same in every run with the same
    model, and does not hold the model once `finetune gc` removes that. Of a remote store it is a copy, in the cache.

    Args:
        saved: stage 11's artifact. base: stage 3's, of the same run. model: what that run started from.
        name: the folder's.
    """
    folder = linked_folders(saved.store) / saved.ref.key[:32] / name
    folder.mkdir(parents=True, exist_ok=True)
    for member in saved.ref.members:
        temporary = folder / f".{uuid4().hex}"
        if member == ADAPTER_CONFIG:
            temporary.write_text(adapter_config(saved, base.externals(), public_name(model)))
        elif saved.store.local is None:  # its files are here only for this process
            shutil.copyfile(saved.path(member), temporary)
        else:
            temporary.symlink_to(saved.path(member).resolve())
        os.replace(temporary, folder / member)  # noqa: PTH105
    return folder


def linked_folders(store: Store) -> Path:
    """Return where the folders of `linked_folder` are."""
    return (cache_home() if store.local is None else store.local.root) / "steps"


def base_in_store(folder: Path, store: Store) -> str | None:
    """Return a warning if `folder` has an adapter to a model that only the store has."""
    config = folder / ADAPTER_CONFIG
    base = str(json.read(config).get("base_model_name_or_path") or "") if config.is_file() else ""
    if not Path(base).is_relative_to(linked_folders(store)):
        return None
    return (f"the adapter in {folder} needs its base, the model of step {Path(base).name}, which is only in the store "
            f"({base}); set the output_dir of that step too")  # fmt: skip
