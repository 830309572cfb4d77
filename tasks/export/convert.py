"""Convert a copied model folder in place: merge its adapter, cast its weights, or write it as ONNX."""

from collections.abc import Callable
from typing import Any

import torch

from tasks.artifacts.formats import json
from tasks.config.errors import ConfigError
from tasks.export.cards import of_whole_model, with_onnx
from tasks.export.parity import Logits, Rows, check, logits_of
from tasks.inference.load_saved import load_saved
from tasks.inference.saved_model import INFERENCE, Saved
from tasks.models.adapters import merged
from tasks.models.bases.base import is_adapter
from tasks.models.bases.files import GENERATION
from tasks.models.load import unquantized

WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "adapter_config.json")


def whole(saved: Saved, dtype: str | None, rows: Rows, info: Callable[[str], None]) -> float:
    """Replace the weights in the folder by those of the whole model, merged and cast; return how far apart they are.

    Raises:
        ConfigError: the adapter cannot be merged, or the result is not what the model was.
    """
    folder, adapted = saved.folder, is_adapter(saved.folder)
    model, expected = loaded(saved, rows)
    before = _dtype(model)
    dtype = dtype or before
    model = model.to(getattr(torch, dtype))
    kept = {path: path.read_bytes() for path in folder.glob(GENERATION)}
    for pattern in WEIGHTS:
        for path in folder.glob(pattern):
            path.unlink()
    model.save_pretrained(folder)
    for path, content in kept.items():
        path.write_bytes(content)
    loading = {**unquantized(saved.loading), "dtype": dtype}
    json.write({**json.read(folder / INFERENCE), "loading": loading, "base": {}}, folder / INFERENCE)
    if adapted:
        of_whole_model(folder, saved)
    del model
    again = load_saved(folder, loading, unlabelled=False)
    return check(
        "--merge" if adapted else "--dtype", (before, dtype), rows, expected, logits_of(again, rows.batch), info
    )


def onnx(saved: Saved, rows: Rows, info: Callable[[str], None]) -> float:
    """Replace the weights in the folder by `model.onnx`; return how far apart its logits are from the model's."""
    from tasks.export.onnx import FILE, computed, write

    names = saved.tokenizer().model_input_names
    inputs = {name: tensor for name, tensor in rows.batch.items() if name in names}
    model, expected = loaded(saved, Rows(inputs, rows.what))
    for pattern in (*WEIGHTS, INFERENCE):
        for path in saved.folder.glob(pattern):
            path.unlink()
    before = _dtype(model)
    write(model.float(), inputs, list(expected), saved.folder / FILE)
    with_onnx(saved.folder, saved, list(inputs))
    return check("--onnx", (before, "float32"), rows, expected, computed(saved.folder / FILE, inputs), info)


def loaded(saved: Saved, rows: Rows) -> tuple[Any, Logits]:
    """Return the model, merged if it is an adapter (into the base as it was before quantization), and the logits before
    merging.

    Raises:
        ConfigError: its method has nothing to merge into weights.
    """
    model: Any = load_saved(saved.folder, unquantized(saved.loading), unlabelled=False, base=saved.base)
    expected = logits_of(model, rows.batch)
    if is_adapter(saved.folder):
        try:
            model = merged(model).eval()
        except (NotImplementedError, ValueError) as error:
            raise ConfigError(f"--merge: this adapter cannot be merged: {error}") from error
    return model, expected


def _dtype(model: Any) -> str:
    return str(model.dtype).removeprefix("torch.")
