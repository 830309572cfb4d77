"""A drop-in replacement for txtai's trainer: the same call, run by our stages.

Names and behaviour are those of txtai 9.14's `HFTrainer`. The differences fix faults there: labels of any kind are
mapped (`model.config.id2label`), a typo in `task` or `merge` is an error, rows are checked before a model is loaded,
and metrics are available (`trainer.metrics`). A run that was stopped resumes when it is called again, with or without
`checkpoint`.
"""

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.txtai.arguments import adapter_of, arguments_of, checkpoint_of, data_of, quant_of
from tasks.config.errors import ConfigError
from tasks.evaluation.attempt import attempt
from tasks.execution.live_folders import keep_live
from tasks.objectives import objective_of
from tasks.runtime.log import warn

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


class HFTrainer:
    """Train a model: `model, tokenizer = HFTrainer()(base, train, …)`.

    Attributes:
        result: the last finished run (`FineTuned`): metrics, tokenized rows, collator, arguments, history, trainer
            state, artifacts.
    """

    def __init__(self) -> None:
        self.result: Any = None
        self._more: dict[str, float] = {}

    def __call__(
        self,
        base: Any,
        train: Any,
        validation: Any = None,
        columns: Sequence[str | None] | None = None,
        maxlength: int | None = None,
        stride: int = 128,
        task: str = "text-classification",
        prefix: str | None = None,
        metrics: Callable[[Any], Mapping[str, float]] | None = None,
        tokenizers: int | bool | None = None,
        checkpoint: str | bool | None = None,
        quantize: Any = None,
        lora: Any = None,
        merge: str | None = "concat",
        teacher: Any = None,
        distillation: tuple[float, float] = (1.0, 0.5),
        tokenizebatch: int = 1000,
        **args: Any,
    ) -> tuple[Any, Any]:
        """Return a trained model, in eval mode, and its tokenizer.

        Args:
            base: a path or hub name, an adapter's folder, or a live (model, tokenizer) pair, also of custom classes:
                the same model is returned, trained.
            train, validation: a list of dicts, a DataFrame, a `Dataset`, a torch dataset, an iterator; also files.
            columns: (text, label), (text, text2 or None, label); (text, text2 or None); (source, target); (question,
                context, answers): depending on the task. None: found by name.
            maxlength: in tokens. stride: tokens that windows share. prefix: prepended to every source.
            metrics: called with transformers' `EvalPrediction` of the validation rows after training; adds to
                `trainer.metrics`. With `metric_for_best_model` it is called at every evaluation, and its source is part
                of the cache key.
            tokenizers, tokenizebatch: ignored; tokenization uses all cores. checkpoint: True (the newest of
                `output_dir`) or a path: training continues from it, also to more steps; an error if there is none.
            teacher: a trained model (path, hub name, or a live pair) whose answers are learned beside the labels, for
                any task but `token-detection`. distillation: (temperature, alpha), alpha weights its answers.
            quantize: True for 4 bits, or fields of BitsAndBytesConfig; without a GPU ignored with a warning. lora: True
                (r 16, alpha 8, dropout 0.05), or a LoraConfig or its fields. merge: concat, pack or None.
            args: any of transformers' TrainingArguments; `callbacks` may only hold EarlyStoppingCallback.

        Raises:
            ConfigError, DataError, TrainingError.
        """
        from flows.api import finetune
        from tasks.evaluation.custom_metrics import bringing

        task, pair = objective_of(task).name, None if isinstance(base, str | Path) else _pair(base)
        live = _live(pair[0], lora) if pair else None
        data = data_of(task, train, validation, columns, maxlength, stride, prefix, merge)
        given = {
            "task": task, "preset": "txtai", "model": str(_saved(*pair, live) if pair else base), "data": data,
            "peft": adapter_of(lora), "quant": quant_of(quantize, lora), **arguments_of(args, metrics is not None),
            **_teaching(teacher, distillation),
        }  # fmt: skip
        given["train"] |= checkpoint_of(checkpoint, args.get("output_dir"))
        with _holding(live), bringing(metrics):
            self.result = finetune(given)
            self._more = dict((metrics and attempt("metrics", lambda: metrics(self._predictions()), {}, warn)) or {})
            return self._returned(pair)

    @property
    def metrics(self) -> dict[str, float]:
        """The `eval_…` metrics of the validation rows and those of a `metrics` function; empty without validation."""
        return {**self.result.metrics, **{f"eval_{name.removeprefix('eval_')}": v for name, v in self._more.items()}}

    def _predictions(self) -> Any:
        """Return `EvalPrediction` of the validation rows as transformers' own Trainer makes it: the model's outputs
        (logits, or a tuple) and the labels, for every task."""
        from transformers import EvalPrediction, Trainer, TrainingArguments

        plan, rows = self.result.arguments, self.result.rows("validation")
        if rows is None:
            raise ValueError("there are no validation rows")
        processor = self.result._open("s03_base").json("processor.json")
        view = objective_of(plan["task"]).component("view")(rows, processor, plan["seed"], plan["options"])
        size = plan["arguments"].get("per_device_eval_batch_size") or 8
        with tempfile.TemporaryDirectory(prefix="finetune-") as scratch:
            arguments = TrainingArguments(scratch, per_device_eval_batch_size=size, use_cpu=plan["device"] == "cpu",
                                          report_to="none", disable_tqdm=True, log_level="error")  # fmt: skip
            found = Trainer(self.result.model, arguments, data_collator=self.result.collator).predict(view)
        return EvalPrediction(found.predictions, found.label_ids)  # type: ignore[arg-type] — None without labels

    def _returned(self, pair: tuple[Any, Any] | None) -> tuple[Any, Any]:
        """Return the trained model: the given live object, if it can take the weights."""
        model = self.result.model
        if pair is None:
            return model, self.result.tokenizer
        live, tokenizer = pair
        state = model.state_dict()
        known = live.state_dict()
        if known.keys() != state.keys():
            warn("base: the live model cannot hold the trained weights (it has no head for this task, or they include "
                 "an adapter); the trained model is a new object, and the live one is unchanged")  # fmt: skip
            return model, tokenizer
        for name in {name.rpartition(".")[0] for name in known if known[name].shape != state[name].shape}:
            live.set_submodule(name, copy.deepcopy(model.get_submodule(name)))  # a head sized for the new labels
        live.load_state_dict(state)
        live.config.update(model.config.to_diff_dict())
        if hasattr(live, "num_labels"):
            live.num_labels = model.config.num_labels
        return live.eval(), tokenizer


def _teaching(teacher: Any, distillation: Any) -> dict[str, Any]:
    """Return the section `methods`."""
    if teacher is None:
        return {}
    if not isinstance(distillation, tuple | list) or len(distillation) != 2:
        raise ConfigError(f"distillation: {distillation!r} given; valid: (temperature, alpha)")
    pair = None if isinstance(teacher, str | Path) else _pair(teacher, "teacher")
    name = str(_saved(*pair, _live(pair[0], None)) if pair else teacher)
    options = {"teacher": name, "temperature": distillation[0], "alpha": distillation[1]}
    return {"methods": {"distillation": options}}


def _pair(base: Any, field: str = "base") -> tuple[Any, Any]:
    if not isinstance(base, tuple | list) or len(base) != 2:
        raise ConfigError(f"{field}: give a path, a hub name, or a (model, tokenizer) pair")
    model, tokenizer = base
    if isinstance(model, str | Path) or isinstance(tokenizer, str | Path):
        raise ConfigError(f"{field}: give one path to model and tokenizer, or a pair of live objects, not of paths")
    if not hasattr(tokenizer, "save_pretrained"):
        raise ConfigError(f"{field}: a live pair needs a tokenizer of transformers (it is saved with the model); wrap "
                          "your own: PreTrainedTokenizerFast(tokenizer_object=…)")  # fmt: skip
    return model, tokenizer


def _live(model: "torch.nn.Module", lora: Any) -> Any:
    """Return a model that only this process can build, or None if its class is in a library and can be reloaded."""
    from transformers import PreTrainedModel

    from tasks.models.bases.live import is_of_a_library, live_of

    if is_of_a_library(model):
        return None
    live = live_of(model)
    if lora and not isinstance(model, PreTrainedModel):
        raise ConfigError(f"lora: {type(model).__name__} is a plain torch module, in which peft cannot find layers and "
                          "head; derive it from transformers.PreTrainedModel, or train without lora")  # fmt: skip
    return live


def _holding(live: Any) -> Any:
    if live is None:
        return nullcontext()
    from tasks.models.bases.live import holding  # imports torch

    return holding(live)


def _saved(model: Any, tokenizer: "PreTrainedTokenizerBase", live: Any) -> Path:
    """Save the pair to a folder named by its content, so that the same weights are the same base."""

    def write(folder: Path) -> None:
        live.save(folder) if live else model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    return keep_live(write)
