import math

import pytest
import torch

from nvae_core.model.distributions import (
    BernoulliImage,
    Normal,
    RawNormal,
    kl_divergence,
    soft_clamp,
)


def scalar(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


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
    prior = RawNormal(torch.zeros(1), torch.zeros(1)).clamp()
    assert prior.mean.item() == 0
    assert prior.sigma.item() == pytest.approx(1.01)


def test_soft_clamp_keeps_values_within_5() -> None:
    x = torch.tensor([-1e4, -5.0, 0.0, 0.01, 1e4])
    expected = torch.tensor([-5.0, 5 * math.tanh(-1), 0.0, 0.01, 5.0])
    torch.testing.assert_close(soft_clamp(x), expected, rtol=1e-5, atol=0)


def test_residual_is_added_before_the_clamp() -> None:
    total = RawNormal(torch.tensor(4.0), torch.tensor(0.5)) + RawNormal(
        torch.tensor(3.0), torch.tensor(-1.5)
    )
    clamped = total.clamp()
    assert clamped.mean.item() == pytest.approx(5 * math.tanh(7 / 5))
    assert clamped.sigma.item() == pytest.approx(math.exp(5 * math.tanh(-1 / 5)) + 0.01)


def test_temperature_scales_sigma_after_its_floor() -> None:
    cold = RawNormal(torch.zeros(1), torch.full((1,), -100.0)).clamp(temperature=0.5)
    assert cold.sigma.item() == pytest.approx(0.5 * (math.exp(-5) + 0.01))


def test_bernoulli_counts_only_the_pixels_inside_the_padding() -> None:
    logits = torch.full((1, 1, 4, 4), 100.0)  # certain of ones in the padding, wrongly
    logits[..., 1:3, 1:3] = torch.tensor([[0.0, math.log(3)], [0.0, -math.log(3)]])
    x = torch.zeros(1, 1, 4, 4)
    x[..., 1:3, 1:3] = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    image = BernoulliImage(logits, padding=1)
    expected = math.log(0.5) + math.log(0.75) + math.log(0.5) + math.log(0.25)
    assert image.log_prob(x).item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(image.mean(), torch.tensor([[[[0.5, 0.75], [0.5, 0.25]]]]))
