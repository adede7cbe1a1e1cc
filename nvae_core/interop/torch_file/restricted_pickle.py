"""Un-pickles plain values and records of tensors, and never calls anything the pickle names."""

import io
import pickle
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from nvae_core.interop.torch_file.pickle_opcodes import OPCODES, check_opcodes
from nvae_core.interop.torch_file.refusal import Refusal, refuse_damage, shown
from nvae_core.interop.torch_file.stand_ins import (
    GlobalStandIn,
    NamespaceStandIn,
    OrderedDictStandIn,
    unwrap_parameter,
)
from nvae_core.interop.torch_file.tensor_records import (
    STORAGE_DTYPES,
    StorageRecord,
    TensorRecord,
    record_storage,
    record_tensor,
)

MAX_TENSORS = 250_000
STATEFUL = (OrderedDictStandIn, NamespaceStandIn)


@dataclass(frozen=True)
class Unpickled:
    """A value, and all storages by key.

    The value is of dicts, lists, tuples, scalars, stand-ins and records, may hold itself, and has
    dict keys that are strings or 64-bit integers.
    """

    value: object
    storages: dict[str, StorageRecord]


def read_pickle(stream: io.BytesIO) -> Unpickled:
    """Read one pickle and leave the stream behind it.

    Raises:
        Refusal: the pickle is damaged, or names a class that is not allowed.
    """
    start = stream.tell()
    with refuse_damage("the pickle"):
        check_opcodes(stream)
        stream.seek(start)
        unpickler = _RestrictedUnpickler(stream)
        return Unpickled(unpickler.load(), unpickler.storages)


# The pure-Python class: the one in C allocates its memo by the largest index a pickle names.
class _RestrictedUnpickler(pickle._Unpickler):
    stack: list[Any]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.storages: dict[str, StorageRecord] = {}
        self._num_tensors = 0
        self._globals = {
            ("collections", "OrderedDict"): GlobalStandIn(OrderedDictStandIn),
            ("argparse", "Namespace"): GlobalStandIn(NamespaceStandIn),
            ("torch._utils", "_rebuild_tensor_v2"): GlobalStandIn(self._rebuild_tensor),
            ("torch._utils", "_rebuild_parameter"): GlobalStandIn(unwrap_parameter),
        }

    def find_class(self, module: str, name: str) -> object:
        if module == "torch" and name in STORAGE_DTYPES:
            return STORAGE_DTYPES[name]
        if (module, name) not in self._globals:
            raise Refusal(f"class {shown(f'{module}.{name}')} is not allowed")
        return self._globals[module, name]

    def persistent_load(self, pid: object) -> StorageRecord:
        storage = record_storage(pid)
        if self.storages.setdefault(storage.key, storage) != storage:
            raise Refusal(f"storage {shown(storage.key)} is described in two ways")
        return storage

    def load_binunicode(self) -> None:
        (num_bytes,) = struct.unpack("<I", self.read(4))
        # Strict: half of a surrogate pair could not be written anywhere again.
        self.stack.append(self.read(num_bytes).decode())

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, GlobalStandIn) or type(arguments) is not tuple:
            raise Refusal("the pickle calls something that is not a class")
        self.stack.append(function.build(*arguments))

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if type(state) is not dict or not isinstance(target, STATEFUL):
            raise Refusal("the pickle gives attributes to something that has none")
        if isinstance(target, NamespaceStandIn):
            target.attributes = state

    def load_append(self) -> None:
        self._extend([self.stack.pop()])

    def load_appends(self) -> None:
        self._extend(self.pop_mark())

    def _extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise Refusal("the pickle appends to something that is not a list")
        self.stack[-1].extend(values)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key], [value])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self._update(items[::2], items[1::2])

    def _update(self, keys: list[Any], values: list[Any]) -> None:
        if type(self.stack[-1]) not in (dict, OrderedDictStandIn):
            raise Refusal("the pickle sets items of something that is not a dict")
        if not all(map(_is_key, keys)):
            raise Refusal("a key of a dict is neither a string nor a 64-bit integer")
        self.stack[-1].update(zip(keys, values, strict=True))

    def _rebuild_tensor(
        self,
        storage: object,
        offset: object,
        shape: object,
        stride: object,
        _requires_grad: object,
        _backward_hooks: object,
    ) -> TensorRecord:
        self._num_tensors += 1
        if self._num_tensors > MAX_TENSORS:
            raise Refusal(f"it has more than {MAX_TENSORS} tensors")
        name = f"tensor {self._num_tensors}"
        return record_tensor(storage, offset, shape, stride, name=name)

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **{
            ord(opcode.code): pickle._Unpickler.dispatch[ord(opcode.code)]
            for opcode in pickletools.opcodes
            if opcode.name in OPCODES
        },
        pickle.BINUNICODE[0]: load_binunicode,
        pickle.REDUCE[0]: load_reduce,
        pickle.NEWOBJ[0]: load_reduce,
        pickle.BUILD[0]: load_build,
        pickle.APPEND[0]: load_append,
        pickle.APPENDS[0]: load_appends,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
    }


def _is_key(key: object) -> bool:
    # Hashing a deep tuple overflows the stack, and long integers can be made to collide.
    return type(key) is str or (type(key) is int and key.bit_length() <= 64)
