"""What a pickle says of storages and tensors, checked before a byte of them is read."""

import math
from dataclasses import dataclass
from typing import TypeGuard

import torch

from nvae_core.interop.torch_file.refusal import Refusal

MAX_DIMENSIONS = 32
# No storage bounds the other dimensions of a tensor that has a dimension of zero.
MAX_EXTENT_OF_EMPTY = 2**20

STORAGE_DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
}


@dataclass(frozen=True, slots=True)
class StorageRecord:
    """A run of values elsewhere in the file, found by its key."""

    key: str
    dtype: torch.dtype
    numel: int

    @property
    def num_bytes(self) -> int:
        """Size in the file."""
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """A strided window on a storage, known to lie inside it; counts are of values, not bytes."""

    storage: StorageRecord
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def record_storage(persistent_id: object) -> StorageRecord:
    """Read the persistent id by which a pickle names a storage.

    Raises:
        Refusal: it is not `("storage", type, key, location, numel)`, with None behind it in files
            of the stream format.
    """
    match persistent_id:
        case ("storage", torch.dtype() as dtype, str() as key, str(), numel):
            pass
        case ("storage", torch.dtype() as dtype, str() as key, str(), numel, None):
            pass
        case _:
            raise Refusal("a persistent id does not describe a storage")
    if not _is_size(numel):
        raise Refusal("the size of a storage is not a size")
    return StorageRecord(key, dtype, numel)


def record_tensor(
    storage: object, offset: object, shape: object, stride: object, *, name: str
) -> TensorRecord:
    """Check that a tensor lies inside its storage and does not repeat it.

    Raises:
        Refusal: it does not, or an argument is of a wrong type; the message has the name.
    """
    if not isinstance(storage, StorageRecord):
        raise Refusal(f"{name} has no storage")
    if not (_is_size(offset) and _are_sizes(shape) and _are_sizes(stride)):
        raise Refusal(
            f"{name} has an offset, shape or stride that is not at most {MAX_DIMENSIONS} sizes"
        )
    if len(shape) != len(stride):
        raise Refusal(f"{name} has {len(shape)} dimensions and {len(stride)} strides")
    if 0 in shape:
        return _record_empty(storage, shape, name=name)
    # Along a single value the stride is never used, and torch.save writes any number.
    steps = tuple(step if size > 1 else 1 for size, step in zip(shape, stride, strict=True))
    last = offset + sum((size - 1) * step for size, step in zip(shape, steps, strict=True))
    claimed = max(math.prod(shape), last + 1)
    if claimed > storage.numel:
        raise Refusal(f"{name} claims {claimed} values but its storage has {storage.numel}")
    return TensorRecord(storage, offset, shape, steps)


def _record_empty(storage: StorageRecord, shape: tuple[int, ...], *, name: str) -> TensorRecord:
    extent = math.prod(size for size in shape if size)
    if extent > MAX_EXTENT_OF_EMPTY:
        raise Refusal(f"{name} has no values but its other dimensions claim {extent}")
    return TensorRecord(storage, 0, shape, (1,) * len(shape))


def _are_sizes(value: object) -> TypeGuard[tuple[int, ...]]:
    return type(value) is tuple and len(value) <= MAX_DIMENSIONS and all(map(_is_size, value))


def _is_size(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 2**63
