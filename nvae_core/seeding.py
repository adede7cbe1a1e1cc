"""Random numbers from explicit seeds: no function of this package uses a global generator."""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor


class Stream(IntEnum):
    """What random numbers are for, so that equal seeds give unrelated streams."""

    PARAMETERS = 0
    SINGULAR_VECTORS = 1
    DATA_ORDER = 2
    PIXELS = 3
    LATENTS = 4
    SPLIT = 5
    BATCH_NORM = 6
    VALIDATION = 7


def derive_seed(stream: Stream, *key: int) -> int:
    """Return 63 well-mixed bits of a stream and a key such as (seed, rank, step).

    Keys of different lengths, and of seeds beyond 32 bits, are unrelated as well.
    """
    words = [word for number in key for word in divmod(number, 2**32)]
    entropy = (int(stream), len(key), *words)
    if stream == Stream.SPLIT:
        entropy = (int(stream), *key)  # as ever: a source that is prepared again is split alike
    state = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def seeded_generator(device: torch.device, stream: Stream, *key: int) -> torch.Generator:
    """Return a generator on the device, seeded by the stream and the key."""
    return torch.Generator(device).manual_seed(derive_seed(stream, *key))


Noise = Sequence[Tensor] | torch.Generator


def take_noise(noise: Noise, shapes: Sequence[tuple[int, ...]]) -> Sequence[Tensor]:
    """Return the noise that is given, or draw it.

    Raises:
        ValueError: noise that is given has other shapes.
    """
    if isinstance(noise, torch.Generator):
        return draw_noise(shapes, noise)
    given = [tuple(tensor.shape) for tensor in noise]
    if given != [tuple(shape) for shape in shapes]:
        raise ValueError(f"the noise has the shapes {given}, not {list(shapes)}")
    return noise


def draw_noise(shapes: Sequence[tuple[int, ...]], generator: torch.Generator) -> tuple[Tensor, ...]:
    """Draw standard normal noise of these shapes, in this order."""
    return tuple(
        torch.randn(shape, generator=generator, device=generator.device) for shape in shapes
    )
