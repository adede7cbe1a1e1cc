"""Scalars as a TensorBoard event file.

A record is the length of its content (u64), a masked checksum of the length (u32), the content, a
masked checksum of the content; the content is an `Event` message of protocol buffers.
"""

import struct
from collections.abc import Mapping
from pathlib import Path

from nvae_core.run_directory import AppendedFile

CRC32C_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reversed
MASK_DELTA = 0xA282EAD8
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types


class EventFile:
    """One event file; each call appends complete records at once, on a full disk later."""

    def __init__(self, folder: Path, *, at: float) -> None:
        folder.mkdir(exist_ok=True)
        self._file = AppendedFile(folder / f"events.out.tfevents.{at:.0f}.nvae")
        version = _field(3, BYTES) + _sized(b"brain.Event:2")
        self._file.append(encode_record(_field(1, FIXED64) + struct.pack("<d", at) + version))

    def add_scalars(self, values: Mapping[str, float], *, step: int, at: float) -> None:
        """Append the values of one step."""
        self._file.append(encode_record(encode_scalars(values, step=step, at=at)))


def encode_scalars(values: Mapping[str, float], *, step: int, at: float) -> bytes:
    """Return an `Event` with one summary value for each name."""
    summary = b"".join(
        _field(1, BYTES) + _sized(_field(1, BYTES) + _sized(name.encode()) + _simple_value(value))
        for name, value in values.items()
    )
    moment = _field(1, FIXED64) + struct.pack("<d", at) + _field(2, VARINT) + _varint(step)
    return moment + _field(5, BYTES) + _sized(summary)


def encode_record(content: bytes) -> bytes:
    """Return a record with its checksums."""
    length = struct.pack("<Q", len(content))
    return length + _masked_crc(length) + content + _masked_crc(content)


def crc32c(content: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of the content."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = CRC32C_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _masked_crc(content: bytes) -> bytes:
    crc = crc32c(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + MASK_DELTA) & 0xFFFFFFFF)


def _simple_value(value: float) -> bytes:
    try:
        return _field(2, FIXED32) + struct.pack("<f", value)
    except OverflowError:  # finite, but not in single precision
        return _field(2, FIXED32) + struct.pack("<f", float("inf") if value > 0 else float("-inf"))


def _field(number: int, wire_type: int) -> bytes:
    return bytes([number << 3 | wire_type])


def _sized(content: bytes) -> bytes:
    return _varint(len(content)) + content


def _varint(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def _table_entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (CRC32C_POLYNOMIAL if byte & 1 else 0)
    return byte


CRC32C_TABLE = tuple(_table_entry(byte) for byte in range(256))
