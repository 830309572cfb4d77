"""What children of the warm parent do for the contract proofs."""

import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from flows.api import plan as door_plan
from flows.pipeline import pipeline
from tasks.config import load
from tasks.execution.execute import CallerOptions, execute, with_caller
from tests.kill.scenes import DEATHS, told


def plans(
    config: Mapping[str, Any],
    overrides: Sequence[Sequence[str]] = ((),),
    cwd: str | None = None,
    home: str | None = None,
) -> list[list[tuple[str, str, str]]]:
    """(stage, state, key) of each stage as `finetune plan` finds them, for each list of overrides."""
    if cwd:
        os.chdir(cwd)
    if home:
        os.environ["HOME"] = home
    found = []
    for override in overrides:
        _, context = door_plan(load(config, override))
        found.append([(entry.stage, entry.state, entry.key) for entry in context.entries])
    return found


def replaced(config: Mapping[str, Any], module: str, folder: str) -> dict[str, Any]:
    """Carry out `config` with `mine` of a caller's module in place of stage 5."""
    import sys
    from importlib import import_module

    sys.path.insert(0, folder)
    loaded = load(config)
    with with_caller(CallerOptions(replaced={"s05_tokenize": import_module(module).mine})):
        return told(execute(loaded.config, pipeline))


def without_pickle(config: Mapping[str, Any], death: tuple[str, Any] | None = None) -> dict[str, Any]:
    """Carry out `config` and open its model, where nothing can be unpickled."""
    if death is not None:
        DEATHS[death[0]](death[1])
    for owner, name in ((pickle, "load"), (pickle, "loads"), (torch, "load")):
        setattr(owner, name, _refuse)
    pickle.Unpickler = pickle._Unpickler = _Refused  # type: ignore[misc,attr-defined,assignment]
    done = execute(load(config).config, pipeline)
    model, tokenizer = done
    inputs = tokenizer("balen fruit", return_tensors="pt")
    with torch.no_grad():
        shape = list(model(**inputs).logits.shape)
    assert done.history and done.rows("train").num_rows
    return told(done) | {"shape": shape}


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError("something is unpickled")


class _Refused(pickle._Unpickler):  # type: ignore[name-defined]
    __init__ = _refuse


def versions(edits: Mapping[str, Sequence[str]], copy: str) -> dict[str, list[str]]:
    """The stages whose code version changes with each edit: {edit: [module, new source]}."""
    from tasks.artifacts.keys import code

    untouched = code.read_sources(Path(copy))
    before = _code_of_stages(untouched)
    changed = {}
    for name, (module, source) in edits.items():
        edited = code.Source(source, untouched[module].is_package)
        now = _code_of_stages({**untouched, module: edited})
        changed[name] = sorted(stage for stage in before if now[stage] != before[stage])
    return changed


def _code_of_stages(sources: Mapping[str, Any]) -> dict[str, Any]:
    from tasks.artifacts.keys import code

    code.SOURCES = dict(sources)
    return {stage: code.code_version(modules) for stage, modules in modules_of_stages().items()}


def modules_of_stages() -> dict[str, list[str]]:
    """The modules each stage's code begins with: its own, and those of the parts it uses, which differ by task."""
    from importlib import import_module

    from tasks import STAGES
    from tasks.config.formats import FORMATS
    from tasks.objectives import OBJECTIVES
    from tasks.runtime.stage import Stage

    found = {}
    for name in STAGES:
        module = import_module(f"tasks.{name}")
        (stage,) = [value for value in vars(module).values() if isinstance(value, Stage)]
        for objective in OBJECTIVES.values():
            modules = [module.__name__, *objective.modules(stage.components)]
            if modules not in found.values():
                found[f"{name} of {objective.name}"] = modules
        if stage.readers:
            modules = [module.__name__, *OBJECTIVES["text-classification"].modules(stage.components)]
            for each in FORMATS.values():
                found[f"{name} of {each.name}"] = [*modules, each.reader.partition(":")[0]]
    return found
