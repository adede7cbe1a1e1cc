"""How images of bytes become the model's input."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nvae_core.config import ModelConfig
from nvae_core.data.dataset import Images
from nvae_core.seeding import Stream, seeded_generator


def to_model_input(
    images: Images | Tensor, model: ModelConfig, generator: torch.Generator, *, flip: bool = False
) -> Tensor:
    """Return the model's input for images (B, H, W, C) of bytes, on the generator's device.

    Pixels are binarized for Bernoulli pixels, else reduced to the model's bit depth; then zeros
    are added around them: (B, C, R, R) in [0, 1]. `flip` mirrors every other image, at random.
    Images that are on the device already stay there, and nothing waits for it.
    """
    levels = images if isinstance(images, Tensor) else _to_tensor(images)
    levels = levels.to(generator.device).permute(0, 3, 1, 2)
    if flip:
        levels = flip_at_random(levels, generator)
    if model.image_distribution == "bernoulli":
        pixels = binarize(levels, generator)
    else:
        pixels = reduce_bit_depth(levels, model.bit_depth)
    padded = F.pad(pixels, (model.image_padding,) * 4)
    return padded.contiguous(memory_format=torch.channels_last)


def _to_tensor(images: Images) -> Tensor:
    """Return images as a tensor that shares their memory, unless they are mapped from a file."""
    return torch.from_numpy(images if images.flags.writeable else images.copy())


def to_repeatable_input(
    images: Images, indices: Sequence[int], model: ModelConfig, seed: int
) -> Tensor:
    """Return the model's input for some of the images, on the CPU.

    What an image becomes depends on the seed and its index alone, whatever it is a batch with.
    """
    inputs: list[Tensor] = []
    for index in indices:
        generator = seeded_generator(torch.device("cpu"), Stream.PIXELS, seed, index)
        inputs.append(to_model_input(images[[index]], model, generator))
    return torch.cat(inputs)


def binarize(levels: Tensor, generator: torch.Generator) -> Tensor:
    """Draw each pixel from a Bernoulli of its intensity, level / 255 (dynamic binarization)."""
    uniform = torch.rand(levels.shape, generator=generator, device=generator.device)
    return (uniform < levels / 255.0).float()


def reduce_bit_depth(levels: Tensor, bit_depth: int) -> Tensor:
    """Return the highest bits of each level, k / (2^bits - 1) in [0, 1]."""
    return (levels >> (8 - bit_depth)) / float(2**bit_depth - 1)


def seen_levels(model: ModelConfig) -> Images:
    """Return what each level of a byte is to the model, as a byte, (256,).

    Those of fewer bits have the same range; of Bernoulli pixels the level is the probability.
    """
    levels = reduce_bit_depth(torch.arange(256), model.bit_depth)
    seen: Images = levels.mul(255).round().byte().numpy()
    return seen


def flip_at_random(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image (C, H, W) of a batch left to right, or not, with equal probability."""
    uniform = torch.rand(len(images), generator=generator, device=generator.device)
    return torch.where((uniform < 0.5)[:, None, None, None], images.flip(3), images)
