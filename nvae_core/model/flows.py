"""Volume-preserving autoregressive flows on the posterior's samples (Appendix A of the paper)."""

import math

from torch import Tensor, nn

from nvae_core.model.activated_depthwise import convolve_activated
from nvae_core.model.convolutions import MaskedConv2d
from nvae_core.model.recomputation import RecomputedSequential

EXPANSION = 6
INITIAL_SCALE = 0.1  # b starts small


class AutoregressiveTransform(nn.Module):
    """z' = z + b(z), where b at each latent sees those that precede it: the Jacobian has det 1."""

    def __init__(self, num_latents: int, *, mirrored: bool) -> None:
        super().__init__()
        hidden = EXPANSION * num_latents
        self.expand = MaskedConv2d(
            num_latents, hidden, 3, strict=True, mirrored=mirrored, bias=False
        )
        self.depthwise = MaskedConv2d(
            hidden, hidden, 5, strict=False, mirrored=mirrored, groups=hidden, bias=False
        )
        self.project = MaskedConv2d(hidden, num_latents, 1, strict=False, mirrored=mirrored)
        self.project.log_weight_norm.data += math.log(INITIAL_SCALE)

    def forward(self, z: Tensor) -> Tensor:
        """Transform z of (B, Z, H, W)."""
        h = self.expand(z.to(self.expand.weight.dtype))
        shift: Tensor = self.project(convolve_activated(h, self.depthwise.effective_weight()))
        return z + shift.to(z.dtype)


def build_flow(num_latents: int, *, num_transforms: int) -> RecomputedSequential:
    """Build transforms of alternating raster order; none gives the identity."""
    return RecomputedSequential(
        *(
            AutoregressiveTransform(num_latents, mirrored=index % 2 == 1)
            for index in range(num_transforms)
        )
    )
