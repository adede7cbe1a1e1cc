import itertools
import math

import pytest
import torch

from nvae_core.config import ModelConfig
from nvae_core.model.distributions import LogisticMixtureImage, bin_log_prob, published_bin_log_prob

MEANS = (-1.3, -1.0, -0.3, 0.0, 0.123, 0.9, 0.98, 0.9922, 1.0, 4.0)
LOG_SCALES = (-7.0, -5.0, -3.0, -1.5, 0.0, 3.0)


def levels(bit_depth: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return all levels on the scale of [-1, 1], as they come out of [0, 1]."""
    unit = torch.arange(2**bit_depth).to(dtype) / (2**bit_depth - 1)
    return 2.0 * unit - 1.0


def mixture(num_colors: int, parameters: torch.Tensor, **options: object) -> LogisticMixtureImage:
    config = ModelConfig.model_validate(
        {
            "image_size": parameters.shape[-1],
            "num_colors": num_colors,
            "image_distribution": "logistic_mixture",
            "num_groups_per_scale": (1,),
            "num_preprocess_blocks": 0,
            "num_mixtures": 2,
        }
        | options
    )
    return LogisticMixtureImage.split(parameters, config)


@pytest.mark.parametrize("bit_depth", [1, 2, 5, 8])
def test_probabilities_of_all_levels_sum_to_one(bit_depth: int) -> None:
    x = levels(bit_depth)
    for mean, log_scale in itertools.product(MEANS, LOG_SCALES):
        log_prob = bin_log_prob(x, torch.tensor(mean), torch.tensor(log_scale), bit_depth)
        assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-5), (mean, log_scale)


def test_probability_of_a_bin_is_the_difference_of_the_distribution_function() -> None:
    x, half_bin = levels(8, torch.float64), 1 / 255
    mean, log_scale = torch.tensor(0.2, dtype=torch.float64), torch.tensor(-2.0)
    upper = torch.sigmoid((x + half_bin - mean) * math.exp(2))
    lower = torch.sigmoid((x - half_bin - mean) * math.exp(2))
    expected = (upper - lower).log()[1:-1]
    computed = bin_log_prob(x, mean, log_scale.double(), 8)[1:-1]
    torch.testing.assert_close(computed, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("mean", "log_scale", "mass"), [(0.98, -3.0, 1.419956), (0.9, -1.5, 1.393985), (0.0, -3.0, 1)]
)
def test_published_rule_has_more_than_the_whole_mass_for_bright_pixels(
    mean: float, log_scale: float, mass: float
) -> None:
    log_prob = published_bin_log_prob(levels(8), torch.tensor(mean), torch.tensor(log_scale), 8)
    assert log_prob.exp().sum().item() == pytest.approx(mass, abs=1e-5)


@pytest.mark.parametrize("num_colors", [1, 3])
def test_probabilities_of_all_images_of_one_pixel_sum_to_one(num_colors: int) -> None:
    num_parameters = 2 * (1 + num_colors * (3 if num_colors == 3 else 2))
    parameters = torch.randn(1, num_parameters, 1, 1, generator=torch.Generator().manual_seed(0))
    unit = torch.arange(4) / 3
    images = torch.cartesian_prod(*[unit] * num_colors).reshape(-1, num_colors, 1, 1)
    image = mixture(num_colors, parameters.expand(len(images), -1, -1, -1), bit_depth=2)
    total = image.log_prob_map(images).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("rule", [bin_log_prob, published_bin_log_prob])
@pytest.mark.parametrize("x", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("mean", [-1e4, 0.3, 1e4])
@pytest.mark.parametrize("log_scale", [-7.0, 0.0])
def test_extreme_parameters_give_finite_values_and_gradients(
    rule: object, x: float, mean: float, log_scale: float
) -> None:
    assert callable(rule)
    means, log_scales = (torch.tensor(v, requires_grad=True) for v in (mean, log_scale))
    log_prob = rule(torch.tensor(x), means, log_scales, 8)
    log_prob.backward()
    assert log_prob.isfinite()
    assert means.grad is not None
    assert log_scales.grad is not None
    assert means.grad.isfinite()
    assert log_scales.grad.isfinite()


@pytest.mark.parametrize("value", [-1e4, 1e4])
@pytest.mark.parametrize("pixel", [0.0, 1.0])
def test_extreme_outputs_of_the_network_give_finite_loss_and_gradients(
    value: float, pixel: float
) -> None:
    for channel in range(20):  # each parameter on its own, then all at once
        parameters = torch.zeros(1, 20, 2, 2)
        parameters[:, channel] = value
        parameters.requires_grad_()
        loss = -mixture(3, parameters).log_prob_map(torch.full((1, 3, 2, 2), pixel)).sum()
        loss.backward()
        assert loss.isfinite()
        assert parameters.grad is not None
        assert parameters.grad.isfinite().all()


def test_draws_follow_the_distribution() -> None:
    parameters = torch.zeros(1, 20, 60, 60)
    parameters[:, 1] = -1e4  # the first component only: means, then log scales of each colour
    parameters[:, 2], parameters[:, 4] = 0.1, -4.0
    parameters[:, 8], parameters[:, 10] = 0.2, -4.0
    parameters[:, 6] = 0.5  # green depends on red
    parameters[:, 14], parameters[:, 16] = -0.3, -4.0
    drawn = 2 * mixture(3, parameters).draw(torch.Generator().manual_seed(0)) - 1
    red, green, blue = drawn[0]
    coefficient = math.tanh(0.5)
    assert red.mean().item() == pytest.approx(0.1, abs=0.003)
    assert red.std().item() == pytest.approx(math.exp(-4) * math.pi / math.sqrt(3), rel=0.05)
    residual = green - coefficient * red
    assert residual.mean().item() == pytest.approx(0.2, abs=0.003)
    assert residual.std().item() == pytest.approx(math.exp(-4) * math.pi / math.sqrt(3), rel=0.05)
    assert blue.mean().item() == pytest.approx(-0.3, abs=0.003)


def test_draws_are_sharper_at_a_lower_temperature() -> None:
    parameters = torch.zeros(1, 6, 60, 60)
    parameters[:, 4:] = -3.0
    image = mixture(1, parameters)
    warm = image.draw(torch.Generator().manual_seed(0))
    cool = image.draw(torch.Generator().manual_seed(0), temperature=0.5)
    assert cool.std().item() == pytest.approx(warm.std().item() / 2, rel=0.05)


def test_mean_image_mixes_the_means_by_weight() -> None:
    parameters = torch.zeros(1, 6, 1, 1)
    parameters[0, :, 0, 0] = torch.tensor([math.log(3), 0.0, 0.4, -0.8, -2.0, -2.0])
    expected = (0.75 * 0.4 + 0.25 * -0.8 + 1) / 2
    assert mixture(1, parameters).mean().item() == pytest.approx(expected)


def test_padding_is_no_part_of_the_image() -> None:
    parameters = torch.zeros(1, 6, 2, 2)
    x = torch.rand(1, 1, 4, 4)
    image = mixture(1, parameters, image_padding=1)
    changed = x.clone()
    changed[..., 0, :] = 0.123
    assert image.log_prob_map(x).shape == (1, 2, 2)
    assert torch.equal(image.log_prob_map(x), image.log_prob_map(changed))
