"""Turns what was un-pickled into plain values and tensors, of bounded depth and size."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nvae_core.interop.torch_file.refusal import Refusal, refuse_damage, shown
from nvae_core.interop.torch_file.stand_ins import NamespaceStandIn
from nvae_core.interop.torch_file.stream_format import StreamFormat
from nvae_core.interop.torch_file.tensor_records import StorageRecord, TensorRecord
from nvae_core.interop.torch_file.zip_format import ZipFormat

MAX_DEPTH = 100
MAX_NODES = 5_000_000
CHARACTERS_PER_NODE = 64
SCALARS = frozenset({type(None), bool, int, float})
# Tied weights repeat a storage a few times; a pickle could repeat it a million times.
MAX_TENSOR_BYTES_PER_FILE_BYTE = 16


def deliver(file: ZipFormat | StreamFormat, num_file_bytes: int) -> object:
    """Build the value a checkpoint holds; parts it shares, storages included, stay shared.

    Raises:
        Refusal: it holds itself, or is too deep or, with every shared part counted as often as it
            is used, too large; or a storage is damaged.
    """
    delivery = _Delivery(file, MAX_TENSOR_BYTES_PER_FILE_BYTE * num_file_bytes)
    return delivery.deliver(file.unpickled.value, depth=0).value


@dataclass(frozen=True, slots=True)
class _Part:
    """A delivered value, and what a copy of it without any sharing would hold."""

    value: object
    num_nodes: int = 1
    num_tensor_bytes: int = 0
    height: int = 0


class _Delivery:
    def __init__(self, file: ZipFormat | StreamFormat, max_tensor_bytes: int) -> None:
        self._file = file
        self._max_tensor_bytes = max_tensor_bytes
        self._parts: dict[int, _Part | None] = {}
        self._storages: dict[str, Tensor] = {}

    def deliver(self, value: object, *, depth: int) -> _Part:
        if type(value) in SCALARS:
            return _Part(value)
        if isinstance(value, str):
            return _Part(value, num_nodes=1 + len(value) // CHARACTERS_PER_NODE)
        if id(value) not in self._parts:
            self._parts[id(value)] = None  # it is being built
            self._parts[id(value)] = self._build(value, depth)
        part = self._parts[id(value)]
        if part is None:
            raise Refusal("it holds itself")
        return part

    def _build(self, value: object, depth: int) -> _Part:
        if depth > MAX_DEPTH:
            raise Refusal(f"it is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, TensorRecord):
            tensor = self._build_tensor(value)
            return _Part(tensor, num_tensor_bytes=tensor.numel() * tensor.itemsize)
        if isinstance(value, NamespaceStandIn):
            return self.deliver(value.attributes, depth=depth + 1)
        if isinstance(value, dict):
            keys = [self.deliver(key, depth=depth + 1) for key in value]
            values = [self.deliver(item, depth=depth + 1) for item in value.values()]
            content = {key: item.value for key, item in zip(value, values, strict=True)}
            return self._join(content, [*keys, *values])
        if isinstance(value, list | tuple):
            items = [self.deliver(item, depth=depth + 1) for item in value]
            return self._join(type(value)(item.value for item in items), items)
        raise Refusal("it holds a class or a storage where a value should be")

    def _join(self, value: object, parts: list[_Part]) -> _Part:
        whole = _Part(
            value,
            num_nodes=1 + sum(part.num_nodes for part in parts),
            num_tensor_bytes=sum(part.num_tensor_bytes for part in parts),
            height=1 + max((part.height for part in parts), default=0),
        )
        if whole.height > MAX_DEPTH:
            raise Refusal(f"it is nested deeper than {MAX_DEPTH} levels")
        if whole.num_nodes > MAX_NODES:
            raise Refusal(f"it holds more than {MAX_NODES} values, counting repeated ones")
        if whole.num_tensor_bytes > self._max_tensor_bytes:
            raise Refusal("its tensors repeat the same storages too often")
        return whole

    def _build_tensor(self, record: TensorRecord) -> Tensor:
        storage = self._storages.get(record.storage.key)
        if storage is None:
            storage = self._storages[record.storage.key] = self._read_storage(record.storage)
        return storage.as_strided(record.shape, record.stride, record.offset)

    def _read_storage(self, storage: StorageRecord) -> Tensor:
        with refuse_damage(f"storage {shown(storage.key)}"):
            content = torch.empty(storage.num_bytes, dtype=torch.uint8)
            self._file.read_storage(storage, content.numpy().data)
            if storage.dtype is torch.bool:
                return content != 0  # a boolean of any other byte is neither true nor false
            return content.view(storage.dtype)
