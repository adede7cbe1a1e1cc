"""Terms of the objective: penalties on the weights (B) and KL balancing (C)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from nvae_core.importing.names import convolutions_in_published_order
from nvae_core.model.convolutions import Conv2d
from nvae_core.model.nvae import NVAE
from nvae_core.model.regularization import (
    SpectralRegularizer,
    as_matrix,
    batch_norm_penalty,
    convolutions_of,
)
from nvae_core.objective import balance_kl
from nvae_core.training.state import TrainingState
from nvae_core.verification.comparison import Comparison, compare_each, exactly
from nvae_core.verification.fixture import Fixture

Shape = tuple[int, int]


@torch.no_grad()
def compare_penalties(fixture: Fixture, state: TrainingState) -> Iterator[Comparison]:
    """B: the spectral regularization after 4, 8 and 40 iterations, and the batch-norm penalty."""
    model, convolutions = state.model, convolutions_of(state.model)
    in_order = _by_shape(convolutions_in_published_order(model))
    shapes = [(*shape, len(layers)) for shape, layers in in_order.items()]
    yield exactly("sr_shapes", torch.tensor(shapes), fixture.tensor("sr_shapes"))
    exact = torch.tensor([_sum_of_norms(layers) for layers in in_order.values()])
    yield compare_each("sr_exact_by_shape", exact, fixture.tensor("sr_exact_by_shape"))
    yield compare_each("sr_exact_total", exact.sum(), fixture.tensor("sr_exact_total"))
    load_singular_vectors(fixture, state.spectral, model, is_fresh=False)
    for name in ("sr_loss_4iter", "sr_loss_8iter"):
        yield compare_each(name, state.spectral(convolutions), fixture.tensor(name))
    load_singular_vectors(fixture, state.spectral, model, is_fresh=True)
    name = "sr_loss_40iter"
    yield compare_each(name, state.spectral(convolutions), fixture.tensor(name))
    yield compare_each("bn_loss", batch_norm_penalty(model), fixture.tensor("bn_loss"))


def compare_balancing(fixture: Fixture, model: NVAE) -> Iterator[Comparison]:
    """C: the published rule of KL balancing, on the divergences `kl_all`."""
    kl = fixture.tensor("kl_all")
    balancing = balance_kl("divide", model.hierarchy.groups)
    yield compare_each("alpha", balancing.sizes, fixture.tensor("alpha"))
    for index, beta in enumerate(fixture.tensor("kl_coeff_values").tolist()):
        gamma = balancing.coefficients(kl) if beta < 1 else torch.ones_like(kl[0])
        yield compare_each("kl_gamma", gamma, fixture.tensor("kl_gamma")[index])
        balanced = beta * (gamma * kl).sum(dim=1)
        yield compare_each("balanced_kl", balanced, fixture.tensor("balanced_kl")[index])


def load_singular_vectors(
    fixture: Fixture, spectral: SpectralRegularizer, model: NVAE, *, is_fresh: bool
) -> None:
    """Start the power iteration from the reference's vectors, which are in its order of layers."""
    ours = _by_shape(convolutions_of(model))
    for (rows, columns), layers in _by_shape(convolutions_in_published_order(model)).items():
        theirs = {id(layer): index for index, layer in enumerate(layers)}
        order = [theirs[id(layer)] for layer in ours[rows, columns]]
        left = fixture.tensor(f"sr_u0_{rows}x{columns}")[order]
        right = fixture.tensor(f"sr_v0_{rows}x{columns}")[order]
        # Its columns are in the order of (Cin, k, k).
        reordered = [
            as_matrix(vector.view(1, *layer.weight.shape[1:]))[0]
            for vector, layer in zip(right, ours[rows, columns], strict=True)
        ]
        spectral.get_buffer(f"left_{rows}x{columns}").copy_(left)
        spectral.get_buffer(f"right_{rows}x{columns}").copy_(torch.stack(reordered))
    spectral.is_fresh = is_fresh


def _by_shape(convolutions: list[Conv2d]) -> dict[Shape, list[Conv2d]]:
    groups: dict[Shape, list[Conv2d]] = {}
    for convolution in convolutions:
        rows = convolution.weight.shape[0]
        groups.setdefault((rows, convolution.weight.numel() // rows), []).append(convolution)
    return groups


def _sum_of_norms(convolutions: list[Conv2d]) -> float:
    matrices: list[Tensor] = [layer.effective_weight().flatten(1) for layer in convolutions]
    return float(torch.linalg.matrix_norm(torch.stack(matrices).double(), ord=2).sum())
