"""Follows a pickle without building anything, and refuses what no checkpoint needs.

What un-pickles a checkpoint runs nothing either, but it hashes whatever is a key (a deep tuple
overflows the C stack, chosen ones collide), and it believes the sizes that it is told.
"""

import io
import math
import pickletools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeGuard

MAX_OPCODES = 2_000_000
MAX_DIMENSIONS = 32
MAX_SHOWN_CHARACTERS = 200
PROTOCOL = 2  # the only one that torch.save uses unless told otherwise

KEYS = frozenset({"BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1"})
PUTS = frozenset({"BINPUT", "LONG_BINPUT"})
GETS = frozenset({"BINGET", "LONG_BINGET"})
TUPLES = frozenset({"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"})
LISTS = frozenset({"EMPTY_LIST", "APPEND", "APPENDS"})
DICTS = frozenset({"EMPTY_DICT", "SETITEM", "SETITEMS"})
OBJECTS = frozenset({"GLOBAL", "REDUCE", "NEWOBJ", "BUILD", "BINPERSID"})
OTHERS = frozenset({"PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BINFLOAT"})
OPCODES = KEYS.union(PUTS, GETS, TUPLES, LISTS, DICTS, OBJECTS, OTHERS)

STORAGE_ITEM_BYTES = {
    **dict.fromkeys(("torch.CharStorage", "torch.ByteStorage", "torch.BoolStorage"), 1),
    **dict.fromkeys(("torch.HalfStorage", "torch.BFloat16Storage", "torch.ShortStorage"), 2),
    **dict.fromkeys(("torch.FloatStorage", "torch.IntStorage"), 4),
    **dict.fromkeys(("torch.DoubleStorage", "torch.LongStorage"), 8),
}
REBUILD_TENSOR = "torch._utils._rebuild_tensor_v2"
CONTAINERS = frozenset({"collections.OrderedDict", "argparse.Namespace"})
NUMPY_SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
NUMPY_TYPE = "numpy.dtype"
ENCODE = "_codecs.encode"  # pickles of protocol 2 hold bytes as text in Latin-1
CALLABLES = CONTAINERS.union(
    NUMPY_SCALARS, (REBUILD_TENSOR, "torch._utils._rebuild_parameter", NUMPY_TYPE, ENCODE)
)
GLOBALS = CALLABLES.union(
    STORAGE_ITEM_BYTES, ("torch.float16", "torch.bfloat16", "torch.float32", "torch.float64")
)


class Refusal(Exception):
    """Why a file is not read; completed by the file's name in front."""


@dataclass(frozen=True)
class _Part:
    """What a pickle puts on its stack, if it is no text, small number, tuple or list."""

    kind: str
    name: str = ""


MARK, DICT = _Part("mark"), _Part("dict")
CALLABLE_PARTS = frozenset(_Part("global", name) for name in CALLABLES)


@dataclass(frozen=True)
class Storage:
    """Values elsewhere in the file, as a pickle describes them."""

    kind: str
    numel: int

    @property
    def num_bytes(self) -> int:
        """Size in the file."""
        return self.numel * STORAGE_ITEM_BYTES[self.kind]


class PickleCheck:
    """Follows the stack of pickles, and keeps the storages that they name, by key."""

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._num_tensors = 0

    def follow(self, stream: io.BytesIO) -> object:
        """Follow one pickle, leave the stream behind it, and return what it holds.

        Raises:
            Refusal: it is damaged, or does what no checkpoint needs.
        """
        self._stack, self._memo = [], {}
        with refuse_damage("the pickle"):
            for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
                if opcode.name not in OPCODES:
                    raise Refusal(f"the pickle opcode {opcode.name} is not allowed")
                is_header = opcode.name == "PROTO"
                if is_header != (count == 0) or (is_header and argument != PROTOCOL):
                    raise Refusal(f"the pickle is not of protocol {PROTOCOL}")
                if count >= MAX_OPCODES:
                    raise Refusal(f"the pickle has more than {MAX_OPCODES} opcodes")
                self._take(opcode, argument)
            return self._stack[-1]

    def _take(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        value: Any
        if opcode.name in PUTS:
            self._memo[argument] = self._stack[-1]
            return
        if opcode.name in GETS:
            value = self._memo[argument]
        elif opcode.name in KEYS:
            value = _key(argument)
        elif opcode.name == "GLOBAL":
            value = _Part("global", _global(argument))
        elif opcode.name == "MARK":
            value = MARK
        else:
            value = self._build(opcode.name, self._pop(opcode.stack_before))
        self._stack.append(value)

    def _pop(self, needed: list[pickletools.StackObject]) -> list[Any]:
        """Take what an opcode needs off the stack: so many values, or those above the mark too."""
        stack = self._stack
        start = len(stack) - len(needed)
        if pickletools.markobject in needed:
            mark = len(stack) - 1
            while stack[mark] is not MARK:
                mark -= 1
            start = mark - needed.index(pickletools.markobject)
        if start < 0:
            raise Refusal("the pickle takes more off its stack than it has put there")
        values = [value for value in stack[start:] if value is not MARK]
        del stack[start:]
        return values

    def _build(self, name: str, values: list[Any]) -> Any:
        if name in TUPLES:
            return tuple(values)
        if name in LISTS:
            return _extend(values)
        if name in DICTS:
            return _update(values)
        return self._build_object(name, values)

    def _build_object(self, name: str, values: list[Any]) -> Any:
        if name in ("REDUCE", "NEWOBJ"):
            return self._call(*values)
        if name == "BUILD":
            return _set_state(*values)
        if name == "BINPERSID":
            return self._describe_storage(*values)
        return values[0] if name == "STOP" else _Part(name)

    def _call(self, function: object, arguments: object) -> _Part:
        if not isinstance(function, _Part) or function not in CALLABLE_PARTS:
            raise Refusal("the pickle calls something that is not a class")
        if not isinstance(arguments, tuple) or (arguments and function.name in CONTAINERS):
            raise Refusal(f"the pickle gives {function.name} other arguments than torch.save does")
        if function.name == REBUILD_TENSOR:
            self._check_tensor(*arguments)
        if function.name == ENCODE and arguments[1:] != ("latin1",):
            raise Refusal("the pickle encodes text otherwise than in Latin-1")
        return _Part("instance", function.name)

    def _check_tensor(
        self,
        storage: object,
        offset: Any,
        shape: object,
        stride: object,
        _requires_grad: object,
        _hooks: object,
    ) -> None:
        self._num_tensors += 1
        name = f"tensor {self._num_tensors}"
        if not isinstance(storage, Storage):
            raise Refusal(f"{name} has no storage")
        if not _are_sizes((offset,)) or not _are_sizes(shape) or not _are_sizes(stride):
            raise Refusal(
                f"{name} has an offset, shape or stride that is not at most {MAX_DIMENSIONS} sizes"
            )
        numel = math.prod(shape)
        steps = sum((size - 1) * step for size, step in zip(shape, stride, strict=False))
        claimed = max(numel, offset + steps + 1) if numel else 0
        if claimed > storage.numel:
            raise Refusal(f"{name} claims {claimed} values but its storage has {storage.numel}")

    def _describe_storage(self, description: object) -> Storage:
        match description:
            case ("storage", _Part("global", kind), str() as key, str(), int() as numel, *views):
                pass
            case _:
                raise Refusal("a persistent id does not describe a storage")
        if kind not in STORAGE_ITEM_BYTES or views not in ([], [_Part("NONE")]):
            raise Refusal("a persistent id does not describe a storage")
        if numel < 0:
            raise Refusal("the size of a storage is not a size")
        storage = Storage(kind, numel)
        if self.storages.setdefault(key, storage) != storage:
            raise Refusal(f"storage {shown(key)} is described in two ways")
        return storage


def _key(value: str | int) -> str | int | _Part:
    """Return what may be a key of a dict; long integers can be made to collide."""
    if isinstance(value, str):
        value.encode()  # half of a surrogate pair could not be written anywhere again
        return value
    return value if value.bit_length() <= 64 else _Part("long integer")


def _global(names: str) -> str:
    name = names.replace(" ", ".")
    if name not in GLOBALS:
        raise Refusal(f"class {shown(name)} is not allowed")
    return name


def _extend(values: list[Any]) -> list[Any]:
    if not values:
        return []
    target, *items = values
    if not isinstance(target, list):
        raise Refusal("the pickle appends to something that is not a list")
    target.extend(items)
    return target


def _update(values: list[Any]) -> _Part:
    if not values:
        return DICT
    target: _Part = values[0]
    items = values[1:]
    if target not in (DICT, _Part("instance", "collections.OrderedDict")):
        raise Refusal("the pickle sets items of something that is not a dict")
    if not all(isinstance(key, str | int) for key in items[::2]):
        raise Refusal("a key of a dict is neither a string nor a 64-bit integer")
    return target


def _set_state(target: object, state: object) -> object:
    is_container = isinstance(target, _Part) and target.name in CONTAINERS
    is_numpy_type = target == _Part("instance", NUMPY_TYPE)
    if (is_container and state == DICT) or (is_numpy_type and isinstance(state, tuple)):
        return target
    raise Refusal("the pickle gives attributes to something that has none")


def _are_sizes(values: object) -> TypeGuard[tuple[int, ...]]:
    if not isinstance(values, tuple) or len(values) > MAX_DIMENSIONS:
        return False
    return all(isinstance(value, int) and 0 <= value < 2**63 for value in values)


@contextmanager
def refuse_damage(part: str) -> Iterator[None]:
    """Turn whatever a parser raises for this part of a file into a `Refusal`."""
    try:
        yield
    except (Refusal, OSError):
        raise
    # A parser of hostile bytes fails in every way there is, RecursionError and MemoryError too.
    except Exception as error:
        if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
            raise Refusal(f"{part} takes more memory than a file of its size may") from error
        reason = f"{type(error).__name__}: {error}".removesuffix(": ").splitlines()[0]
        raise Refusal(f"{part} is damaged or cut off ({shown(reason)})") from error


def shown(text: str) -> str:
    """Make text from a file fit for a message: short, and without control characters."""
    return "".join(c if c.isprintable() else "?" for c in text[:MAX_SHOWN_CHARACTERS])
