"""Image files are decoded in order by processes that a file may kill or hold up."""

import itertools
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from fragile_decoder import DEADLY, ENDLESS
from image_sources import png_bytes

from nvae_core.data.decoding import pool
from nvae_core.data.decoding.image import DecodePlan, decode_image
from nvae_core.data.decoding.pool import Decoder, DecoderDoesNotStart, decode_in_order

PLAN = DecodePlan(image_size=8, num_colors=1)


def write_images(folder: Path, colors: list[int]) -> list[str]:
    names = [f"{number:04}.png" for number in range(len(colors))]
    for name, color in zip(names, colors, strict=True):
        (folder / name).write_bytes(png_bytes(np.full((8, 8), color, np.uint8)))
    return names


def decode_all(folder: Path, names: list[str], num_processes: int) -> list[int | str]:
    """Return the first pixel of each image, or its problem."""
    batches = decode_in_order(folder, names, PLAN, num_processes=num_processes)
    return [
        decoded if isinstance(decoded, str) else int(decoded[0, 0, 0])
        for _, decoded in itertools.chain.from_iterable(batches)
    ]


@pytest.mark.parametrize("num_processes", [1, 2, 3])
def test_order_does_not_depend_on_the_number_of_processes(
    tmp_path: Path, num_processes: int
) -> None:
    colors = [number % 251 for number in range(500)]
    names = write_images(tmp_path, colors)
    assert decode_all(tmp_path, names, num_processes) == colors


@pytest.fixture
def _fragile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "PROGRAM", "fragile_decoder")
    monkeypatch.setattr(pool, "TIMEOUT_SECONDS", 2.0)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.mark.usefixtures("_fragile")
def test_only_the_file_that_kills_its_decoder_or_holds_it_up_is_unreadable(tmp_path: Path) -> None:
    colors = [1, 2, DEADLY, 3, *range(4, 64), 5, 6, ENDLESS, 7]
    names = write_images(tmp_path, colors)
    expected: list[int | str] = [*colors]
    expected[2] = "the decoder died at this file"
    expected[-2] = "the decoder took too long at this file"
    assert decode_all(tmp_path, names, 1) == expected


def test_killed_decoder_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    names = write_images(tmp_path, [1, 2, 3, 4])
    decoder = Decoder(tmp_path, PLAN)
    try:
        decoder.ask(names[:2])
        decoder.ask(names[2:])
        first = decoder.receive()
        os.kill(decoder._process.pid, signal.SIGKILL)
        decoder._process.wait()
        images = [*first, *decoder.receive()]
    finally:
        decoder.close()
    assert [int(image[0, 0, 0]) for image in images if not isinstance(image, str)] == [1, 2, 3, 4]


def test_decoder_that_cannot_start_is_not_blamed_on_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "PROGRAM", "no.such.module")
    names = write_images(tmp_path, [1])
    with pytest.raises(DecoderDoesNotStart):
        decode_all(tmp_path, names, 1)


def test_postscript_is_not_an_image_whatever_its_name() -> None:
    with pytest.raises(ValueError, match="is not an image in BMP, GIF"):
        decode_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n", PLAN)
