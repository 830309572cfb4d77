"""Run a chain: everything is checked first, then each step is a run, which starts from the model of an earlier one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path

from flows.api import lint, run
from flows.chain import continual
from flows.chain.result import Aligned, Continual
from flows.chain.steps import base_in_store, judges_of, linked_folder, naming_step, starts_of
from tasks.config import ChainStep, ConfigError, LoadedChain, RunConfig
from tasks.evaluation.custom_metrics import result_name
from tasks.execution.execute import open_store, store_root
from tasks.execution.preflight import check_paths
from tasks.objectives.headline import headline
from tasks.objectives.presets import resolve
from tasks.results.finetuned import FineTuned
from tasks.runtime.context import StageEntry
from tasks.runtime.log import info, warn

SHOWN_METRICS = 2  # of a step, in the line when it is done
Given = tuple[LoadedChain, Callable[[StageEntry], None] | None]
_given: ContextVar[Given | None] = ContextVar("finetune_chain", default=None)


@contextmanager
def chain_at_hand(chain: LoadedChain, listener: Callable[[StageEntry], None] | None) -> Iterator[None]:
    """Pass a chain, with the origins of its values, to the flow run within this context, and a listener for stages."""
    token = _given.set((chain, listener))
    try:
        yield
    finally:
        _given.reset(token)


def given_chain() -> Given | None:
    """Return what `chain_at_hand` passes; None in a deployment's run."""
    return _given.get()


def execute_chain(chain: LoadedChain, listener: Callable[[StageEntry], None] | None = None) -> Aligned:
    """Run a chain as the current flow run. A step that fails ends it.

    Raises:
        FinetuneError: an error the user can fix, which names the step.
    """
    starts = check_chain(chain, probe=True)
    done: list[FineTuned] = []
    judges, options = judges_of(chain), chain.continual
    for at, (step, start) in enumerate(zip(chain.steps, starts, strict=True)):
        base = f"the model of step {chain.steps[start].name}" if start is not None else chain.model["name"]
        info(f"step {at + 1} of {len(starts)}, {step.name}: {step.run.config.task}, from {base}")
        with naming_step(at, step):
            if (judge := judges[at]) is not None:
                made = chain.steps[judge]
                step = step.rewarded_by(str(model_folder(made, done[judge])), made.name)
            if options is not None:
                made_before = zip(chain.steps, done, strict=False)
                earlier = {each.name: (each, model_folder(each, run)) for each, run in made_before}
                step = continual.after(step, earlier, options)
            loaded = step.run
            if start is not None:
                made = chain.steps[start]
                loaded = step.starting_from(model_folder(made, done[start]), made.name)
            done.append(run(loaded, listener=listener, flow_run_name=loaded.config.name))
        info(f"step {at + 1} of {len(starts)}, {step.name}: done; {_result(done[-1], loaded.config)}")
        if done[-1].path and (line := base_in_store(done[-1].path, open_store(loaded.config.store))):
            warn(line)
        if options is not None:
            found = continual.matrix(chain, done)
            continual.write_report(found, chain.output_dir)
            continual.judge(found, options)
    return Aligned(chain.steps, done) if options is None else _with_matrix(chain, done, listener)


def _with_matrix(
    chain: LoadedChain, done: Sequence[FineTuned], listener: Callable[[StageEntry], None] | None
) -> Continual:
    """Return finished tasks with their matrix, after training each alone if that is wanted."""
    options = chain.continual
    assert options is not None
    apart: list[FineTuned | None] = [*done] if options.start == "base" else [None] * len(done)
    if options.alone and options.start != "base":
        apart[0] = done[0]
        for at, step in enumerate(chain.steps[1:], 1):
            info(f"{step.name}: alone, from {chain.model['name']}")
            settings = {"name": f"{step.run.config.name}-alone", "output_dir": None}
            with naming_step(at, step):
                loaded = continual.alone(step).with_values(settings).run
                apart[at] = run(loaded, listener=listener, flow_run_name=loaded.config.name)
    found = continual.matrix(chain, done, apart)
    continual.write_report(found, chain.output_dir)
    return Continual(chain.steps, done, found)


def check_chain(chain: LoadedChain, probe: bool) -> list[int | None]:
    """Check everything that can be checked before the first step: tasks, contradictions, folders, and data, with the
    tokenizer of the chain's base. Return what each step starts from (see `starts_of`).

    Args:
        probe: see `check_paths`.

    Raises:
        ConfigError, DataError, MachineError: naming the step.
    """
    starts, found = starts_of(chain), list[str]()
    if chain.continual is not None:
        continual.refuse_unmeasurable(chain)
    for at, step in enumerate(stand_ins(chain, starts)):
        try:
            with naming_step(at, step):
                resolve(step.run.config, {})
        except ConfigError as error:
            found.append(str(error))
    found += _folder_problems(chain, starts)
    if found:
        raise ConfigError("\n".join(dict.fromkeys(found)))
    for at, step in enumerate(stand_ins(chain, starts)):
        with naming_step(at, step):
            resolved = resolve(step.run.config, {})[0]
            check_paths(resolved, open_store(resolved.store), probe=probe)
            if at:  # the first is checked by its own run, which is next
                with _quiet():
                    lint(replace(step.run, config=step.run.config.model_copy(update={"secrets": {}})))
    return starts


def stand_ins(chain: LoadedChain, starts: Sequence[int | None]) -> list[ChainStep]:
    """Return the steps as far as they are known without a model: each with the chain's base, as its reward model too,
    and with the chat template that the model it starts from will have."""
    found: list[ChainStep] = []
    for step, start, judge in zip(chain.steps, starts, judges_of(chain), strict=True):
        template = None if start is None else found[start].run.config.model.chat_template
        known = step if judge is None else step.rewarded_by(chain.model["name"], chain.steps[judge].name)
        known = known if chain.continual is None else continual.alone(known)  # earlier tasks are not trained yet
        found.append(known.with_template(template))
    return found


def model_folder(step: ChainStep, done: FineTuned) -> Path:
    """Return the folder with the model that a step made: its `output_dir`, or one with links into the store."""
    if done.path is not None:
        return done.path
    return linked_folder(done._open("s11_save"), done._open("s03_base"), step.run.config.model, step.name)


def _folder_problems(chain: LoadedChain, starts: Sequence[int | None]) -> Iterator[str]:
    """Yield settings of folders and of the store with which a later step could not start from an earlier one."""
    outputs: dict[Path, int] = {}
    for at, step in enumerate(chain.steps):
        config = step.run.config
        if at in starts and config.export.promote == "if_better":
            yield (f"{step.field}[{at}].export.promote: with if_better its output_dir may keep another model than the "
                   "one a later step starts from; set it in the last step only")  # fmt: skip
        if config.output_dir is None:
            if at in starts and store_root(config.store) == "memory":
                yield ("store.root: memory is lost with each step's run, so the next one has nothing to start from; "
                       "name a folder, or set output_dir")  # fmt: skip
            continue
        folder = Path(config.output_dir).expanduser().absolute()
        for other, which in outputs.items():
            if folder.is_relative_to(other) or other.is_relative_to(folder):
                place = f"{step.field}[{at}].output_dir"
                yield (f"{place}: {config.output_dir!r} is that of {step.field}[{which}], or one of them is in the "
                       "other; each step needs a folder of its own")  # fmt: skip
        outputs[folder] = at


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide warnings that the step's own run repeats."""
    logger = logging.getLogger("finetune")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _result(done: FineTuned, config: RunConfig) -> str:
    best = config.eval.best and result_name(config.eval.best)
    shown = headline(config.task, best, done.metrics)[:SHOWN_METRICS]
    found = ", ".join(f"{name} {done.metrics[name]:.4f}" for name in shown)
    return f"{found}; model: {done.path or 'in the store'}"
