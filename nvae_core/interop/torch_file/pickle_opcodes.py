"""The part of the pickle language that a checkpoint needs."""

import io
import pickletools

from nvae_core.interop.torch_file.refusal import Refusal

PROTOCOL = 2  # the only one that torch.save uses unless told otherwise
MAX_OPCODES = 2_000_000
FRAME = {"PROTO", "STOP", "MARK", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"}
SCALARS = {"NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
STRINGS = {"BINUNICODE"}
TUPLES = {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
LISTS = {"EMPTY_LIST", "APPEND", "APPENDS"}
DICTS = {"EMPTY_DICT", "SETITEM", "SETITEMS"}
OBJECTS = {"GLOBAL", "REDUCE", "NEWOBJ", "BUILD", "BINPERSID"}
OPCODES = frozenset().union(FRAME, SCALARS, STRINGS, TUPLES, LISTS, DICTS, OBJECTS)


def check_opcodes(stream: io.BytesIO) -> None:
    """Read over one pickle and leave the stream behind it.

    Raises:
        Refusal: it has an opcode that is not allowed, another protocol, or too many opcodes.
        ValueError: it is damaged or cut off.
    """
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if opcode.name not in OPCODES:
            raise Refusal(f"the pickle opcode {opcode.name} is not allowed")
        is_header = opcode.name == "PROTO"
        if is_header != (count == 0) or (is_header and argument != PROTOCOL):
            raise Refusal(f"the pickle is not of protocol {PROTOCOL}")
        if count >= MAX_OPCODES:
            raise Refusal(f"the pickle has more than {MAX_OPCODES} opcodes")
