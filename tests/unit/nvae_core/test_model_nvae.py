import pytest
import torch

from nvae_core.config import ModelConfig
from nvae_core.model.distributions import RawNormal
from nvae_core.model.noise import draw_noise
from nvae_core.model.nvae import NVAE, build_model


def test_parameters_depend_on_the_seed_alone(model_config: ModelConfig) -> None:
    torch.rand(7)
    first, second = build_model(model_config, seed=3), build_model(model_config, seed=3)
    other = build_model(model_config, seed=4)
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)
    assert not torch.equal(first.decoder.top_state, other.decoder.top_state)


def test_building_a_model_leaves_the_global_generator_alone(model_config: ModelConfig) -> None:
    before = torch.get_rng_state()
    build_model(model_config, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_residual_posterior_adds_the_prior(model: NVAE, padded_images: torch.Tensor) -> None:
    # A posterior head that says nothing leaves the prior, but for the first group.
    for head in model.posteriors:
        with torch.no_grad():
            head.sampler.log_weight_norm.fill_(-100)
            head.sampler.bias.zero_()
    noise = draw_noise(model.noise_shapes(4), torch.Generator().manual_seed(0))
    kl = model.eval()(padded_images, noise).kl_per_group()
    torch.testing.assert_close(kl, torch.zeros(4, 3), rtol=0, atol=1e-5)


def test_absolute_posterior_ignores_the_prior(
    model_config: ModelConfig, padded_images: torch.Tensor
) -> None:
    config = model_config.model_copy(update={"residual_posterior": False})
    model = build_model(config, seed=0).eval()
    for head in model.posteriors:
        with torch.no_grad():
            head.sampler.log_weight_norm.fill_(-100)
            head.sampler.bias.zero_()
    noise = draw_noise(model.noise_shapes(4), torch.Generator().manual_seed(0))
    standard = RawNormal(torch.zeros(1), torch.zeros(1)).clamp()
    for group in model(padded_images, noise).groups:
        torch.testing.assert_close(group.posterior.sigma, standard.sigma.expand_as(group.z))


@pytest.mark.parametrize("groups", [(1,), (3,), (2, 1, 1)])
def test_hierarchies_of_any_shape_can_be_trained(
    model_config: ModelConfig, groups: tuple[int, ...], padded_images: torch.Tensor
) -> None:
    model = build_model(model_config.model_copy(update={"num_groups_per_scale": groups}), seed=0)
    noise = draw_noise(model.noise_shapes(4), torch.Generator().manual_seed(0))
    result = model(padded_images, noise)
    result.image.log_prob(padded_images).sum().backward()
    assert result.kl_per_group().shape == (4, sum(groups))
    assert result.image.mean().shape == (4, 1, 12, 12)
