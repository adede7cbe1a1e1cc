from typing import Literal

import pytest
import torch
from torch import nn

from nvae_core.architecture import build_hierarchy
from nvae_core.config import ModelConfig
from nvae_core.losses import (
    SpectralRegularizer,
    balance_kl,
    batch_norm_penalty,
    compute_objective,
)
from nvae_core.model.batch_norm import BatchNorm
from nvae_core.model.convolutions import Conv2d, WeightNormConv2d
from nvae_core.model.nvae import NVAE
from nvae_core.model.weight_bank import Matrices, WeightBank
from nvae_core.seeding import draw_noise

GROUPS = build_hierarchy(ModelConfig(image_size=32, num_groups_per_scale=(1, 2))).groups
KL = torch.tensor([[0.99, -1.99, 3.99], [-0.99, 1.99, 3.99]])  # estimates can be negative


def test_multiplied_balancing_is_proportional_to_kl_and_size() -> None:
    expected = torch.tensor([1.0, 8.0, 16.0]) / (25 / 3)
    torch.testing.assert_close(balance_kl("multiply", GROUPS).coefficients(KL), expected)


def test_divided_balancing_is_proportional_to_kl_over_size_per_group() -> None:
    # Sizes 1 and 4, over 1 and 2 groups of the scale.
    expected = torch.tensor([1.0, 1.0, 2.0]) / (4 / 3)
    torch.testing.assert_close(balance_kl("divide", GROUPS).coefficients(KL), expected)


def test_balancing_that_is_off_leaves_the_kl_as_it_is() -> None:
    assert torch.equal(balance_kl("off", GROUPS).coefficients(KL), torch.ones(3))


def test_no_gradient_passes_through_the_coefficients() -> None:
    kl = KL.clone().requires_grad_()
    assert not balance_kl("multiply", GROUPS).coefficients(kl).requires_grad


@pytest.mark.parametrize("kl_weight", [0.25, 1.0])
def test_loss_is_the_weighted_sum_of_its_terms(
    model: NVAE, padded_images: torch.Tensor, kl_weight: float
) -> None:
    noise = draw_noise(model.noise_shapes(4), torch.Generator().manual_seed(0))
    reconstruction = model(padded_images, noise)
    balancing = balance_kl("multiply", model.hierarchy.groups)
    objective = compute_objective(
        reconstruction,
        padded_images,
        kl_weight=torch.tensor(kl_weight),
        balancing=balancing,
        weight_penalty=torch.tensor(7.0),
    )
    kl = reconstruction.kl_per_channel().sum(dim=2)
    # Once the warm-up is over, the bound itself is optimized: no balancing.
    coefficients = balancing.coefficients(kl) if kl_weight < 1 else torch.ones(3)
    weighted = (coefficients * kl.mean(dim=0)).sum()
    expected = objective.reconstruction_loss + kl_weight * weighted + 7
    torch.testing.assert_close(objective.loss, expected)
    torch.testing.assert_close(
        objective.negative_elbo, objective.reconstruction_loss + objective.kl
    )


@pytest.mark.parametrize("mode", ["multiply", "divide", "off"])
def test_mean_of_the_coefficients_is_1(mode: Literal["multiply", "divide", "off"]) -> None:
    assert balance_kl(mode, GROUPS).coefficients(KL).mean().item() == pytest.approx(1)


def layers() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            WeightNormConv2d(3, 6, 3),
            WeightNormConv2d(3, 6, 3),
            Conv2d(6, 6, 5, groups=6, bias=False),
            Conv2d(6, 2, 1, bias=False),
        )


def regularizer(model: nn.Module, seed: int = 0) -> SpectralRegularizer:
    return SpectralRegularizer(model, torch.Generator().manual_seed(seed))


def regularize(spectral: SpectralRegularizer, model: nn.Module) -> torch.Tensor:
    """Return the term as a training step computes it."""
    with WeightBank(model).applied() as weights:
        return spectral(weights.matrices)


def singular_values(model: nn.Sequential) -> torch.Tensor:
    matrices = [layer.effective_weight().flatten(1) for layer in model]
    return torch.stack([torch.linalg.matrix_norm(matrix, 2) for matrix in matrices])


def test_term_converges_to_the_largest_singular_values() -> None:
    model = layers()
    spectral = regularizer(model)
    for _ in range(50):
        term = regularize(spectral, model)
    torch.testing.assert_close(term, singular_values(model).sum(), rtol=1e-4, atol=0)


def test_gradient_is_the_outer_product_of_the_singular_vectors() -> None:
    convolution = Conv2d(4, 3, 1, bias=False)
    spectral = regularizer(convolution)
    bank = WeightBank(convolution)
    for _ in range(51):
        bank.flat.grad = None
        with bank.applied() as weights:
            spectral(weights.matrices).backward()
    u, _, v = torch.linalg.svd(convolution.weight.detach().flatten(1))
    assert bank.flat.grad is not None
    gradient = bank.views(bank.flat.grad)["weight"]
    torch.testing.assert_close(
        gradient.flatten(1), torch.outer(u[:, 0], v[0]), rtol=1e-3, atol=1e-4
    )


def test_first_use_iterates_longer() -> None:
    model = layers()
    spectral = regularizer(model)
    first = regularize(spectral, model)
    torch.testing.assert_close(first, singular_values(model).sum(), rtol=1e-2, atol=0)
    assert not spectral.is_fresh


def test_vectors_continue_from_a_saved_state() -> None:
    model = layers()
    spectral, resumed = regularizer(model), regularizer(model, seed=1)
    regularize(spectral, model)
    resumed.load_state_dict(spectral.state_dict())
    assert torch.equal(regularize(resumed, model), regularize(spectral, model))


def test_saved_state_says_whether_it_was_used() -> None:
    fresh, used, resumed = (regularizer(layers(), seed) for seed in range(3))
    regularize(used, layers())
    resumed.load_state_dict(used.state_dict())
    assert not resumed.is_fresh
    resumed.load_state_dict(fresh.state_dict())
    assert resumed.is_fresh


def test_vectors_belong_to_names_whatever_the_order_of_the_weights() -> None:
    model = layers()
    spectral, turned = regularizer(model), regularizer(model)
    with WeightBank(model).applied() as weights:
        expected = spectral(weights.matrices)
        parts = [
            Matrices(part.convolutions[::-1], part.values.flip(0))
            for part in reversed(weights.matrices)
        ]
        torch.testing.assert_close(turned(parts), expected)
    torch.testing.assert_close(turned.state_dict(), spectral.state_dict())


def test_batch_norm_penalty_sums_the_largest_weights() -> None:
    model = nn.Sequential(BatchNorm(3), BatchNorm(3), BatchNorm(2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -4.0, 2.0]))
        model[2].weight.copy_(torch.tensor([0.5, 0.25]))
    with WeightBank(model).applied() as weights:
        penalty = batch_norm_penalty(weights.norm_scales, torch.zeros(()))
    assert penalty.item() == 4 + 1 + 0.5


def test_model_without_batch_norms_has_no_penalty_on_them() -> None:
    with WeightBank(layers()).applied() as weights:
        assert batch_norm_penalty(weights.norm_scales, torch.zeros(())).item() == 0


def test_sum_of_norms_is_taken_in_single_precision() -> None:
    model = nn.Sequential(Conv2d(8, 8, 3))
    spectral, again = regularizer(model), regularizer(model)
    expected = regularize(spectral, model)
    with (
        WeightBank(model).applied(torch.bfloat16) as weights,
        torch.autocast("cpu", dtype=torch.bfloat16),
    ):
        assert torch.equal(again(weights.matrices), expected)
