"""What a model could do before a training, measured or trained with the body as it is now.

Two models for different tasks that start from one base have the same body (embeddings and layers) below heads of their
own. `doing` puts the body of one under the head of the other: the two then share its parameters.
"""

from typing import Any

import torch
from peft import PeftModel

from tasks.config.errors import ConfigError


def doing(other: torch.nn.Module, live: torch.nn.Module, own_head: bool = True) -> torch.nn.Module:
    """Return a model for the task of `other` with the body of `live`: `live` itself if it has the same kind of head for
    the same classes, else `other` with the modules of its body replaced by those of `live`, of which it keeps only
    those that `live` lacks (a pooler).

    Args:
        other: a model with the head of its task. It is changed. live: a model, perhaps with an adapter. own_head:
            whether the head of `live` may be used; not if it was initialized at random.

    Raises:
        ConfigError: they have different architectures, sizes or vocabularies; virtual tokens were trained for another
            head.
    """
    core: Any = live.get_base_model() if isinstance(live, PeftModel) else live
    if own_head and _same_head(other, core):
        return live
    if isinstance(live, PeftModel) and live.active_peft_config.is_prompt_learning:
        raise ConfigError("virtual tokens are trained for one head, and cannot be used with another one")
    ours, theirs = body_of(other), body_of(core)
    if type(ours) is not type(theirs):
        raise ConfigError(f"it is a {type(ours).__name__}, and the trained model is a {type(theirs).__name__}; both "
                          "must come from one base")  # fmt: skip
    shapes = [{name: tuple(each.shape) for name, each in body.named_parameters() if each.is_floating_point()}
              for body in (ours, theirs)]  # fmt: skip
    odd = next((name for name, shape in shapes[0].items() if shapes[1].get(name, shape) != shape), None)
    if odd is not None:
        raise ConfigError(f"its {odd} has the shape {shapes[0][odd]}, that of the trained model {shapes[1][odd]}; both "
                          "must come from one base")  # fmt: skip
    for name, child in theirs.named_children():
        if getattr(ours, name, None) is not None:
            setattr(ours, name, child)
    other.tie_weights()  # type: ignore[operator] — a head that shares the embeddings
    return other


def body_of(model: Any) -> torch.nn.Module:
    """Return the body of a transformers model: its base model without a head."""
    return getattr(model, model.base_model_prefix, model)


def _same_head(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    classes = [(each.config.id2label, each.config.problem_type) for each in (one, other)]
    return classes[0] == classes[1] or "Classification" not in type(one).__name__
