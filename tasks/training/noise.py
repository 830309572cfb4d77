"""NEFTune: noise on the embeddings during training.

Jain et al. 2023 (arXiv:2310.05914): uniform noise in ±alpha / sqrt(length · width).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft import PeftModel
from torch import nn
from transformers.integrations.neftune import neftune_post_forward_hook

from tasks.config.errors import ConfigError


@contextmanager
def noisy_embeddings(model: nn.Module, alpha: float | None) -> Iterator[None]:
    """Within, the outputs of the model's token embeddings have noise in training mode; None: no noise.

    The library adds it to the module that `get_input_embeddings` returns, which encoder-decoder models do not call:
    their encoder and decoder have modules of their own with the same weights.

    Raises:
        ConfigError: the model does not say which its embeddings are.
    """
    modules = _embeddings(model) if alpha is not None else []
    hooks = [module.register_forward_hook(neftune_post_forward_hook) for module in modules]
    for module in modules:
        module.neftune_noise_alpha = alpha
    try:
        yield
    finally:
        for module, hook in zip(modules, hooks, strict=True):
            hook.remove()
            del module.neftune_noise_alpha


def _embeddings(model: nn.Module) -> list[Any]:
    inner: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    try:
        found = inner.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        raise ConfigError(f"train.neftune_noise_alpha: {type(inner).__name__} has no get_input_embeddings, so its "
                          "embeddings are unknown; leave it out") from None  # fmt: skip
    same = (each for each in inner.modules() if isinstance(each, nn.Embedding) and each.weight is found.weight)
    return [found, *(each for each in same if each not in set(found.modules()))]
