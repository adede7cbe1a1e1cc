"""The training objective: weighted negative ELBO (Eq. 2, Appendix A) and penalties on weights."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from nvae_core.architecture import LatentGroup
from nvae_core.model.convolutions import Conv2d
from nvae_core.model.nvae import NVAEOutput
from nvae_core.model.weight_bank import Matrices

ITERATIONS_PER_STEP = 4
FIRST_ITERATIONS = 40


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
        scaled = magnitudes * self.sizes if self.mode == "multiply" else magnitudes / self.sizes
        return scaled / scaled.mean()


def balance_kl(
    mode: Literal["multiply", "divide", "off"],
    groups: Sequence[LatentGroup],
    device: torch.device | None = None,
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
    return KLBalancing(mode, sizes.to(device))


def compute_objective(
    output: NVAEOutput,
    x: Tensor,
    *,
    kl_weight: Tensor,
    balancing: KLBalancing,
    weight_penalty: Tensor,
) -> Objective:
    """Return the objective for padded images x of (B, C, R, R).

    The weight of the KL divergence and the penalty are scalars. Groups are balanced as long as
    the weight is below 1.
    """
    reconstruction_loss = -output.log_prob(x).mean()
    kl_per_channel = output.kl_per_channel()  # (B, G, Z)
    kl_per_group = kl_per_channel.sum(dim=2)
    mean_kl_per_group = kl_per_group.mean(dim=0)
    kl = mean_kl_per_group.sum()
    balanced_kl = kl_weight * (balancing.coefficients(kl_per_group) * mean_kl_per_group).sum()
    weighted_kl = torch.where(kl_weight < 1, balanced_kl, kl)
    return Objective(
        loss=reconstruction_loss + weighted_kl + weight_penalty,
        negative_elbo=reconstruction_loss + kl,
        reconstruction_loss=reconstruction_loss,
        kl=kl,
        weighted_kl=weighted_kl,
        kl_per_channel=kl_per_channel.mean(dim=0),
    )


class SpectralRegularizer(nn.Module):
    """The sum of the largest singular values of the convolutions (Eq. 10), by power iteration.

    The singular vectors are buffers that belong to the training state: those of all matrices of
    one shape in the order of the model's modules.
    """

    def __init__(self, model: nn.Module, generator: torch.Generator) -> None:
        super().__init__()
        self.is_fresh = True  # not a tensor: to read one waits for the GPU
        self._names: dict[tuple[int, int], list[str]] = defaultdict(list)
        for name, module in model.named_modules():
            if isinstance(module, Conv2d):
                rows = module.weight.shape[0]
                self._names[rows, module.weight.numel() // rows].append(name)
        for (rows, columns), names in self._names.items():
            left = torch.randn(len(names), rows, generator=generator)
            right = torch.randn(len(names), columns, generator=generator)
            self.register_buffer(f"left_{rows}x{columns}", _normalize(left))
            self.register_buffer(f"right_{rows}x{columns}", _normalize(right))

    def forward(self, weights: Sequence[Matrices]) -> Tensor:
        """Return the sum of u W v, with gradient through the weights W only; all of the model."""
        num_iterations = FIRST_ITERATIONS if self.is_fresh else ITERATIONS_PER_STEP
        self.is_fresh = False
        by_shape: dict[tuple[int, int], list[Matrices]] = defaultdict(list)
        for part in weights:
            by_shape[part.values.shape[1], part.values.shape[2]].append(part)
        with torch.autocast(weights[0].values.device.type, enabled=False):
            terms = [
                self._sum_of_norms(self._names[shape], parts, num_iterations)
                for shape, parts in by_shape.items()
            ]
            return torch.stack(terms).sum()

    def get_extra_state(self) -> Tensor:
        """Return what belongs to the training state and is no buffer."""
        return torch.tensor(self.is_fresh)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what `get_extra_state` returned."""
        self.is_fresh = bool(state.item())

    def _sum_of_norms(
        self, names: Sequence[str], parts: Sequence[Matrices], num_iterations: int
    ) -> Tensor:
        order = [name for part in parts for name in part.convolutions]
        values = parts[0].values if len(parts) == 1 else torch.cat([p.values for p in parts])
        rows, columns = values.shape[1:]
        left = self.get_buffer(f"left_{rows}x{columns}")
        right = self.get_buffer(f"right_{rows}x{columns}")
        if order != list(names):
            position = {name: index for index, name in enumerate(order)}
            values = torch.stack([values[position[name]] for name in names])
        with torch.no_grad():
            u, v = left, right
            for _ in range(num_iterations):
                v = _normalize(torch.bmm(u[:, None, :], values)[:, 0])
                u = _normalize(torch.bmm(values, v[:, :, None])[:, :, 0])
            left.copy_(u)
            right.copy_(v)
        return (u * torch.bmm(values, v[:, :, None])[:, :, 0]).sum()


def batch_norm_penalty(scales: Sequence[Tensor], like: Tensor) -> Tensor:
    """Return the sum over batch norms of the largest absolute weight, for scales (L, C) each."""
    terms = [scale.abs().amax(dim=1).sum() for scale in scales]
    return torch.stack(terms).sum() if terms else like.new_zeros(())


def _normalize(vectors: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / norms.clamp_min(1e-3)
