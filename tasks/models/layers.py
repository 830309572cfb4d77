"""Find the layer of a model that each parameter belongs to."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from tasks.config.errors import ConfigError

ADAPTER = "base_model.model."  # prefix of parameter names within a `PeftModel`


def depths(model: Any) -> tuple[dict[str, int], int]:
    """Return `{parameter name: depth}` and the number of layers L. Depth 0 are the inputs of the first layer
    (embeddings), 1 … L the layers from the bottom (in an encoder-decoder model, both halves in parallel), L everything
    after the last layer within the body (norms, poolers), L + 1 the head.

    Layers are found by transformers' convention: a `ModuleList` in the body with the length given in the config.

    Raises:
        ConfigError: the architecture has no such list, so its layers are unknown.
    """
    parts = _Parts.of(model)
    if not parts.lists:
        raise parts.unknown()
    return parts.depths(model), parts.count


def inside_layers(model: Any) -> set[str]:
    """Return the names of the parameters inside layers, without norms and poolers after the last one.

    Raises:
        ConfigError: see `depths`.
    """
    parts, (found, _) = _Parts.of(model), depths(model)
    inside = tuple(f"{parts.prefix}{path}." for path in parts.lists)
    return {name for name in found if parts.plain(name).startswith(inside)}


def head_names(model: Any) -> set[str]:
    """Return the names of the head's parameters, without those tied to embeddings; empty if it has none of its own.

    Raises:
        ConfigError: the architecture has neither a body apart from its head nor known layers.
    """
    parts = _Parts.of(model)
    if not (parts.prefix or parts.lists):
        raise parts.unknown()
    return {name for name, depth in parts.depths(model).items() if depth == parts.count + 1}


@dataclass(frozen=True)
class _Parts:
    """A model without its adapter, its body and that one's layers. `prefix` is that of the body's parameter names,
    empty if the model is its own body."""

    inner: Any
    body: nn.Module
    prefix: str
    lists: dict[str, nn.ModuleList]
    adapted: bool

    @classmethod
    def of(cls, model: Any) -> "_Parts":
        inner = model.get_base_model() if hasattr(model, "peft_config") else model
        body = getattr(inner, getattr(inner, "base_model_prefix", ""), None) or inner
        prefix = "" if body is inner else f"{inner.base_model_prefix}."
        return cls(inner, body, prefix, _layer_lists(body, getattr(inner, "config", None)), inner is not model)

    @property
    def count(self) -> int:
        return max((len(layers) for layers in self.lists.values()), default=0)

    def plain(self, name: str) -> str:
        """Return a parameter's name without an adapter's prefix."""
        return name.removeprefix(ADAPTER) if self.adapted else name

    def unknown(self) -> ConfigError:
        return ConfigError(f"methods: the layers of {type(self.inner).__name__} are unknown (no list of layers with "
                           "the length in its config)")  # fmt: skip

    def depths(self, model: Any) -> dict[str, int]:
        below = {id(each) for module in _before(self.body, self.lists) for each in module.parameters()}
        return {
            name: _depth(self.plain(name), self.prefix, self.lists, self.count, id(each) in below)
            for name, each in model.named_parameters(remove_duplicate=False)
        }


def _depth(name: str, prefix: str, lists: dict[str, nn.ModuleList], count: int, below: bool) -> int:
    if below:  # also if a head is tied to the embeddings and has a second name
        return 0
    if not name.startswith(prefix):
        return count + 1
    inside = name.removeprefix(prefix)
    for path, layers in lists.items():
        if inside.startswith(f"{path}."):
            return int(inside.removeprefix(f"{path}.").partition(".")[0]) + 1 + (count - len(layers))
    # of a model that is its own body, norms after the last layer are beside the list of layers
    beside = tuple(path.rpartition(".")[0] + "." for path in lists if "." in path)
    return count if prefix or name.startswith(beside) else count + 1


def _layer_lists(body: nn.Module, config: Any) -> dict[str, nn.ModuleList]:
    """Return the lists of layers by path, not nested ones; none without a config of transformers."""
    if not isinstance(config, PreTrainedConfig):
        return {}
    text = config.get_text_config()
    names = ("num_hidden_layers", "num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers")
    counts = {value for name in names if isinstance(value := getattr(text, name, None), int)}
    found: dict[str, nn.ModuleList] = {}
    for path, module in body.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer in found)
        if isinstance(module, nn.ModuleList) and len(module) in counts and not inside:
            found[path] = module
    return found


def _before(body: nn.Module, lists: dict[str, nn.ModuleList]) -> list[nn.Module]:
    """Return the modules of the body before its layers: those with an embedding."""
    layers = {id(module) for layer in lists.values() for module in layer.modules()}
    return [
        module
        for name, module in body.named_modules()
        if id(module) not in layers and ("embed" in name or isinstance(module, nn.Embedding))
    ]
