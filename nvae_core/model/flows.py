"""Volume-preserving autoregressive flows on the posterior's samples (Appendix A of the paper)."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from nvae_core.architecture import FLOW_EXPANSION
from nvae_core.model.activation_checkpointing import CheckpointedSequential
from nvae_core.model.convolutions import MaskedConv2d

INITIAL_SCALE = 0.1  # b starts small


class AutoregressiveTransform(nn.Module):
    """z' = z + b(z), where b at each latent sees those that precede it: the Jacobian has det 1."""

    def __init__(self, num_latents: int, *, mirrored: bool) -> None:
        super().__init__()
        hidden = FLOW_EXPANSION * num_latents
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
        h = self.depthwise(F.elu(self.expand(z.to(self.expand.weight.dtype))))
        shift: Tensor = self.project(F.elu(F.elu(h)))  # both are intended
        return z + shift.to(z.dtype)


def build_flow(num_latents: int, *, num_transforms: int) -> CheckpointedSequential:
    """Build transforms of alternating raster order; none gives the identity."""
    return CheckpointedSequential(
        *(
            AutoregressiveTransform(num_latents, mirrored=index % 2 == 1)
            for index in range(num_transforms)
        )
    )
