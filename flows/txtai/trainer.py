"""A door for code written for txtai's trainer: the same call, our stages underneath.

Names and behaviour are those of txtai 9.14's `HFTrainer`. What differs, because it was a fault there: labels of any
kind are mapped (`model.config.id2label`), a typo in `task` or `merge` is an error, rows are checked before a model is
loaded, and evaluation can be had (`trainer.metrics`). A run that was stopped goes on when it is called again, with
or without `checkpoint`.
"""

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from flows.txtai.arguments import adapter_of, arguments_of, checkpoint_of, data_of, quant_of
from tasks.config.errors import ConfigError
from tasks.evaluation.attempt import attempt
from tasks.execution.live_folders import keep_live
from tasks.objectives import objective_of
from tasks.runtime.log import warn


class HFTrainer:
    """Trains a model: `model, tokenizer = HFTrainer()(base, train, …)`.

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
        """Build a model.

        Args:
            base: a path or hub name, an adapter's folder, or a live (model, tokenizer) pair, of classes of the caller's
                too: the same model comes back, trained.
            train, validation: a list of dicts, a DataFrame, a `Dataset`, a torch dataset, an iterator; here also files.
            columns: (text, label), (text, text2 or None, label); (text, text2 or None); (source, target); (question,
                context, answers): as the task has it. None: by their names.
            maxlength: tokens. stride: tokens that windows share. prefix: before every source.
            metrics: called with transformers' `EvalPrediction` of the validation rows when the training is over; joins
                `trainer.metrics`. With `metric_for_best_model` it is called at every evaluation, and its source keyed.
            tokenizers, tokenizebatch: accepted; tokenization takes the cores there are. checkpoint: True,
                the newest of `output_dir`, or a path: the training goes on from it, also to more steps; an error if
                there is none.
            quantize: True for 4 bits, or fields of BitsAndBytesConfig; without a GPU said and left out.
            lora: True (r 16, alpha 8, dropout 0.05), or a LoraConfig or its fields.
            merge: concat, pack or None, for language models.
            args: any of transformers' TrainingArguments; of `callbacks` EarlyStoppingCallback only.

        Returns:
            The model, in eval mode, and its tokenizer. Raises ConfigError, DataError, TrainingError.
        """
        _refuse(teacher)
        from flows.api import finetune
        from tasks.evaluation.custom_metrics import bringing

        task = objective_of(task).name
        pair = None if isinstance(base, str | Path) else _pair(base)
        live = _live(pair[0], lora) if pair else None
        data = data_of(task, train, validation, columns, maxlength, stride, prefix, merge)
        given = {
            "task": task, "preset": "txtai", "model": str(_saved(*pair, live) if pair else base), "data": data,
            "peft": adapter_of(lora), "quant": quant_of(quantize, lora), **arguments_of(args, metrics is not None),
        }  # fmt: skip
        given["train"] |= checkpoint_of(checkpoint, args.get("output_dir"))
        with _held(live), bringing(metrics):
            self.result = finetune(given)
            self._more = dict((metrics and attempt("metrics", lambda: metrics(self._predictions()), {}, warn)) or {})
            return self._returned(pair)

    @property
    def metrics(self) -> dict[str, float]:
        """`eval_…` of the validation rows, with what a `metrics` function added; empty without validation."""
        return {**self.result.metrics, **{f"eval_{name.removeprefix('eval_')}": v for name, v in self._more.items()}}

    def _predictions(self) -> Any:
        """`EvalPrediction` of the validation rows, as transformers' own Trainer makes it: what a model gives (logits;
        several things as a tuple) and the labels, of every task."""
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
        """The trained model; where a live one was given and can hold the weights, that one."""
        model = _trainable(self.result.model)
        if pair is None:
            return model, self.result.tokenizer
        live, tokenizer = pair
        state = model.state_dict()
        known = live.state_dict()
        if known.keys() != state.keys():
            warn("base: the live model cannot hold the trained weights (no head of this task, or an adapter beside "
                 "them); the trained model is another object, and the live one is as it was")  # fmt: skip
            return model, tokenizer
        for name in {name.rpartition(".")[0] for name in known if known[name].shape != state[name].shape}:
            live.set_submodule(name, copy.deepcopy(model.get_submodule(name)))  # a head of as many labels as there are
        live.load_state_dict(state)
        live.config.update(model.config.to_diff_dict())
        if hasattr(live, "num_labels"):
            live.num_labels = model.config.num_labels
        return live.eval(), tokenizer


def _refuse(teacher: Any) -> None:
    if teacher is not None:
        raise ConfigError("teacher: distillation is not built yet; leave it out")


def _trainable(model: Any) -> Any:
    """A model with an adapter, of which those weights are trainable that were trained; another as it is."""
    from peft import PeftModel

    if isinstance(model, PeftModel):
        for config in model.peft_config.values():
            config.inference_mode = False
        tuner: Any = model.base_model
        tuner._mark_only_adapters_as_trainable(tuner.model)  # biases too, as `bias` has it
        tuner.set_adapter(model.active_adapter)
    return model


def _pair(base: Any) -> tuple[Any, Any]:
    if not isinstance(base, tuple | list) or len(base) != 2:
        raise ConfigError("base: give a path, a hub name, or a (model, tokenizer) pair")
    model, tokenizer = base
    if isinstance(model, str | Path) or isinstance(tokenizer, str | Path):
        raise ConfigError("base: give one path, where model and tokenizer lie, or a pair of live ones, not of paths")
    if not hasattr(tokenizer, "save_pretrained"):
        raise ConfigError("base: a live pair's tokenizer is one of transformers (it is kept beside the model); wrap "
                          "your own: PreTrainedTokenizerFast(tokenizer_object=…)")  # fmt: skip
    return model, tokenizer


def _live(model: Any, lora: Any) -> Any:
    """The model as an object that must stay in this process; None where its class and files say all."""
    from transformers import PreTrainedModel

    from tasks.models.bases.live import is_of_a_library, live_of

    if is_of_a_library(model):
        return None
    live = live_of(model)
    if lora and not isinstance(model, PreTrainedModel):
        raise ConfigError(f"lora: {type(model).__name__} is a plain torch module, of which peft cannot tell layers and "
                          "head; derive it from transformers.PreTrainedModel, or train it whole")  # fmt: skip
    return live


def _held(live: Any) -> Any:
    if live is None:
        return nullcontext()
    from tasks.models.bases.live import holding  # takes torch along

    return holding(live)


def _saved(model: Any, tokenizer: Any, live: Any) -> Path:
    """The pair in a folder named by its content: the same weights are the same base."""

    def write(folder: Path) -> None:
        live.save(folder) if live else model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    return keep_live(write)
