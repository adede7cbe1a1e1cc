import math

import pytest
import torch

from nvae_core.model.distributions import BernoulliImage


def test_bernoulli_leaves_the_padding_of_the_image_out() -> None:
    logits = torch.tensor([[[[0.0, math.log(3)], [0.0, -math.log(3)]]]])
    x = torch.zeros(1, 1, 4, 4)
    x[..., 1:3, 1:3] = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    image = BernoulliImage(logits, padding=1)
    expected = torch.tensor([[[0.5, 0.75], [0.5, 0.25]]])
    torch.testing.assert_close(image.log_prob_map(x), expected.log())
    torch.testing.assert_close(image.mean(), torch.tensor([[[[0.5, 0.75], [0.5, 0.25]]]]))


def test_bernoulli_draws_follow_the_probabilities() -> None:
    image = BernoulliImage(torch.full((4000, 1, 1, 1), math.log(3)), padding=0)
    drawn = image.draw(torch.Generator().manual_seed(0))
    assert drawn.unique().tolist() == [0, 1]
    assert drawn.mean().item() == pytest.approx(0.75, abs=0.03)


def test_bernoulli_draws_are_sharper_at_a_lower_temperature() -> None:
    image = BernoulliImage(torch.full((4000, 1, 1, 1), math.log(3)), padding=0)
    drawn = image.draw(torch.Generator().manual_seed(0), temperature=0.5)
    assert drawn.mean().item() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("logit", [-1e4, 1e4])
@pytest.mark.parametrize("pixel", [0.0, 1.0])
def test_extreme_logits_give_finite_log_probability_and_gradient(
    logit: float, pixel: float
) -> None:
    logits = torch.full((1, 1, 2, 2), logit, requires_grad=True)
    log_prob = BernoulliImage(logits, padding=0).log_prob_map(torch.full((1, 1, 2, 2), pixel))
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
