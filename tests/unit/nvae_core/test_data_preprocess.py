from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nvae_core.config import ModelConfig
from nvae_core.data.preprocess import binarize, flip_at_random, reduce_bit_depth, to_model_input

ALL_LEVELS = torch.arange(256, dtype=torch.uint8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_binarization_follows_the_intensities() -> None:
    levels = torch.tensor([0, 51, 255], dtype=torch.uint8).expand(2000, 1, 1, 3)
    pixels = binarize(levels, generator())
    assert pixels.unique().tolist() == [0, 1]
    means = pixels.mean(dim=(0, 1, 2))
    assert means[0] == 0
    assert means[1].item() == pytest.approx(0.2, abs=0.03)
    assert means[2] == 1


@pytest.mark.parametrize("bit_depth", range(1, 9))
def test_reduced_levels_are_the_highest_bits_spread_over_the_unit_interval(bit_depth: int) -> None:
    pixels = reduce_bit_depth(ALL_LEVELS, bit_depth)
    assert len(pixels.unique()) == 2**bit_depth
    width = 2 ** (8 - bit_depth)
    expected = [level // width / (2**bit_depth - 1) for level in range(256)]
    torch.testing.assert_close(pixels, torch.tensor(expected))


def test_input_is_padded_with_zeros() -> None:
    config = ModelConfig(image_size=2, image_padding=1, num_groups_per_scale=(1,))
    x = to_model_input(np.full((1, 2, 2, 1), 255, np.uint8), config, generator())
    assert x.shape == (1, 1, 4, 4)
    assert x.sum() == 4
    assert x[..., 1:3, 1:3].sum() == 4


def test_input_repeats_for_a_seed() -> None:
    config = ModelConfig(image_size=8, num_groups_per_scale=(1,))
    images = np.full((2, 8, 8, 1), 128, np.uint8)
    first, second, other = (to_model_input(images, config, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


class WatchTransfers(TorchDispatchMode):
    """Notes operations that make a tensor on the host, read from a tensor, or move one."""

    def __init__(self) -> None:
        super().__init__()
        self.transfers: list[str] = []

    def __torch_dispatch__(
        self,
        operation: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = operation.overloadpacket.__name__
        moves = name == "_to_copy" and kwargs.get("device") is not None
        if moves or name in {"_local_scalar_dense", "lift_fresh", "copy_", "nonzero"}:
            self.transfers.append(name)
        return operation(*args, **kwargs)


@pytest.mark.parametrize("distribution", ["bernoulli", "logistic_mixture"])
def test_images_on_the_device_stay_there_and_are_not_waited_for(distribution: str) -> None:
    num_colors = 1 if distribution == "bernoulli" else 3
    config = ModelConfig.model_validate(
        {
            "image_size": 8,
            "image_padding": 4,
            "num_colors": num_colors,
            "image_distribution": distribution,
            "num_groups_per_scale": (1,),
        }
    )
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, num_colors), np.uint8)
    resident = torch.from_numpy(images.copy())
    generators = generator(3), generator(3)
    with WatchTransfers() as watch:
        x = to_model_input(resident, config, generators[0], flip=True)
    assert watch.transfers == []
    images.flags.writeable = False  # as those of a mapped file
    assert torch.equal(x, to_model_input(images, config, generators[1], flip=True))


def test_colour_images_are_not_binarized() -> None:
    config = ModelConfig(
        image_size=2,
        num_colors=3,
        image_distribution="logistic_mixture",
        num_groups_per_scale=(1,),
    )
    images = np.full((1, 2, 2, 3), 51, np.uint8)
    x = to_model_input(images, config, generator())
    torch.testing.assert_close(x, torch.full((1, 3, 2, 2), 0.2))


def test_half_of_the_images_are_mirrored() -> None:
    images = torch.arange(2.0).expand(1000, 1, 1, 2)
    flipped = flip_at_random(images, generator())
    is_flipped = flipped[:, 0, 0, 0] == 1
    assert torch.equal(flipped[is_flipped], images[is_flipped].flip(3))
    assert torch.equal(flipped[~is_flipped], images[~is_flipped])
    assert is_flipped.float().mean().item() == pytest.approx(0.5, abs=0.05)
