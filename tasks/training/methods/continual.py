"""What the methods of continual learning share: the earlier tasks, and what such a method cannot be combined with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, Field

from tasks.config.errors import ConfigError
from tasks.config.sections.section import PathText, Section, Text

if TYPE_CHECKING:
    import torch

    from tasks.config import RunConfig
    from tasks.training.methods.base import Task

Found = TypeVar("Found")


class PreviousTask(Section):
    """A task that was learnt before, and its model. A folder or name alone is the model."""

    bare: ClassVar[str] = "model"

    model: PathText = Field(
        min_length=1, description="The model that was trained for it: the folder of an earlier run, or a model's name."
    )
    task: Text | None = Field(
        default=None, description="What it was trained for. Omit: as config.resolved.yaml in its folder says."
    )
    data: dict[str, Any] | str | list[str] | None = Field(
        default=None, description="Its rows, as the section data. Omit: as config.resolved.yaml in its folder says."
    )
    name: Text | None = Field(default=None, description="Its name in messages. Omit: that of the folder.")


def _once(tasks: list[PreviousTask]) -> list[PreviousTask]:
    folders = [Path(each.model).expanduser().absolute() for each in tasks]
    if twice := next((each.model for each, at in zip(tasks, folders, strict=True) if folders.count(at) > 1), None):
        raise ValueError(f"{twice!r} given twice; each earlier model counts once, so name it once")
    return tasks


PreviousTasks = Annotated[list[PreviousTask], AfterValidator(_once)]
PREVIOUS = (
    "The earlier tasks: folders of `finetune run`, or mappings {model, task, data, name}. `finetune continual` fills "
    "it in."
)


def only_supervised(name: str, config: RunConfig, task: Task) -> Iterator[str]:
    """Yield why a config's task or quantization does not fit a method of continual learning."""
    if ":" in task.auto_model:
        yield f"methods.{name}: {task.name} trains two models that share embeddings; leave it out"
    if task.rl_options:
        yield (f"methods.{name}: {task.name} learns from rewards, whose loss has no place for another term; leave it "
               "out")  # fmt: skip
    if config.quant.bits is not None:
        yield f"methods.{name}: quantized weights are not trained, and earlier ones are not quantized; set quant: false"


def only_whole_models(name: str, config: RunConfig) -> Iterator[str]:
    """Yield why a config's adapter does not fit a method that holds the base's weights."""
    if config.peft.method != "none":
        yield (f"methods.{name}: peft.method: {config.peft.method} given; an adapter does not change the weights that "
               "this method holds; set peft: none, or leave it out")  # fmt: skip


def refuse_unknown_body(name: str, model: Any) -> None:
    """Raise ConfigError for a live model of a custom class, whose body and head are not known."""
    if not hasattr(model, "base_model_prefix"):
        raise ConfigError(f"methods.{name}: which part of a {type(model).__name__} is its head is not known; save it "
                          "as a transformers model first, or leave it out")  # fmt: skip


def trained_body(name: str, model: Any) -> dict[str, torch.nn.Parameter]:
    """Return the trained parameters of a model's body, by their names there.

    Args:
        name: of the method, for messages.

    Raises:
        ConfigError: there are none.
    """
    from tasks.models.bodies import body_of

    found = {each: parameter for each, parameter in body_of(model).named_parameters() if parameter.requires_grad}
    if not found:
        raise ConfigError(f"methods.{name}: none of the weights it holds are trained (only the head is); leave it out")
    return found


def input_name(method: str, number: int, part: str = "") -> str:
    """Return the name of a method's artifact for the earlier task with this number, among a training's inputs."""
    return f"{method}_{number}{part}"


def numbered(artifacts: Mapping[str, Found], method: str, part: str = "") -> Sequence[Found]:
    """Return a method's artifacts for the earlier tasks, in their order."""
    found: list[Found] = []
    while (name := input_name(method, len(found), part)) in artifacts:
        found.append(artifacts[name])
    return found
