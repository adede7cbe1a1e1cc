import math

import pytest
import torch

from nvae_core.model.distributions import Normal, kl_divergence, soft_clamp


def scalar(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def raw(mean: float, log_sigma: float) -> torch.Tensor:
    """Return what a network says about one latent, (2, 1, 1)."""
    return torch.tensor([mean, log_sigma]).reshape(2, 1, 1)


@pytest.mark.parametrize(
    ("q", "p"), [((0.0, 1.0), (0.0, 1.0)), ((0.7, 0.3), (-0.2, 1.4)), ((-2.0, 2.5), (1.0, 0.8))]
)
def test_closed_form_kl_equals_numerical_integral(
    q: tuple[float, float], p: tuple[float, float]
) -> None:
    posterior, prior = Normal(scalar(q[0]), scalar(q[1])), Normal(scalar(p[0]), scalar(p[1]))
    z = torch.linspace(-40, 40, 400_001, dtype=torch.float64)
    log_q, log_p = posterior.log_density(z), prior.log_density(z)
    integral = torch.trapezoid(log_q.exp() * (log_q - log_p), z)
    torch.testing.assert_close(kl_divergence(posterior, prior), integral, rtol=1e-8, atol=1e-9)


def test_first_prior_is_normal_with_sigma_1_01() -> None:
    prior = Normal.from_raw(torch.zeros(2, 1, 1))
    assert prior.mean.item() == 0
    assert prior.sigma.item() == pytest.approx(1.01)


def test_soft_clamp_keeps_values_within_5() -> None:
    x = torch.tensor([-1e4, -5.0, 0.0, 0.01, 1e4])
    expected = torch.tensor([-5.0, 5 * math.tanh(-1), 0.0, 0.01, 5.0])
    torch.testing.assert_close(soft_clamp(x), expected, rtol=1e-5, atol=0)


def test_residual_is_added_before_the_clamp() -> None:
    clamped = Normal.from_raw(raw(4.0, 0.5) + raw(3.0, -1.5))
    assert clamped.mean.item() == pytest.approx(5 * math.tanh(7 / 5))
    assert clamped.sigma.item() == pytest.approx(math.exp(5 * math.tanh(-1 / 5)) + 0.01)


def test_temperature_scales_sigma_after_its_floor() -> None:
    cold = Normal.from_raw(raw(0.0, -100.0), temperature=0.5)
    assert cold.sigma.item() == pytest.approx(0.5 * (math.exp(-5) + 0.01))


def test_networks_of_half_precision_give_distributions_of_single_precision() -> None:
    normal = Normal.from_raw(torch.zeros(1, 4, 2, 2, dtype=torch.bfloat16))
    assert normal.mean.dtype == normal.sigma.dtype == torch.float32


@pytest.mark.parametrize("value", [-1e4, 0.0, 1e4])
def test_extreme_parameters_give_finite_divergence_and_gradients(value: float) -> None:
    parameters = [raw(value, -value).requires_grad_(), raw(-value, value).requires_grad_()]
    kl = kl_divergence(*(Normal.from_raw(parameter) for parameter in parameters))
    kl.backward()
    assert kl.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in parameters)
