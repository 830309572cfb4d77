"""The model before training, beside the trained one: from which a KL divergence is measured."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from peft import PeftModel

ADDED = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector", "modules_to_save")


class Reference:
    """Gives the model as it is now, later: without its adapter if that changes nothing yet, else as a frozen copy.

    Args:
        model: before training, with `requires_grad` set.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.copy = None if changes_nothing(model) else deepcopy(model).eval().requires_grad_(False)

    @contextmanager
    def __call__(self) -> Iterator[Any]:
        if self.copy is not None:
            yield self.copy.to(self.model.device)
            return
        trained = [each for each in self.model.parameters() if each.requires_grad]
        with self.model.disable_adapter():
            yield self.model
        self.model.requires_grad_(False)  # peft makes all of an adapter trainable when it is enabled again
        for each in trained:
            each.requires_grad_(True)


def changes_nothing(model: Any) -> bool:
    """Whether the trained parameters are those of a new LoRA adapter, which can be disabled."""
    if not isinstance(model, PeftModel) or any(each.peft_type != "LORA" for each in model.peft_config.values()):
        return False
    parameters = [*model.named_parameters()]
    added = all(any(part in name for part in ADDED) for name, each in parameters if each.requires_grad)
    second = [each for name, each in parameters if "lora_B" in name or "lora_embedding_A" in name]
    return added and not any(bool(each.detach().any()) for each in second)
