"""Write an encoder with its head as an ONNX graph, by torch's exporter."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from tasks.config.errors import ConfigError

FILE = "model.onnx"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
# One pass through these is all that their tasks need. Others generate token by token, with a cache.
ONE_PASS = ("AutoModelForSequenceClassification", "AutoModelForTokenClassification", "AutoModelForQuestionAnswering",
            "AutoModelForMaskedLM")  # fmt: skip


def check_possible(task: str, auto_model: str, dtype: str | None) -> None:
    """Refuse what cannot be written as ONNX.

    Raises:
        ConfigError: the model generates texts, another type than float32 was requested, or a package is missing.
    """
    if auto_model not in ONE_PASS:
        raise ConfigError(f"--onnx: a model for {task} is not a single graph (it generates token by token, consists of "
                          "several models, or is of your own class); leave out --onnx")  # fmt: skip
    if dtype not in (None, "float32"):
        raise ConfigError(f"--onnx: writes float32, not {dtype}; leave out --dtype")
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise ConfigError(f"--onnx needs {' and '.join(missing)}: pip install {' '.join(missing)}")


def write(model: Any, batch: Mapping[str, torch.Tensor], outputs: Sequence[str], file: Path) -> None:
    """Write `model` as a graph with the inputs in `batch`, of any number and length of rows, and these outputs.

    Raises:
        ConfigError: torch's exporter cannot translate this architecture.
    """
    free = dict.fromkeys(range(2), torch.export.Dim.DYNAMIC)
    example = tuple(torch.cat([tensor, tensor]) for tensor in batch.values())  # torch.export fixes sizes of 1
    try:
        program = torch.onnx.export(
            _Positional(model, list(batch), outputs).eval(), example, dynamo=True, verbose=False,
            input_names=list(batch), output_names=list(outputs), dynamic_shapes=((free,) * len(batch),),
        )  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"--onnx: torch cannot export {type(model).__name__}: {reason}") from error
    assert program is not None
    program.save(file)


def computed(file: Path, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return what onnxruntime computes, by output."""
    import onnxruntime  # type: ignore[import-not-found]

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = session.run(names, {name: tensor.numpy() for name, tensor in batch.items()})
    return {name: torch.from_numpy(value) for name, value in zip(names, found, strict=True)}


class _Positional(torch.nn.Module):
    """A model with its inputs as positional arguments and its outputs as a tuple, as the exporter needs them."""

    def __init__(self, model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.model, self.inputs, self.outputs = model, inputs, outputs

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.model(**dict(zip(self.inputs, tensors, strict=True)), return_dict=True)
        return tuple(found[name] for name in self.outputs)
