"""Find the layer of a model that each parameter belongs to."""

from typing import TYPE_CHECKING, Any

from torch import nn

from tasks.config.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

ADAPTER = "base_model.model."  # prefix of parameter names within a `PeftModel`


def depths(model: Any) -> tuple[dict[str, int], int]:
    """Return `{parameter name: depth}` and the number of layers L. Depth 0 are the inputs of the first layer
    (embeddings), 1 … L the layers from the bottom (in an encoder-decoder model, both halves in parallel), L everything
    after the last layer within the body (norms, poolers), L + 1 the head.

    Layers are found by transformers' convention: a `ModuleList` in the body with the length given in the config.

    Raises:
        ConfigError: the architecture has no such list, so its layers are unknown.
    """
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    body = getattr(inner, getattr(inner, "base_model_prefix", ""), None) or inner
    lists = _layer_lists(body, inner.config)
    if not lists:
        raise ConfigError(f"methods: the layers of {type(inner).__name__} are unknown (no list of layers with the "
                          "length in its config)")  # fmt: skip
    prefix = "" if body is inner else f"{inner.base_model_prefix}."
    count = max(len(layers) for layers in lists.values())
    found: dict[str, int] = {}
    below = {id(parameter) for module in _before(body, lists) for parameter in module.parameters()}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        plain = name.removeprefix(ADAPTER) if inner is not model else name
        found[name] = _depth(plain, prefix, lists, count, id(parameter) in below)
    return found, count


def _depth(name: str, prefix: str, lists: dict[str, nn.ModuleList], count: int, below: bool) -> int:
    if below:  # also if a head is tied to the embeddings and has a second name
        return 0
    if not name.startswith(prefix):
        return count + 1
    inside = name.removeprefix(prefix)
    for path, layers in lists.items():
        if inside.startswith(f"{path}."):
            return int(inside.removeprefix(f"{path}.").partition(".")[0]) + 1 + (count - len(layers))
    return count if prefix else count + 1


def _layer_lists(body: nn.Module, config: "PreTrainedConfig") -> dict[str, nn.ModuleList]:
    """Return the lists of layers by path, not nested ones."""
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
