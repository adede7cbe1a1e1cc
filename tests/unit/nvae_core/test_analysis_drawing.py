"""Pictures: every pixel is there, and equal figures are equal bytes."""

import io
import math

import matplotlib
import numpy as np
from PIL import Image

from nvae_core.analysis.drawing.curves import Line, draw_curves
from nvae_core.analysis.drawing.distances import draw_nearest_images
from nvae_core.analysis.drawing.figures import render
from nvae_core.analysis.drawing.image_tables import ImageTable, draw_image_table


def table_of(images: np.ndarray, **fields: object) -> ImageTable:
    given = {"title": "T", "subtitle": "S", "rows": [list(images)], "row_labels": [""]} | fields
    return ImageTable(**given)  # type: ignore[arg-type]


def pixels_of(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def contains(picture: np.ndarray, part: np.ndarray) -> bool:
    windows = np.lib.stride_tricks.sliding_window_view(picture[:, :, 0], part.shape[:2])
    return bool((windows == part[:, :, 0]).all(axis=(2, 3)).any())


def test_each_pixel_of_an_image_is_a_square_of_whole_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 20, 20, 3), np.uint8)
    picture = pixels_of(render(draw_image_table, table_of(image)))
    large = image[0].repeat(4, axis=0).repeat(4, axis=1)  # 88 / 20
    assert contains(picture, large)


def test_large_images_keep_their_size() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 1), np.uint8)
    assert contains(pixels_of(render(draw_image_table, table_of(image))), image[0])


def test_equal_pictures_are_equal_bytes_whatever_the_settings_of_the_process_are() -> None:
    lines = {"loss": [Line((1, 2, 3), (1.0, math.nan, 1000.0))], "kl": [Line((5,), (-1.0,))]}
    first = render(draw_curves, "Training", lines, ["a"])
    with matplotlib.rc_context({"font.size": 20}):
        assert render(draw_curves, "Training", lines, ["a"]) == first
        assert matplotlib.rcParams["font.size"] == 20
    with Image.open(io.BytesIO(first)) as image:
        assert "Software" not in image.info
        assert image.size[0] == 960


def test_distances_are_drawn_below_only_where_there_are_held_out_images() -> None:
    table = table_of(np.zeros((3, 28, 28, 1), np.uint8), wide_gaps=(1,))
    with_them = render(draw_nearest_images, table, [0.1], [0.2, 0.3], held_out_name="test")
    without = render(draw_nearest_images, table, [0.1], [], held_out_name="test")
    assert pixels_of(with_them).shape[0] == pixels_of(without).shape[0] + 230
    assert (pixels_of(with_them)[-230:] < 255).any()
