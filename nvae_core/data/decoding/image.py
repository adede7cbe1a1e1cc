"""How one image file becomes one array of bytes."""

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 64 * 1024 * 1024
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # not those that start other programs
SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bilinear": Image.Resampling.BILINEAR,
}


@dataclass(frozen=True)
class DecodePlan:
    """The size and colours of every image, and how it comes to them."""

    image_size: int
    num_colors: int
    resampling: Literal["lanczos", "bilinear"] = "lanczos"
    crop_box: tuple[int, int, int, int] | None = None  # left, top, right, bottom

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one decoded image: (H, W, C)."""
        return (self.image_size, self.image_size, self.num_colors)


def decode_image(content: bytes, plan: DecodePlan) -> npt.NDArray[np.uint8]:
    """Decode an image file, crop it to its largest square, and resize it: (H, W, C).

    Raises:
        ValueError: it is no image, is too large, or has no pixels of 8 or 16 bits; the decoder
            raises others.
    """
    with _opened(content) as opened:
        # Before the first pixel is decoded: the size is in the header.
        if opened.width * opened.height > MAX_PIXELS:
            raise ValueError(f"{opened.width}x{opened.height} is more than 64 megapixels")
        image = _as_seen(opened).convert("L" if plan.num_colors == 1 else "RGB")
    if plan.crop_box is not None:
        image = _crop(image, plan.crop_box)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.resize(
        (plan.image_size, plan.image_size),
        FILTERS[plan.resampling],
        box=(left, top, left + side, top + side),
    )
    return np.asarray(square, np.uint8).reshape(plan.shape)


def _opened(content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ValueError(f"is not an image in {', '.join(FORMATS)} format") from error


def _as_seen(opened: Image.Image) -> Image.Image:
    """Return the image as a viewer shows it: upright, 8 bits, transparency on white."""
    image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in {"I", "F"}:
        raise ValueError(f"pixels of mode {image.mode} have no fixed range; store 8 or 16 bits")
    if image.mode == "LAB":
        raise ValueError("the LAB colour space is not supported")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image


def _crop(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    left, top, right, bottom = box
    if image.width < right or image.height < bottom:
        raise ValueError(f"{image.width}x{image.height} is smaller than the crop to {box}")
    return image.crop((left, top, right, bottom))
