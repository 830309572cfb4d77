"""The config of another task than the run's own: from the folder of the model that was trained for it, or as given."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.config import ConfigError, RunConfig, load
from tasks.config.json_types import JsonObject
from tasks.config.reading.draft import make_draft
from tasks.objectives.presets import resolve
from tasks.results.output_dir import RESOLVED

KEPT = ("task", "data", "model", "seed")  # what stages 3 to 5 read


def other_config(
    model: str, field: str, task: str | None = None, data: object = None, trust_remote_code: bool = False
) -> RunConfig:
    """Return the config, as resolved, with which the rows of a task are prepared for a model that was trained for it.

    Args:
        model: a folder or name of a model. If `finetune run` wrote the folder, its config is the default of `task` and
            `data`. field: that named the model, for messages. data: as the section `data`, or short; its fields replace
            those of the model's config.

    Raises:
        ConfigError: naming fields below `field`: task or rows are not known, or something is not valid.
    """
    saved, found = Path(model).expanduser() / RESOLVED, JsonObject()
    if saved.is_file():
        values = make_draft(saved, ()).values
        found = {name: values[name] for name in KEPT if name in values}
    found["model"] = {**found.get("model", {}), "name": model, "revision": None, "trust_remote_code": trust_remote_code}
    own = make_draft({"data": data} if data is not None else {}, ()).values.get("data", {})
    given: Mapping[str, Any] = own if isinstance(own, dict) else {}
    found["data"] = {**({} if "train" in given else found.get("data", {})), **given}
    if task is not None:
        found["task"] = task
    if "task" not in found or "train" not in found["data"]:
        lacking = "task" if "task" not in found else "data"
        raise ConfigError(f"{field}: {model!r} has no {RESOLVED}, which says what it was trained for; give the "
                          f"{lacking} too")  # fmt: skip
    try:
        return resolve(load(found).config, {})[0]
    except ConfigError as error:
        raise ConfigError(f"{field}: the task that is given there, or in {saved}, is not valid: {error}") from error
