from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nvae_core.model.nvae import NVAE
from nvae_core.sampling import arrange_grid, draw_images, re_estimate_batch_norm, save_grid
from nvae_core.sampling.pixels import SEPARATOR_COLOR


def draw(model: NVAE, *, seed: int = 0, temperature: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return draw_images(model, 3, temperature=temperature, generator=generator)


def test_samples_depend_on_the_seed_and_the_temperature_alone(model: NVAE) -> None:
    model.eval()
    first = draw(model)
    assert first.shape == (3, 1, 12, 12)
    assert torch.equal(first, draw(model))
    assert not torch.equal(first, draw(model, seed=1))
    assert not torch.equal(first, draw(model, temperature=0.5))


def test_more_images_than_one_batch_can_be_drawn(model: NVAE) -> None:
    images = draw_images(model.eval(), 70, temperature=1.0, generator=torch.Generator())
    assert images.shape == (70, 1, 12, 12)


def test_re_estimation_moves_the_decoders_statistics_only(model: NVAE) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.eval()
    re_estimate_batch_norm(
        model.decoder, temperature=0.7, generator=torch.Generator().manual_seed(0), num_draws=2
    )
    assert not model.training
    moved = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert moved
    assert all(name.startswith("decoder.") and ".running_" in name for name in moved)


def test_grid_is_the_squarest_with_two_light_pixels_between() -> None:
    images = np.zeros((5, 3, 4, 1), np.uint8)
    images[4] = 255
    grid = arrange_grid(images)
    assert grid.shape == (2 * 5 + 2, 3 * 6 + 2, 1)
    assert (grid[2:5, 2:6] == 0).all()
    assert (grid[7:10, 8:12] == 255).all()
    assert (grid[:2] == SEPARATOR_COLOR).all()
    assert (grid[5:7] == SEPARATOR_COLOR).all()


def test_grid_is_saved_as_png(tmp_path: Path) -> None:
    save_grid(tmp_path / "samples" / "grid.png", torch.rand(4, 1, 8, 8))
    with Image.open(tmp_path / "samples" / "grid.png") as image:
        assert image.size == (22, 22)
        assert image.mode == "L"
