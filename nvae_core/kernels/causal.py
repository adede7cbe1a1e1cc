"""What a causal 3x3 convolution sees, gathered by a kernel of ours.

The rest of the nine pixels is masked: a product of matrices without it takes half of the time.
"""

import torch
from torch import Tensor

from nvae_core.kernels.library import library

NUM_SEEN = 5  # of the nine pixels


def gather(z: Tensor, *, is_mirrored: bool) -> Tensor:
    """Return for each pixel of z (B, H, W, Z), contiguous, the pixels seen: (B, H, W, 5 Z)."""
    rows = torch.empty(*z.shape[:3], NUM_SEEN * z.shape[3])
    library().gather_causal(z.data_ptr(), rows.data_ptr(), *z.shape, is_mirrored)
    return rows


def seen_weight(weight: Tensor, *, is_mirrored: bool) -> Tensor:
    """Return what of a masked weight (Cout, Z, 3, 3) applies to those pixels: (Cout, 5 Z, 1, 1)."""
    by_pixel = weight.permute(0, 2, 3, 1).flatten(1, 2)  # (Cout, 9, Z), row by row
    seen = by_pixel[:, -NUM_SEEN:] if is_mirrored else by_pixel[:, :NUM_SEEN]
    return seen.flatten(1)[:, :, None, None]
