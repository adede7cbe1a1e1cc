from pathlib import Path

import numpy as np
import pytest

from nvae_core.config import ModelConfig
from nvae_core.data.dataset import check_fits, read_manifest
from nvae_core.data.errors import InvalidDataset
from nvae_core.data.order import order_for_training


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_data_order_does_not_depend_on_the_world_size(world_size: int) -> None:
    order = order_for_training(20, batch_size=8 // world_size, world_size=world_size, seed=5)
    single = order_for_training(20, batch_size=8, world_size=1, seed=5)
    for step in range(6):
        parts = [order.batch(step, rank=r, world_size=world_size) for r in range(world_size)]
        assert np.array_equal(np.concatenate(parts), single.batch(step, rank=0, world_size=1))


def test_each_image_is_seen_once_per_epoch() -> None:
    order = order_for_training(24, batch_size=8, world_size=1, seed=0)
    epochs = [
        np.concatenate([order.global_batch(step) for step in range(first, first + 3)])
        for first in (0, 3)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(24))
    assert not np.array_equal(epochs[0], epochs[1])


def test_too_few_images_are_refused_by_name_of_the_field() -> None:
    with pytest.raises(
        InvalidDataset, match=r"optimization\.batch_size: .* 30 together, .* has 29"
    ):
        order_for_training(29, batch_size=15, world_size=2, seed=0)


def test_images_of_another_size_are_refused(dataset: Path, model_config: ModelConfig) -> None:
    manifest = read_manifest(dataset)
    check_fits(manifest, model_config)
    larger = model_config.model_copy(update={"image_size": 28})
    with pytest.raises(InvalidDataset, match=r"12x12 pixels, but model\.image_size is 28"):
        check_fits(manifest, larger)
    coloured = manifest.model_copy(update={"num_colors": 3})
    with pytest.raises(InvalidDataset, match="3 colour channels"):
        check_fits(coloured, model_config)
