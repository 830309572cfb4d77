"""A base's adapter: merged into its weights, so that training starts from one model, or trained on."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import PreTrainedModel

from tasks.artifacts.formats import weights
from tasks.artifacts.formats.weights import Tensor
from tasks.config.errors import ConfigError
from tasks.models.adapters import REFUSALS, merged, peft_class, wrapped
from tasks.models.bases.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS

ROOTS = ("base_model.model.", "base_model.")  # peft's prefixes of parameter names; the second one with prompts


@dataclass(frozen=True)
class Folded:
    """The result of `fold`.

    Attributes:
        changed: the names of changed parameters.
        unused: tensors of the adapter that do not fit: the head of another task, or of other labels.
    """

    changed: set[str]
    unused: list[str]


def fold(model: PreTrainedModel, folder: Path, merge: bool = True) -> Folded:
    """Merge the adapter in `folder` into `model`, in place, by peft's `merge_and_unload`; modules that it saved
    completely (`modules_to_save`) replace the model's.

    Args:
        merge: whether to merge; if not, only the modules saved completely are used.

    Raises:
        ConfigError: the adapter is to another architecture, or of a kind that cannot be merged.
    """
    tensors = {_plain(name): tensor for name, tensor in weights.header(folder / ADAPTER_WEIGHTS).items()}
    changed: set[str] = set()
    unused: set[str] = set()
    for name, part in parts_of(model):
        config = _config_in(folder)
        saved = _saved(config)
        if not merge:
            tensors = {each: tensor for each, tensor in tensors.items() if _is_whole(each, saved)}
        place, host = _host(part, list(filter(_is_inner, tensors)))
        unplaced = _unplaced(host, tensors, saved)
        if merge:
            unplaced |= _merge(host, folder, config, tensors, unplaced)
        else:
            whole = {_plain(each): tensor for each, tensor in load_file(folder / ADAPTER_WEIGHTS).items()}
            host.load_state_dict({each: whole[each] for each in tensors.keys() - unplaced}, strict=False)
        modules = {each for each, _ in host.named_modules()}
        touched = tuple(f"{name}{place}{_owner(each, modules)}." for each in tensors.keys() - unplaced)
        changed |= {each for each in model.state_dict() if each.startswith(touched)}
        unused |= unplaced
    return Folded(changed, sorted(unused))


def continued(model: PreTrainedModel, folder: Path, task_type: str, heads: list[str]) -> PeftModel:
    """Return `model` with the adapter in `folder`, trainable, and its `heads`, which start as the model has them.

    Of a model on torch's meta device only names and sizes are checked.

    Raises:
        ConfigError: the adapter is a prompt, it cannot train a head, or it is to another architecture.
    """
    config: Any = _config_in(folder)
    kind, saved, without_weights = config.peft_type.lower(), _saved(config), model.device.type == "meta"
    dtype = model.dtype
    if config.is_prompt_learning:
        raise ConfigError(f"peft.method: continue is for adapters in layers, and that of model.name is a {kind}")
    if heads and not hasattr(config, "modules_to_save"):
        raise ConfigError(f"peft.method: {kind} cannot train the new head ({', '.join(heads)}) beside it")
    config.task_type = peft_class(task_type, is_prompt=False)
    config.inference_mode, config.modules_to_save = False, heads or None
    if without_weights and hasattr(config, "init_lora_weights"):
        config.init_lora_weights = True  # others are computed from weights
    try:
        adapted = wrapped(model, config)
    except REFUSALS as error:
        raise ConfigError(f"model.name: its adapter does not fit {type(model).__name__}: {error}") from error
    header, made = weights.header(folder / ADAPTER_WEIGHTS), get_peft_model_state_dict(adapted)
    held = {name: tuple(each.shape) for name, each in header.items() if not _is_whole(_plain(name), saved)}
    fresh = {name: tuple(each.shape) for name, each in made.items() if not _is_whole(_plain(name), heads)}
    # a layer beside the numbered ones, such as a pooler, may be new in this task's model
    if odd := {name for name, _ in held.items() ^ fresh.items() if name in held or _is_inner(name)}:
        raise ConfigError(f"model.name: its adapter has other layers than {type(model).__name__} with its "
                          f"{ADAPTER_CONFIG} ({min(odd)}, …); any other method merges it first")  # fmt: skip
    if not without_weights:
        tensors = load_file(folder / ADAPTER_WEIGHTS)
        # heads that the model has from there too, rounded to its type
        same = {
            name for name in made.keys() & tensors.keys() if tensors[name].to(dtype).to(made[name]).equal(made[name])
        }
        set_peft_model_state_dict(adapted, made | {name: tensors[name] for name in held.keys() | same})
    return adapted


def _config_in(folder: Path) -> PeftConfig:
    try:
        config = PeftConfig.from_pretrained(str(folder))
        if not isinstance(saved := getattr(config, "modules_to_save", None), list | None):
            raise TypeError(f"modules_to_save is {saved!r}, not a list")
        return config
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"model.name: its {ADAPTER_CONFIG} is not a valid peft config "
                          f"({type(error).__name__}: {error})") from error  # fmt: skip


def head_width(adapter: Path) -> int | None:
    """Return the number of labels of the head saved in an adapter; None if there is none.

    Raises:
        ConfigError: the adapter's weights are incomplete.
    """
    try:
        tensors = weights.header(adapter / ADAPTER_WEIGHTS)
    except ValueError as error:
        raise ConfigError(f"MODEL: {adapter}: {error}") from error
    ends = ("classifier.weight", "score.weight", "classifier.out_proj.weight")
    return next((each.shape[0] for name, each in tensors.items() if _plain(name) in ends), None)


def saved_whole(adapter: Path) -> set[str]:
    """Return the names, in the model, of the parameters that an adapter saved completely (`modules_to_save`)."""
    return {_plain(name) for name in weights.header(adapter / ADAPTER_WEIGHTS)}


def heads_in(adapter: Path, model: PreTrainedModel) -> set[str]:
    """Return the names of a model's parameters in modules that an adapter saved completely."""
    return {name for name in saved_whole(adapter) if _is_whole(name, _saved(_config_in(adapter)))} & {
        *model.state_dict()
    }


def parts_of(model: PreTrainedModel) -> Iterator[tuple[str, PreTrainedModel]]:
    """Yield the parts of a composite model with their prefixes; else the model itself."""
    inner = getattr(model, "parts", None)
    yield from inner() if callable(inner) else (("", model),)  # type: ignore[misc]


def _plain(name: str) -> str:
    root = next((root for root in ROOTS if name.startswith(root)), "")
    return name.removeprefix(root).replace(".base_layer.", ".")


def _is_whole(name: str, saved: Iterable[str]) -> bool:
    return any(f".{each}." in f".{name}" for each in saved)


def _owner(name: str, modules: Collection[str]) -> str:
    """Return the innermost existing module that contains a tensor of an adapter."""
    parts = name.split(".")
    return next((owner for end in range(len(parts), 0, -1) if (owner := ".".join(parts[:end])) in modules), "")


def _host(model: PreTrainedModel, names: Iterable[str]) -> tuple[str, Any]:
    """Return the module of an adapter's layers: the model, or its body if the adapter was trained on the body alone."""
    for place, host in (("", model), (f"{model.base_model_prefix}.", model.base_model)):
        modules = {name for name, _ in host.named_modules()}
        if all(_owner(name, modules) for name in names):
            return place, host
    raise ConfigError(f"model.name: its adapter has layers that the base lacks ({min(names, default='none')}, …): "
                      f"{type(model).__name__} is another architecture")  # fmt: skip


def _is_inner(name: str) -> bool:
    """Whether a tensor is in a numbered layer of the body, which models of any task have."""
    return any(part.isdigit() for part in name.split("."))


def _merge(host: Any, folder: Path, config: PeftConfig, tensors: Mapping[str, Tensor], unused: set[str]) -> set[str]:
    """Merge into `host`; return the adapter's layers that it lacks (a pooler, a head)."""
    there = host.state_dict()
    kept = {name for name in tensors if name not in unused}
    config.task_type = None  # the run's task may differ: only the layers matter
    config.modules_to_save = [each for each in _saved(config) if any(_is_whole(name, [each]) for name in kept)] or None  # type: ignore[attr-defined]
    try:
        adapted = PeftModel.from_pretrained(host, folder, config=config, ignore_mismatched_sizes=True)
    except (KeyError, TypeError, ValueError, AttributeError, ImportError) as error:
        raise _unmergeable(config, error) from error
    loaded = {_plain(name): tensor for name, tensor in get_peft_model_state_dict(adapted).items()} | there
    unplaced = {name for name in kept if name not in loaded}
    wrong = {name for name in kept - unplaced if tuple(loaded[name].shape) != tensors[name].shape}
    if wrong := wrong | set(filter(_is_inner, unplaced)):
        raise ConfigError(f"model.name: its adapter is for a base of other sizes ({min(wrong)}, …)")
    try:
        merged(adapted)
    except (NotImplementedError, ValueError) as error:
        raise _unmergeable(config, error) from error
    return unplaced


def _unmergeable(config: PeftConfig, error: Exception) -> ConfigError:
    kind = getattr(config.peft_type, "value", config.peft_type)
    other = "" if config.is_prompt_learning else "; peft: continue trains it on"
    return ConfigError(f"model.name: its adapter ({kind}) cannot be merged into the base: {error}{other}")


def _saved(config: PeftConfig) -> list[str]:
    """Return the modules that were trained and saved completely."""
    return list(getattr(config, "modules_to_save", None) or [])


def _unplaced(host: Any, tensors: Mapping[str, Tensor], saved: list[str]) -> set[str]:
    """Return the tensors of saved modules that the host lacks, or has in other sizes."""
    there = host.state_dict()
    return {name for name, tensor in tensors.items() if _is_whole(name, saved)
            and (name not in there or tuple(there[name].shape) != tensor.shape)}  # fmt: skip
