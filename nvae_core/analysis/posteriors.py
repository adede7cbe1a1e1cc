"""Images through the posterior and back, and ways between two of them."""

import torch
from torch import Tensor

from nvae_core.model.convolutions import hold_weights
from nvae_core.model.noise import Noise
from nvae_core.model.nvae import NVAE
from nvae_core.model.passes import Reconstruction


@torch.no_grad()
def reconstruct(model: NVAE, x: Tensor, noise: Noise | None) -> Reconstruction:
    """Return the reconstruction of padded images (B, C, R, R), by posterior means or a sample.

    Args:
        model: in evaluation mode.
        x: in [0, 1].
        noise: of the sample; None for the mean of each group, given the means above it.
    """
    with hold_weights(model):
        if noise is None:
            noise = [x.new_zeros(shape) for shape in model.noise_shapes(len(x))]
        reconstruction: Reconstruction = model(x, noise)
        return reconstruction


@torch.no_grad()
def interpolate(model: NVAE, x: Tensor, num_steps: int) -> Tensor:
    """Return mean images (T, C, H, W) on the way between two padded images (2, C, R, R).

    The latents of each group are mixed linearly, from the posterior means of the first image to
    those of the second; the states of the decoder are computed anew from the mixed latents above.
    So both ends are the images' reconstructions by means.
    """
    ends = reconstruct(model, x, None).groups
    shares = torch.linspace(0.0, 1.0, num_steps, device=x.device)
    mixed = [mix(group.z, shares) for group in ends]
    with hold_weights(model):
        sample = model.generate(mixed, batch_size=num_steps, fixed=dict(enumerate(mixed)))
        return sample.image.mean()


def mix(ends: Tensor, shares: Tensor) -> Tensor:
    """Return (1 - t) a + t b for ends (2, ...) and each share t of (T,): (T, ...)."""
    share = shares.view(-1, *[1] * (ends.dim() - 1))
    return (1.0 - share) * ends[:1] + share * ends[1:]
