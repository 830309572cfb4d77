"""Put a trained model into a folder from which transformers' server can load it."""

import re
from collections.abc import Callable
from pathlib import Path

from tasks.artifacts.store import Store
from tasks.config import ConfigError, RunConfig
from tasks.export.run import Wanted, export
from tasks.export.source import Source, find_source
from tasks.inference.saved_model import Saved, open_saved
from tasks.models.bases.base import is_adapter, link
from tasks.objectives import objective_of


def servable(run: str, store: Store | None, config: RunConfig, place: Path, info: Callable[[str], None]) -> Path:
    """Return a new folder in `place`, named after the run, with links to its model, or with its adapter merged.

    Args:
        run: a model folder, or a run of the store. config: with `model.trust_remote_code`. info: called with notes.

    Raises:
        ConfigError: no such model, one that generates no text after a prompt, or one that cannot be merged.
    """
    source = find_source(run, store)
    folder = place / (re.sub(r"[^\w.-]", "-", Path(run).expanduser().resolve().name) or "model")
    saved = open_saved(str(_linked(source, folder)), config)
    _check_possible(saved, run)
    if not is_adapter(folder):
        return folder
    info("its adapter is merged into its base")
    output = place / "merged" / folder.name
    export(run, Wanted(merge=True, output=output), store, config, info)
    return output


def _linked(source: Source, folder: Path) -> Path:
    link({name: path for name, path in source.files.items() if isinstance(path, Path)}, folder)
    for name, content in source.files.items():
        if isinstance(content, str):
            (folder / name).write_text(content)
    return folder


def _check_possible(saved: Saved, run: str) -> None:
    if objective_of(saved.task).pipeline_tag != "text-generation":
        raise ConfigError(f"RUN: {run!r} was trained for {saved.task}; only models that answer or continue texts are "
                          "served (sft, dpo, kto, grpo, ppo, language-generation)")  # fmt: skip
    if ":" in (kind := str(saved.loading["auto_model"])):
        raise ConfigError(f"RUN: {run!r} is of a class of its own ({kind}), which transformers' server cannot load")
