"""A decoding process that some images kill, and some hold up: in place of the real one."""

import os
import time

import numpy as np
import numpy.typing as npt

from nvae_core.data.decoding import worker
from nvae_core.data.decoding.image import DecodePlan, decode_image

DEADLY, ENDLESS = 66, 77  # the first pixel of such an image


def decode_fragile_image(content: bytes, plan: DecodePlan) -> npt.NDArray[np.uint8]:
    image = decode_image(content, plan)
    if image[0, 0, 0] == DEADLY:
        os._exit(139)
    if image[0, 0, 0] == ENDLESS:
        time.sleep(600)
    return image


if __name__ == "__main__":
    worker.decode_image = decode_fragile_image
    worker.main()
