"""Task types: one file and one row each.

An objective names the components of its task, which are in other packages. Nothing here imports torch, so that config
checks, plans and `--help` are fast. Users add their own through the entry point group `finetune_flow.objectives`,
whose entries name an `Objective`.
"""

import re
from collections.abc import Mapping
from functools import cache

from tasks.config.errors import ConfigError
from tasks.config.plugins import installed
from tasks.config.reading.names import nearest
from tasks.objectives.base import Objective
from tasks.objectives.dpo import DPO
from tasks.objectives.grpo import GRPO
from tasks.objectives.kto import KTO
from tasks.objectives.language_generation import LANGUAGE_GENERATION
from tasks.objectives.language_modeling import LANGUAGE_MODELING
from tasks.objectives.ppo import PPO
from tasks.objectives.question_answering import QUESTION_ANSWERING
from tasks.objectives.regression import REGRESSION
from tasks.objectives.reward import REWARD
from tasks.objectives.sequence_sequence import SEQUENCE_SEQUENCE
from tasks.objectives.sft import SFT
from tasks.objectives.text_classification import TEXT_CLASSIFICATION
from tasks.objectives.token_classification import TOKEN_CLASSIFICATION
from tasks.objectives.token_detection import TOKEN_DETECTION

OBJECTIVES: Mapping[str, Objective] = {
    "text-classification": TEXT_CLASSIFICATION,
    "regression": REGRESSION,
    "token-classification": TOKEN_CLASSIFICATION,
    "question-answering": QUESTION_ANSWERING,
    "sequence-sequence": SEQUENCE_SEQUENCE,
    "language-generation": LANGUAGE_GENERATION,
    "sft": SFT,
    "reward": REWARD,
    "dpo": DPO,
    "kto": KTO,
    "grpo": GRPO,
    "ppo": PPO,
    "language-modeling": LANGUAGE_MODELING,
    "token-detection": TOKEN_DETECTION,
}


@cache
def objectives() -> Mapping[str, Objective]:
    """Return every known objective by name: built-in ones, and those of installed packages.

    Raises:
        ConfigError: a package's cannot be loaded.
    """
    return {**installed("finetune_flow.objectives", Objective), **OBJECTIVES}


def objective_of(task: str) -> Objective:
    """Return the objective of a task's name or alias, case-insensitive (`translation_en_to_de` is an alias too).

    Raises:
        ConfigError: unknown task; the message suggests the nearest name.
    """
    known = objectives()
    plain = re.sub(r"^translation-\w+-to-\w+$", "translation", task.strip().lower().replace("_", "-"))
    for name, objective in known.items():
        if task in (name, *objective.aliases) or plain in (name, *objective.aliases):
            return objective
    names = [*known, *(alias for objective in known.values() for alias in objective.aliases)]
    guess = nearest(task, names)
    hint = f"; did you mean {guess!r}?" if guess else ""
    raise ConfigError(f"task: {task!r} is not a task; valid are {', '.join(sorted(known))}{hint}")
