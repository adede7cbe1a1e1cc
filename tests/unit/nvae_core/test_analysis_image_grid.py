"""Rows of images: each image whole and in its place, labels beside them, in little memory."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from nvae_core.analysis.image_grid import draw_rows

MEASURE = """
import resource, numpy as np
from nvae_core.analysis.image_grid import draw_rows
def peak_bytes(): return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
def draw(size): draw_rows([np.zeros((8, size, size, 3), np.uint8)] * 8, title="T",
                          row_labels=["r"] * 8, column_labels=["c"] * 8)
draw(4)
before = peak_bytes()
draw(256)
print((peak_bytes() - before) / (64 * 256**2))
"""


def opened(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGB"))


def places(picture: np.ndarray, color: int) -> np.ndarray:
    """Return where an image of this colour is: rows of y, x."""
    return np.argwhere((picture == (color, 0, 255)).all(axis=2))


def plain(*colors: int, size: int = 32) -> np.ndarray:
    """Return images (K, size, size, 3), each of one colour that letters do not have."""
    images = np.zeros((len(colors), size, size, 3), np.uint8)
    images[..., 0] = np.array(colors)[:, None, None]
    images[..., 2] = 255
    return images


@pytest.mark.parametrize(("size", "magnification"), [(32, 3), (256, 1)])
def test_each_pixel_of_an_image_is_a_square_of_whole_pixels(size: int, magnification: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    picture = opened(draw_rows([image], title="T", row_labels=["r"], column_labels=["c"]))
    large = image[0].repeat(magnification, 0).repeat(magnification, 1)
    corners = np.argwhere((picture == large[0, 0]).all(axis=2))
    found = [picture[y : y + len(large), x : x + len(large)] for y, x in corners]
    assert any(np.array_equal(part, large) for part in found)


def test_a_picture_takes_few_bytes_for_each_of_its_pixels() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], check=True, capture_output=True, text=True
    )
    assert float(done.stdout) < 25


def test_images_stand_in_their_rows_and_columns_on_white() -> None:
    rows = [plain(10, 20), plain(30, 40)]
    picture = opened(draw_rows(rows, title="T", row_labels=["a", "b"], column_labels=["c", "d"]))
    tops = {color: tuple(places(picture, color)[0]) for color in (10, 20, 30, 40)}
    assert tops[10][0] == tops[20][0] < tops[30][0] == tops[40][0]
    assert tops[10][1] == tops[30][1] < tops[20][1] == tops[40][1]
    assert picture[0, 0].tolist() == picture[-1, -1].tolist() == [255, 255, 255]


def test_labels_stand_beside_their_own_rows() -> None:
    def picture(*labels: str) -> np.ndarray:
        rows = [plain(100), plain(200)]
        return opened(draw_rows(rows, title="T", row_labels=labels, column_labels=[]))

    changed = np.argwhere((picture("one", "two") != picture("one", "six")).any(axis=2))
    second = places(picture("one", "two"), 200)[:, 0]
    assert second.min() < changed[:, 0].min()
    assert changed[:, 0].max() < second.max()


def test_columns_apart_stand_a_little_aside() -> None:
    def gaps(apart: int) -> list[int]:
        rows = [plain(10, 20, 30)]
        picture = opened(draw_rows(rows, title="T", row_labels=[""], column_labels=[], apart=apart))
        lefts = [int(places(picture, color)[0, 1]) for color in (10, 20, 30)]
        return [lefts[1] - lefts[0], lefts[2] - lefts[1]]

    assert gaps(0) == [gaps(0)[0]] * 2
    assert gaps(1)[0] > gaps(1)[1] == gaps(0)[1]


def test_labels_of_narrow_images_do_not_run_into_each_other() -> None:
    rows, label = [plain(10, 20, size=4)], "re-estimated by 10000 draws"
    picture = opened(draw_rows(rows, title="", row_labels=[""], column_labels=[label, label]))
    line = (picture[: places(picture, 10)[0, 0]] < 250).any(axis=(0, 2))
    blank = np.diff(np.flatnonzero(line)).max()  # between two words there are fewer
    assert blank > 10


def test_long_rows_go_on_below() -> None:
    rows = [plain(*range(10, 23)), plain(*range(30, 43))]
    labels = [str(number) for number in range(13)]
    picture = opened(
        draw_rows(rows, title="T", row_labels=["a", "b"], column_labels=labels, max_columns=12)
    )
    y, x = zip(*(places(picture, color)[0] for color in (10, 16, 30, 17, 37)), strict=True)
    assert y[0] == y[1] < y[2] < y[3] < y[4]
    assert x[0] == x[2] == x[3] == x[4] < x[1]


def test_letters_grow_with_large_images() -> None:
    def height_of_title(size: int) -> int:
        picture = opened(
            draw_rows([plain(10, size=size)], title="T", row_labels=[""], column_labels=[])
        )
        ink = np.flatnonzero((picture < 128).any(axis=(1, 2)))
        return int(np.flatnonzero(np.diff(ink) > 1)[0]) + 1

    assert height_of_title(256) > 1.4 * height_of_title(32)
