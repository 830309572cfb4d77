"""Write our config for another tool's: recognise the tool, translate key by key, check, and list what is not carried
over."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.init.peers import axolotl, axolotl_rules, llama_factory
from flows.init.peers.table import Import, Table
from tasks.config import ConfigError, Loaded, RunConfig, load
from tasks.config.leaves import assign, leaves
from tasks.config.reading.problems import problems
from tasks.config.reading.yaml_file import parse_value, read
from tasks.config.resolved import commented
from tasks.config.sections.secrets import without_credentials
from tasks.objectives import objective_of
from tasks.objectives.presets import resolve

SECRET = re.compile(r"(token|key|secret|password)$", re.IGNORECASE)  # keys of which values are not shown
LONGEST = 60  # characters of a value in a comment
# Without these the config would mean something else, so an invalid value is an error; other keys are listed.
NEEDED = ("task", "model.name", "model.revision", "data.", "preference.", "rl.", "peft.method", "peft.r",
          "peft.lora_alpha", "train.learning_rate", "train.num_train_epochs", "train.max_steps", "train.warmup_steps",
          "train.per_device_train_batch_size", "train.gradient_accumulation_steps", "train.weight_decay",
          "quant.")  # fmt: skip


@dataclass(frozen=True)
class Peer:
    """A tool.

    Attributes:
        name: of the tool. one_of: sets of keys; a config that has all of one is of this tool. prepare: sets the task
            and the method. table: of its keys. needed: the key behind each name without which there is no run.
    """

    name: str
    one_of: Sequence[frozenset[str]]
    prepare: Callable[[Import], None]
    table: Table
    needed: Mapping[str, str]


MODEL = "model_name_or_path"  # also TRL's and the example scripts'
PEERS = (
    Peer("axolotl", [frozenset({"base_model"})], axolotl_rules.prepare, axolotl.TABLE,
         {"model.name": "base_model", "data.train": "datasets"}),
    Peer("LLaMA-Factory", [frozenset({MODEL, key}) for key in ("stage", "finetuning_type", "template", "cutoff_len")],
         llama_factory.prepare, llama_factory.TABLE, {"model.name": MODEL, "data.train": "dataset"}),
)  # fmt: skip
# Titles of lists of keys.
EMPTY, NEEDLESS, LOST = "empty or off there", "nothing to set here", "not carried over"
DIFFERS, UNSETTLED = "different here", "to settle before a run"
# Words that YAML 1.1, which these tools read, takes for true and false.
WORDS: Mapping[object, bool] = {"yes": True, "Yes": True, "on": True, "On": True, "no": False, "No": False,
                                "off": False, "Off": False}  # fmt: skip


def translate(path: str | Path, overrides: Sequence[str] = ()) -> tuple[str, list[str]]:
    """Return our config for that of another tool as YAML with comments, and notes for the user.

    Args:
        path: a YAML or JSON file of axolotl or LLaMA-Factory. overrides: `["model=…", "data.train=…", …]`; they replace
            what the file says.

    Raises:
        ConfigError: a config of another tool; a task, adapter or data set that cannot be translated, with what to write
            instead; a value that is invalid.
    """
    found, peer = _open(path, overrides)
    peer.prepare(found)
    peer.table.apply(found)
    for name, key in peer.needed.items():
        if name not in found.values and not found.is_fixed(name):
            raise found.refusal(key, f"missing; add {name}=… to the command if it is not in this file")
    loaded = _valid(found, overrides)
    unsettled: list[str] = []
    try:
        resolve(loaded.config, loaded.origin)
    except ConfigError as error:
        unsettled = str(error).splitlines()
    return _text(found, loaded, unsettled), [*loaded.notices, *_notes(found, unsettled)]


def _open(path: str | Path, overrides: Sequence[str]) -> tuple[Import, Peer]:
    given = {key: _truth(key, value) for key, value in read(path).values.items()}
    name = Path(path).name
    peers = [peer for peer in PEERS if any(keys <= given.keys() for keys in peer.one_of)]
    if not peers:
        ours = "; it is a config of this program" if {"model", "data"} <= given.keys() else ""
        raise ConfigError(f"{name}: neither a config of axolotl (base_model) nor of LLaMA-Factory ({MODEL} with stage, "
                          f"finetuning_type, template or cutoff_len){ours}")  # fmt: skip
    if len(peers) > 1:
        raise ConfigError(f"{name}: keys of both axolotl (base_model) and LLaMA-Factory ({MODEL}); remove one of these")
    found = Import(peers[0].name, name, given, fixed=frozenset(each.partition("=")[0].strip() for each in overrides))
    tasks = [text for key, _, text in (each.partition("=") for each in overrides) if key.strip() == "task"]
    if tasks:
        found.task = objective_of(str(parse_value(tasks[-1]))).name
    return found, peers[0]


def _truth(key: str, value: Any) -> Any:
    named = re.search(r"_strategy$|dataset|model|template|_dir$|_path$|_name$", key)
    return value if named or not isinstance(value, str) else WORDS.get(value, value)


def _valid(found: Import, overrides: Sequence[str]) -> Loaded:
    """Return the config, without values that it cannot have; these are listed as lost.

    Raises:
        ConfigError: a value that is needed is missing or invalid.
    """
    while True:
        try:
            RunConfig.model_validate(_tree(found))
            break
        except ValidationError as error:
            wrong = [problem for problem in problems(error) if problem.path in found.keys]
        if not wrong:
            break  # what is missing may be given on the command line
        for problem in wrong:
            key = found.keys.pop(problem.path)
            if problem.path.startswith(NEEDED):
                raise found.refusal(key, f"{problem.path} here: {problem.text}")
            del found.values[problem.path]
            found.lost[key] = f"{problem.path} here: {problem.text}"
    try:
        return load(_tree(found), overrides)
    except ConfigError as error:
        raise ConfigError(f"{found.file}: {error}") from None


def _tree(found: Import) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in found.values.items():
        assign(tree, path, value)
    return tree


def _text(found: Import, loaded: Loaded, unsettled: Sequence[str]) -> str:
    header = (f"Written by `finetune init --from {found.file}`, a config of {found.peer}; comments are its keys.\n"
              "Unset fields have the defaults of the task (`finetune plan`).")  # fmt: skip
    values = [(leaf.path, leaf.value, _comment(found, leaf.path)) for leaf in leaves(loaded.config) if leaf.is_set]
    text = commented(values, header)
    for title, lines in _lists(found, unsettled):
        text += "".join(f"# {''.join(letter if letter.isprintable() else ' ' for letter in line)}\n"
                        for line in (f"{title}:", *(f"  {line}" for line in lines)))  # fmt: skip
    return text


def _comment(found: Import, path: str) -> str:
    """Return the comment of a value; of a mapping, those of the values in it."""
    inside = [comment for name, comment in found.comments.items() if name == path or name.startswith(f"{path}.")]
    return "; ".join(dict.fromkeys(inside)) if inside and path not in found.fixed else "as given"


def _notes(found: Import, unsettled: Sequence[str]) -> list[str]:
    """Return the lists for the terminal, in which keys that need nothing are only named."""
    lists = dict(_lists(found, unsettled)) | ({NEEDLESS: [", ".join(found.needless)]} if found.needless else {})
    return [f"{title}: {line}" for title, lines in lists.items() for line in lines]


def _lists(found: Import, unsettled: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return what is not in the values, by its title."""
    lists = {
        UNSETTLED: [*unsettled],
        LOST: [f"{_shown(found, key)} ({why})" for key, why in found.lost.items()],
        DIFFERS: found.differs,
        NEEDLESS: [f"{_shown(found, key)} ({why})" for key, why in found.needless.items()],
        EMPTY: [", ".join(found.empty)] if found.empty else [],
    }
    return [(title, lines) for title, lines in lists.items() if lines]


def _shown(found: Import, key: str) -> str:
    """Return a key with its value, if that is short and no secret."""
    block, _, name = key.partition(".")
    inside = found.given.get(block) if name else None
    value = inside.get(name) if isinstance(inside, Mapping) else found.given.get(key)
    if value is None or isinstance(value, Mapping) or SECRET.search(key):
        return key
    text = without_credentials(str(value).lower() if isinstance(value, bool) else str(value))
    return f"{key}: {text}" if len(text) <= LONGEST else key
