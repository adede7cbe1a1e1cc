import pytest
import torch

from nvae_core.architecture import build_hierarchy
from nvae_core.config import ModelConfig
from nvae_core.losses import balance_kl, compute_objective
from nvae_core.model.nvae import NVAE
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
        kl_weight=kl_weight,
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
