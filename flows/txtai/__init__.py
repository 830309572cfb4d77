"""For code written for txtai's trainer: `from flows.txtai import HFTrainer`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.txtai.trainer import HFTrainer as HFTrainer

__all__ = ["HFTrainer"]


def __getattr__(name: str) -> Any:
    if name == "HFTrainer":
        from flows.txtai.trainer import HFTrainer

        return HFTrainer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
