import struct
from pathlib import Path

import pytest

from nvae_core.training.tensorboard import EventFile, crc32c, encode_record, encode_scalars


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)],
)
def test_checksum_has_the_values_of_rfc_3720(content: bytes, expected: int) -> None:
    assert crc32c(content) == expected


def test_event_is_the_message_of_protocol_buffers() -> None:
    event = encode_scalars({"kl": 0.5}, step=300, at=2.0)
    assert event == (
        b"\x09" + struct.pack("<d", 2.0)  # wall_time
        + b"\x10\xac\x02"  # step, a varint
        + b"\x2a\x0b\x0a\x09"  # summary of 11 bytes, its value of 9
        + b"\x0a\x02kl"  # tag
        + b"\x15" + struct.pack("<f", 0.5)  # simple_value
    )  # fmt: skip


def test_number_beyond_single_precision_is_infinite() -> None:
    assert encode_scalars({"loss": -1e300}, step=0, at=0.0).endswith(
        struct.pack("<f", float("-inf"))
    )


def test_file_is_a_version_and_then_one_record_for_each_step(tmp_path: Path) -> None:
    events = EventFile(tmp_path / "tensorboard", at=1.0)
    events.add_scalars({"kl": 0.5}, step=1, at=2.0)
    (path,) = (tmp_path / "tensorboard").iterdir()
    assert path.name.startswith("events.out.tfevents.")
    version = b"\x09" + struct.pack("<d", 1.0) + b"\x1a\x0dbrain.Event:2"
    scalars = encode_scalars({"kl": 0.5}, step=1, at=2.0)
    assert path.read_bytes() == encode_record(version) + encode_record(scalars)
