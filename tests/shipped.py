"""The configs in `deployments`, as runs; and what a task must be given."""

from pathlib import Path
from typing import Any

from flows.chain.execute import stand_ins
from flows.chain.steps import starts_of
from tasks.config import Loaded, load, load_chain
from tasks.objectives import objective_of


def runs_of(path: Path) -> list[Loaded]:
    """The run of a config, or those of a chain's steps, each with the chain's base."""
    if "\nsteps:" not in path.read_text():
        return [load(path)]
    chain = load_chain(path)
    return [step.run for step in stand_ins(chain, starts_of(chain))]


def needed(task: str) -> dict[str, Any]:
    """What a config of a task must have besides model and data."""
    return {"rl": {"reward_funcs": ["final_answer"]}} if objective_of(task).rl_options else {}
