"""Reconstructions and interpolations of a small model."""

import torch

from nvae_core.analysis.posteriors import interpolate, mix, reconstruct
from nvae_core.model.nvae import NVAE


def test_ends_of_an_interpolation_are_the_reconstructions(
    model: NVAE, padded_images: torch.Tensor
) -> None:
    x = padded_images[:2]
    way = interpolate(model.eval(), x, 4)
    ends = reconstruct(model, x, None).image.mean()
    assert way.shape == (4, 1, 12, 12)
    torch.testing.assert_close(way[[0, -1]], ends, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(way[1], way[2])


def test_way_back_is_the_way_in_reverse(model: NVAE, padded_images: torch.Tensor) -> None:
    x = padded_images[:2]
    there, back = interpolate(model.eval(), x, 5), interpolate(model, x.flip(0), 5)
    torch.testing.assert_close(there, back.flip(0), rtol=1e-4, atol=1e-5)


def test_latents_are_mixed_linearly() -> None:
    ends = torch.tensor([[[1.0, 2.0]], [[3.0, -2.0]]])
    mixed = mix(ends, torch.tensor([0.0, 0.25, 1.0]))
    assert mixed.tolist() == [[[1.0, 2.0]], [[1.5, 1.0]], [[3.0, -2.0]]]


def test_means_are_not_drawn_and_samples_are(model: NVAE, padded_images: torch.Tensor) -> None:
    def draw(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return reconstruct(model, padded_images, generator).groups[0].z

    model.eval()
    first = reconstruct(model, padded_images, None).groups[0]
    assert torch.equal(first.z, first.posterior.mean)
    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
