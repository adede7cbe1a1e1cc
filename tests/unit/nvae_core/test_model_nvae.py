from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from nvae_core.config import ModelConfig
from nvae_core.model.distributions import Normal
from nvae_core.model.nvae import NVAE, build_model
from nvae_core.seeding import draw_noise


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


def test_models_that_are_built_at_once_do_not_disturb_each_other(
    model_config: ModelConfig,
) -> None:
    alone = build_model(model_config, seed=3).state_dict()
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: build_model(model_config, seed=3), range(8)))
    for model in together:
        torch.testing.assert_close(model.state_dict(), alone, rtol=0, atol=0)


def test_parameters_of_half_precision_can_be_trained(
    model_config: ModelConfig, padded_images: torch.Tensor
) -> None:
    config = model_config.model_copy(update={"num_flow_transforms": 2})
    model = build_model(config, seed=0).bfloat16()
    result = model(padded_images, torch.Generator().manual_seed(0))
    loss = (result.kl_per_channel().sum(dim=(1, 2)) - result.log_prob(padded_images)).mean()
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("batch_size", [1, 3])
def test_noise_of_another_shape_is_refused(
    model: NVAE, padded_images: torch.Tensor, batch_size: int
) -> None:
    noise = draw_noise(model.noise_shapes(batch_size), torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="the noise has the shapes"):
        model(padded_images, noise)


def test_residual_posterior_adds_the_prior(model: NVAE, padded_images: torch.Tensor) -> None:
    # A posterior head that says nothing leaves the prior, but for the first group.
    for head in model.posteriors:
        with torch.no_grad():
            head.sampler.log_weight_norm.fill_(-100)
            head.sampler.bias.zero_()
    noise = draw_noise(model.noise_shapes(4), torch.Generator().manual_seed(0))
    kl = model.eval()(padded_images, noise).kl_per_channel()
    torch.testing.assert_close(kl, torch.zeros(4, 3, 3), rtol=0, atol=1e-5)


def test_residual_is_added_before_the_clamp(model: NVAE, padded_images: torch.Tensor) -> None:
    said: list[torch.Tensor] = []
    model.posteriors[1].register_forward_hook(lambda _module, _inputs, raw: said.append(raw))
    noise = draw_noise(model.noise_shapes(4), torch.Generator().manual_seed(0))
    group = model.eval()(padded_images, noise).groups[1]
    expected = Normal.from_raw(group.raw_prior + said[0])
    torch.testing.assert_close(group.posterior.mean, expected.mean)
    torch.testing.assert_close(group.posterior.sigma, expected.sigma)


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
    standard = Normal.from_raw(torch.zeros(2, 1, 1))
    for group in model(padded_images, noise).groups:
        torch.testing.assert_close(group.posterior.sigma, standard.sigma.expand_as(group.z))


@pytest.mark.parametrize(
    "options",
    [
        {"num_groups_per_scale": (1,)},
        {"num_groups_per_scale": (3,)},
        {"num_groups_per_scale": (2, 1, 1)},
        {"num_encoder_channels": 6, "num_decoder_channels": 4},
        {"num_flow_transforms": 4},
        {"num_preprocess_blocks": 0},
        {"squeeze_excitation": False, "num_decoder_cells_per_group": 2},
        {"image_distribution": "logistic_mixture", "num_colors": 3, "bit_depth": 5},
        {"image_distribution": "logistic_mixture", "num_mixtures": 2},
        {"cell_architecture": "res_elu"},
        {"cell_architecture": "mbconv_sep11"},
    ],
    ids=repr,
)
def test_networks_of_any_shape_can_be_trained(
    model_config: ModelConfig, options: dict[str, object], padded_images: torch.Tensor
) -> None:
    config = ModelConfig.model_validate(model_config.model_dump() | options)
    model = build_model(config, seed=0)
    x = padded_images.expand(-1, config.num_colors, -1, -1)
    result = model(x, torch.Generator().manual_seed(0))
    (result.kl_per_channel().sum() - result.log_prob(x).sum()).backward()
    num_groups = sum(config.num_groups_per_scale)
    assert result.kl_per_channel().shape == (4, num_groups, 3)
    assert result.log_prob(x).shape == (4,)
    assert result.image.mean().shape == (4, config.num_colors, 12, 12)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_noise_from_a_generator_is_the_noise_it_draws(
    model: NVAE, padded_images: torch.Tensor
) -> None:
    model.eval()
    noise = draw_noise(model.noise_shapes(4), torch.Generator().manual_seed(0))
    given = model(padded_images, noise)
    drawn = model(padded_images, torch.Generator().manual_seed(0))
    assert torch.equal(given.groups[2].z, drawn.groups[2].z)


def test_divergence_with_a_flow_is_the_difference_of_log_densities(
    model_config: ModelConfig, padded_images: torch.Tensor
) -> None:
    config = model_config.model_copy(update={"num_flow_transforms": 2})
    model = build_model(config, seed=0).eval()
    result = model(padded_images, torch.Generator().manual_seed(0))
    for index, group in enumerate(result.groups):
        assert not torch.equal(group.z, group.sample)
        log_ratio = group.posterior.log_density(group.sample) - group.prior.log_density(group.z)
        expected = log_ratio.sum(dim=(2, 3))
        torch.testing.assert_close(result.kl_per_channel()[:, index], expected)
    weight = result.log_prob(padded_images) - result.kl_per_channel().sum(dim=(1, 2))
    torch.testing.assert_close(result.importance_log_weight(padded_images), weight)


def test_samples_at_temperature_0_are_all_equal(model: NVAE) -> None:
    model.eval()
    first, second = (
        model.generate(torch.Generator().manual_seed(seed), batch_size=2, temperature=0.0)
        for seed in (1, 2)
    )
    assert torch.equal(first.image.mean(), second.image.mean())
    assert torch.equal(first.image.mean()[0], first.image.mean()[1])


def test_fixed_groups_keep_their_latents_and_the_others_are_drawn(model: NVAE) -> None:
    model.eval()
    first = model.generate(torch.Generator().manual_seed(1), batch_size=2)
    fixed = {0: first.latents[0]}
    second = model.generate(torch.Generator().manual_seed(2), batch_size=2, fixed=fixed)
    assert torch.equal(second.latents[0], first.latents[0])
    assert not torch.equal(second.latents[1], first.latents[1])
    all_fixed = dict(enumerate(first.latents))
    third = model.generate(torch.Generator().manual_seed(3), batch_size=2, fixed=all_fixed)
    assert torch.equal(third.image.mean(), first.image.mean())


@pytest.mark.parametrize("image", ["black", "white"])
@pytest.mark.parametrize("distribution", ["bernoulli", "logistic_mixture"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_images_give_finite_loss_and_gradients(
    model_config: ModelConfig, image: str, distribution: str, dtype: torch.dtype
) -> None:
    config = model_config.model_copy(
        update={"image_distribution": distribution, "num_flow_transforms": 2}
    )
    model = build_model(config, seed=0)
    x = torch.full((4, 1, 16, 16), float(image == "white"))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        result = model(x, torch.Generator().manual_seed(0))
        loss = (result.kl_per_channel().sum(dim=(1, 2)) - result.log_prob(x)).mean()
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
