"""Reads the headers of safetensors files; the tensors are read in `tasks.models`."""

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

from pydantic import BaseModel, NonNegativeInt, RootModel, ValidationError, model_validator

from tasks.config.json_types import is_mapping

BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "BF16": 2, "F16": 2, "I16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
         "I8": 1, "U8": 1, "BOOL": 1}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """Dtype and shape of one tensor, as the file's header states them."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of values."""
        return prod(self.shape)


class _Entry(BaseModel):
    """A tensor's entry in the header."""

    dtype: str
    shape: tuple[NonNegativeInt, ...]
    data_offsets: tuple[NonNegativeInt, NonNegativeInt]


class _Header(RootModel[dict[str, _Entry]]):
    """The JSON header of a safetensors file."""

    @model_validator(mode="before")
    @classmethod
    def _tensors_only(cls, value: object) -> object:
        return {name: each for name, each in value.items() if name != "__metadata__"} if is_mapping(value) else value


def header(path: Path) -> dict[str, Tensor]:
    """Return {name: Tensor} without reading any weight.

    Raises:
        ValueError: the file is not safetensors, or is truncated.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if 8 + length > size:
            raise ValueError(f"{path.name} is not a complete safetensors file")
        try:
            entries = _Header.model_validate_json(file.read(length)).root
        except ValidationError:
            raise ValueError(f"{path.name} has a broken header; it is not a valid safetensors file") from None
    end = max((entry.data_offsets[1] for entry in entries.values()), default=0)
    if 8 + length + end > size:
        raise ValueError(f"{path.name} is truncated: {size} of {8 + length + end} bytes")
    return {name: Tensor(entry.dtype, entry.shape) for name, entry in entries.items()}
