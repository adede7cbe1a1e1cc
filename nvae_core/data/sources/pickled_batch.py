"""Reads a pickled batch of CIFAR-10 or ImageNet 32, and never calls anything the pickle names.

Of the pickle language only what these files use is there: dicts, lists, tuples, strings, numbers,
and NumPy arrays of bytes, in the protocols 2 to 4 of Python 2 and 3.
"""

import io
import pickle
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from nvae_core.data.errors import refuse_damage

MAX_BYTES = 2**29  # a batch of ImageNet 32 has 394 MB
MAX_READS = 1_000_000  # an operation takes one or two; ImageNet 32 has 128 117 labels in a batch
MAX_LINE_BYTES = 256
OPCODES = (
    *("PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET"),
    *("LONG_BINGET", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1"),
    *("BINFLOAT", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("BINUNICODE", "SHORT_BINUNICODE", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
)


def read_pickled_rows(path: Path, *, num_columns: int) -> npt.NDArray[np.uint8]:
    """Return the array `data` of a pickled batch, (N, columns).

    Raises:
        InvalidDataset: the file is damaged, or holds anything else.
    """
    with refuse_damage(path.name):
        num_bytes = path.stat().st_size
        if num_bytes > MAX_BYTES:
            raise ValueError(f"its {num_bytes} bytes are more than {MAX_BYTES}")
        with path.open("rb") as file:
            batch = _BatchUnpickler(_BoundedReader(file, num_bytes)).load()
        if type(batch) is not dict:
            raise ValueError("it holds no dict")
        record = batch.get(b"data", batch.get("data"))  # Python 2 wrote bytes
        if not isinstance(record, _ArrayRecord):
            raise ValueError("its dict has no array 'data'")
        return record.array(num_columns)


class _BoundedReader:
    """A file of which no more is read than there is, and not in too many pieces.

    A pickle may claim any length, and each of its bytes may be an operation that makes an object.
    """

    def __init__(self, file: io.BufferedReader, num_bytes: int) -> None:
        self._file = file
        self._num_bytes = num_bytes
        self._num_reads_left = MAX_READS

    def read(self, num_bytes: int) -> bytes:
        if num_bytes > self._num_bytes - self._file.tell():
            raise EOFError("it claims more bytes than it has")
        self._num_reads_left -= 1
        if self._num_reads_left < 0:
            raise ValueError("it has more operations than a batch of images")
        return self._file.read(num_bytes)

    def readline(self) -> bytes:
        return self._file.readline(MAX_LINE_BYTES)


@dataclass(frozen=True)
class _Global:
    """Stands for a class or function that a pickle may name; it is never called."""

    build: Callable[..., object]


@dataclass
class _DtypeRecord:
    """The name of a dtype; its byte order does not matter for bytes."""

    name: str


@dataclass
class _ArrayRecord:
    """An array before and after its state is known."""

    state: tuple[Any, ...] | None = None

    def array(self, num_columns: int) -> npt.NDArray[np.uint8]:
        match self.state:
            case (1, (int(rows), int(columns)), _DtypeRecord(name="u1" | "uint8"), is_fortran, raw):
                pass
            case _:
                raise ValueError("'data' is not a matrix of bytes")
        if is_fortran or columns != num_columns or rows < 1:
            raise ValueError(f"'data' is not rows of {num_columns} bytes in C order")
        if type(raw) is not bytes or len(raw) != rows * columns:
            raise ValueError(f"'data' claims {rows} rows, which do not take the bytes it has")
        return np.frombuffer(raw, np.uint8).reshape(rows, columns)


def _record_dtype(name: object, *_flags: object) -> _DtypeRecord:
    if isinstance(name, bytes):
        name = name.decode("ascii")
    if type(name) is not str:
        raise ValueError("a dtype has no name")
    return _DtypeRecord(name)


def _encode(text: object, encoding: object) -> bytes:
    if type(text) is not str or encoding != "latin1":  # how Python 3 writes bytes in protocol 2
        raise ValueError("text is encoded in an unknown way")
    return text.encode("latin1")


_RECONSTRUCT = _Global(lambda *_arguments: _ArrayRecord())
_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): _Global(lambda *_arguments: _ArrayRecord()),
    ("numpy", "dtype"): _Global(_record_dtype),
    ("_codecs", "encode"): _Global(_encode),
}


# The pure-Python class: the one in C allocates its memo by the largest index a pickle names.
class _BatchUnpickler(pickle._Unpickler):
    read: Callable[[int], bytes]
    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: _BoundedReader) -> None:
        super().__init__(file, encoding="bytes")

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _GLOBALS:
            raise ValueError(f"it names {module}.{name}, which is not allowed")
        return _GLOBALS[module, name]

    def load_frame(self) -> None:
        self.read(8)  # its length; what it holds follows, and is read like the rest

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Global) or type(arguments) is not tuple:
            raise ValueError("it calls something that is not a class")
        self.stack.append(function.build(*arguments))

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if type(state) is not tuple or not isinstance(target, _ArrayRecord | _DtypeRecord):
            raise ValueError("it gives a state to something that has none")
        if isinstance(target, _ArrayRecord):
            target.state = state

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key], [value])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self._update(items[::2], items[1::2])

    def _update(self, keys: list[Any], values: list[Any]) -> None:
        # Only keys that are quick to hash: a tuple that repeats itself is not.
        if type(self.stack[-1]) is not dict or any(type(key) not in {bytes, str} for key in keys):
            raise ValueError("it sets an item of something that is not a dict of strings")
        self.stack[-1].update(zip(keys, values, strict=True))

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        ord(opcode.code): pickle._Unpickler.dispatch[ord(opcode.code)]
        for opcode in pickletools.opcodes
        if opcode.name in OPCODES
    } | {
        pickle.FRAME[0]: load_frame,
        pickle.REDUCE[0]: load_reduce,
        pickle.BUILD[0]: load_build,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
    }
