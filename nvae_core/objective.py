"""The training objective: weighted negative ELBO plus the penalties on the weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nvae_core.architecture import LatentGroup
from nvae_core.model.passes import Reconstruction


@dataclass(frozen=True)
class Objective:
    """Terms of one batch, in nats, as means over its images; scalars but the last."""

    loss: Tensor
    negative_elbo: Tensor
    reconstruction_loss: Tensor
    kl: Tensor
    weighted_kl: Tensor  # with warm-up and balancing
    kl_per_channel: Tensor  # (G, Z)


@dataclass(frozen=True)
class KLBalancing:
    """Coefficients of the groups' KL terms that keep all groups in use during the warm-up."""

    mode: Literal["multiply", "divide", "off"]
    sizes: Tensor  # (G,)

    def coefficients(self, kl_per_group: Tensor) -> Tensor:
        """Return the coefficients (G,), of mean 1, for the KL divergences (B, G) of a batch."""
        if self.mode == "off":
            return torch.ones_like(kl_per_group[0])
        magnitudes = kl_per_group.detach().abs().mean(dim=0) + 0.01
        sizes = self.sizes.to(magnitudes.device)
        scaled = magnitudes * sizes if self.mode == "multiply" else magnitudes / sizes
        return scaled / scaled.mean()


def balance_kl(
    mode: Literal["multiply", "divide", "off"], groups: Sequence[LatentGroup]
) -> KLBalancing:
    """Return the balancing of a hierarchy.

    `multiply` follows the paper's appendix: by the size of the group. `divide` follows the
    published implementation: by that size over the number of groups in the scale.
    """
    coarsest = groups[0].resolution
    sizes = torch.tensor([float(group.resolution // coarsest) ** 2 for group in groups])
    if mode == "divide":
        sizes = sizes / torch.tensor([float(group.num_groups_in_scale) for group in groups])
        sizes = sizes / sizes.min()
    return KLBalancing(mode, sizes)


def compute_objective(
    reconstruction: Reconstruction,
    x: Tensor,
    *,
    kl_weight: float,
    balancing: KLBalancing,
    weight_penalty: Tensor,
) -> Objective:
    """Return the objective for padded images x of (B, C, R, R) and the penalty, a scalar."""
    reconstruction_loss = -reconstruction.log_prob(x).mean()
    kl_per_channel = reconstruction.kl_per_channel()  # (B, G, Z)
    kl_per_group = kl_per_channel.sum(dim=2)
    kl = kl_per_group.sum(dim=1).mean()
    if kl_weight < 1:
        coefficients = balancing.coefficients(kl_per_group)
        weighted_kl = kl_weight * (coefficients * kl_per_group.mean(dim=0)).sum()
    else:
        weighted_kl = kl
    return Objective(
        loss=reconstruction_loss + weighted_kl + weight_penalty,
        negative_elbo=reconstruction_loss + kl,
        reconstruction_loss=reconstruction_loss,
        kl=kl,
        weighted_kl=weighted_kl,
        kl_per_channel=kl_per_channel.mean(dim=0),
    )
