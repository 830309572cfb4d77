"""Export a trained model: copy it to a temporary folder, convert it there, then rename it or push it."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

from tasks.artifacts.store import Store
from tasks.config import RunConfig
from tasks.config.errors import ConfigError
from tasks.export import push
from tasks.export.source import Source, find_source
from tasks.inference.saved_model import Saved, open_saved
from tasks.models.bases.base import is_adapter
from tasks.models.bases.files import LIVE

Dtype = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class Wanted:
    """What to export.

    Attributes:
        merge: merge the adapter into its base. dtype: of the written weights. onnx: write a graph instead of weights.
        output: the folder; None with `push`, the name of a repository on the hub, made `private` if it is new.
    """

    merge: bool = False
    dtype: Dtype | None = None
    onnx: bool = False
    output: Path | None = None
    push: str | None = None
    private: bool = False


@dataclass(frozen=True)
class Exported:
    """The result: the folder, the URL of the commit on the hub, the largest relative difference of the logits from the
    trained model's; each None if there is none."""

    output: Path | None
    url: str | None
    difference: float | None


def export(run: str, wanted: Wanted, store: Store | None, config: RunConfig, info: Callable[[str], None]) -> Exported:
    """Export the model of a run.

    Args:
        run: a model folder, or a run of the store. config: with `model.trust_remote_code`. info: called with notes.

    Raises:
        ConfigError: nothing to export, or not like this. MachineError: the hub does not answer.
    """
    if wanted.push:
        push.check_possible(wanted.push)
    source = find_source(run, store)
    with _staging(wanted.output) as folder:
        _copy(source, folder)
        saved = open_saved(str(folder), config)
        _check_possible(saved, wanted)
        difference = _convert(saved, wanted, source, info)
        if wanted.push and is_adapter(folder):
            _warn_of_local_base(folder, info)
        output = _publish(folder, wanted.output)
        kept = f"the export is in {output}; push it with finetune export {output} --push {wanted.push}" if output \
            else "nothing is lost; run the same command again"  # fmt: skip
        url = push.push(output or folder, wanted.push, wanted.private, kept) if wanted.push else None
    return Exported(output, url, difference)


@contextmanager
def _staging(output: Path | None) -> Iterator[Path]:
    """Yield an empty folder beside `output`, removed at the end.

    Raises:
        ConfigError: there are files in `output` already.
    """
    if output is not None and output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise ConfigError(f"-o: {str(output)!r} exists and is not an empty folder; choose another")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
    where = output.parent if output else Path(tempfile.gettempdir())
    folder = where / f".finetune-export-{uuid4().hex}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy(source: Source, folder: Path) -> None:
    from tasks.export.cards import without_report

    for name, content in source.files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            target.write_text(content)
        else:
            shutil.copyfile(content, target)
    without_report(folder)


def _check_possible(saved: Saved, wanted: Wanted) -> None:
    from tasks.export import onnx

    kind, adapted = str(saved.loading["auto_model"]), is_adapter(saved.folder)
    if wanted.merge and not adapted:
        raise ConfigError("--merge: this is a whole model, not an adapter; there is nothing to merge")
    if wanted.onnx:
        onnx.check_possible(saved.task, kind, wanted.dtype)
    if wanted.dtype and adapted and not wanted.merge:
        raise ConfigError("--dtype: this is an adapter, whose base is elsewhere; add --merge")
    if wanted.dtype and ":" in kind:
        what = "a class of your own" if kind.startswith(LIVE) else "two models"
        raise ConfigError(f"--dtype: this model is {what}; load and cast it in Python")


def _convert(saved: Saved, wanted: Wanted, source: Source, info: Callable[[str], None]) -> float | None:
    if not (wanted.merge or wanted.dtype or wanted.onnx):
        return None
    from tasks.export import convert
    from tasks.export.parity import rows_of

    rows = rows_of(saved, source.tokens)
    return convert.onnx(saved, rows, info) if wanted.onnx else convert.whole(saved, wanted.dtype, rows, info)


def _warn_of_local_base(folder: Path, info: Callable[[str], None]) -> None:
    from tasks.artifacts.formats import json

    base = json.read(folder / "adapter_config.json")["base_model_name_or_path"]
    if Path(base).is_dir():
        info(f"--push: this adapter's base is the local folder {base}, which others do not have; --merge includes it")


def _publish(folder: Path, output: Path | None) -> Path | None:
    """Move the finished folder to its place."""
    if output is None:
        return None
    try:
        os.rename(folder, output)  # noqa: PTH104 — replaces an empty folder
    except OSError as error:
        raise ConfigError(f"-o: {str(output)!r} was written to meanwhile ({error.strerror}); choose another") from error
    return output
