"""How much images differ from each other."""

from torch import Tensor


def pixel_spread(images: Tensor) -> float:
    """Return the standard deviation over images (N, C, H, W), as the mean over all pixels."""
    return images.double().std(dim=0, correction=0).mean().item()
