"""Open a model folder and read its task, head and tokenization."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.artifacts.formats import json
from tasks.config import ConfigError, ModelConfig, RunConfig
from tasks.config.json_types import JsonObject
from tasks.models.bases.base import base_files, link
from tasks.models.bases.files import ADAPTER_CONFIG, INSIDE, LIVE
from tasks.objectives import objective_of
from tasks.objectives.base import Objective
from tasks.objectives.presets import resolve

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

INFERENCE = "inference.json"


@dataclass(frozen=True)
class Saved:
    """A model folder and the facts of its training.

    Attributes:
        task: what it was trained for. head: labels and problem type. shape: how rows are tokenized.
        columns: the column of each role in training.
        processor: facts of its tokenizer. loading: fields of `tasks.models.load.Loading`.
        arguments: batch size, precision, generation. options, seed: for masking. loss_options: the loss's.
        base: digests of the weights that an adapter was trained on, by file.
    """

    folder: Path
    task: str
    head: Mapping[str, Any]
    shape: Mapping[str, Any]
    columns: Mapping[str, str]
    processor: Mapping[str, Any]
    loading: Mapping[str, Any]
    arguments: Mapping[str, Any]
    options: Mapping[str, Any]
    seed: int
    base: Mapping[str, str] = field(default_factory=dict)
    opened: Any = None
    loss_options: Mapping[str, Any] = field(default_factory=dict)

    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """Return its tokenizer (the one already opened, if any); a composite has one in each part."""
        if self.opened is not None:
            return self.opened
        from transformers import AutoTokenizer

        folder, trusted = self.folder / "discriminator", bool(self.loading.get("trust_remote_code"))
        return AutoTokenizer.from_pretrained(folder if folder.is_dir() else self.folder, local_files_only=True,
                                             trust_remote_code=trusted)  # fmt: skip


def open_saved(name: str, config: RunConfig) -> Saved:
    """Open a model folder: ours have `inference.json`; others need `config.task` (and get its defaults).

    Raises:
        ConfigError: no such folder, or it was trained for another task.
    """
    folder = Path(name).expanduser()
    if (folder / INFERENCE).is_file():
        saved = _ours(folder, config.model.trust_remote_code)
        if "task" in config.model_fields_set and objective_of(config.task).name != saved.task:
            raise ConfigError(f"--task: {name} was trained for {saved.task}, not {config.task}")
        return saved
    if "task" not in config.model_fields_set:
        what = f"has no {INFERENCE}, which `finetune run` writes" if folder.is_dir() else "is not a folder"
        raise ConfigError(f"MODEL: {name!r} {what}; for a model from elsewhere, give its task with --task")
    model = ModelConfig(name=name, trust_remote_code=config.model.trust_remote_code)
    return _foreign(base_files(model), config)


def _ours(folder: Path, trusted: bool) -> Saved:
    """Open a folder of ours. As it may come from anywhere, only its task's own classes are loaded, and its code runs
    only if trusted."""
    try:
        saved = Saved(folder, **json.read(folder / INFERENCE))
        kind, known = saved.loading["auto_model"], objective_of(saved.task).auto_model
        needs_code = saved.loading.get("trust_remote_code") and "auto_map" in json.read(folder / "config.json")
    except (ValueError, TypeError, KeyError, AttributeError, FileNotFoundError) as error:
        raise ConfigError(f"MODEL: {folder / INFERENCE} is not as `finetune run` writes it: {error}") from error
    if kind != known and not str(kind).startswith(LIVE):
        raise ConfigError(f"MODEL: {folder / INFERENCE} names {kind!r} to load it with; a model for {saved.task} is "
                          f"loaded with {known}")  # fmt: skip
    if needs_code and not trusted:
        raise ConfigError(f"MODEL: {folder} was trained with code that came with its base; if you have read that code, "
                          "add model.trust_remote_code=true")  # fmt: skip
    return replace(saved, loading={**saved.loading, "trust_remote_code": trusted})


def _foreign(files: Mapping[str, Path], config: RunConfig) -> Saved:
    from transformers import AutoConfig

    from tasks.models.bases.tokenizer import limit_of, open_tokenizer, processor_of
    from tasks.models.folding import head_width

    resolved, _ = resolve(config, {})
    objective = objective_of(config.task)
    folder = files.get(f"{INSIDE}{ADAPTER_CONFIG}", files["config.json"]).parent
    with tempfile.TemporaryDirectory(prefix="finetune-") as scratch:
        words = link({name: path for name, path in files.items() if not name.endswith(".safetensors")}, Path(scratch))
        trusted = config.model.trust_remote_code
        given = AutoConfig.from_pretrained(words, local_files_only=True, trust_remote_code=trusted)
        tokenizer = open_tokenizer(words, trusted)
    if folder != files["config.json"].parent and (labels := head_width(folder)):
        given.num_labels = labels
    shape = {name: getattr(resolved.data, name) for name in ("max_length", "overlong", *objective.shape)}
    return Saved(
        folder, objective.name, _head(given, objective), {**shape, "max_length": min(
            shape["max_length"], limit_of(tokenizer, given.get_text_config()))}, {}, processor_of(tokenizer),
        {"auto_model": objective.auto_model, "trust_remote_code": trusted},
        {"per_device_eval_batch_size": 32, **_generating(objective)},
        {"mlm_probability": resolved.data.mlm_probability}, config.seed, {}, tokenizer,
    )  # fmt: skip


def _generating(objective: Objective) -> dict[str, bool]:
    name = "predict_with_generate"
    return {name: True} if f"train.{name}" in objective.defaults else {}


def _head(config: Any, objective: Objective) -> JsonObject:
    """Return labels and problem type of a foreign model's head.

    Raises:
        ConfigError: several classes with one name; several classes for regression.
    """
    if "Classification" not in objective.auto_model:
        return {"labels": None, "problem_type": None}
    labels = [str(config.id2label[at]) for at in sorted(config.id2label)]
    if repeated := next((name for name in labels if labels.count(name) > 1), None):
        raise ConfigError(f"MODEL: id2label of its config.json names several classes {repeated!r}; make names unique")
    problem = config.problem_type if objective.auto_model.endswith("SequenceClassification") else None
    if objective.auto_model.endswith("SequenceClassification") and problem is None:
        problem = "regression" if len(labels) == 1 else "single_label_classification"
    if objective.name == "regression" and (problem != "regression" or len(labels) > 1):
        raise ConfigError(f"MODEL: its head has {len(labels)} classes ({', '.join(labels[:5])}), not a number; use "
                          "--task text-classification")  # fmt: skip
    return {"labels": None if problem == "regression" else labels, "problem_type": problem}
