"""A fused model computes what the model does in evaluation."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from nvae_core.architecture import CELL_TABLES
from nvae_core.config import CellArchitecture, ModelConfig
from nvae_core.model.batch_norm import batch_norms_of
from nvae_core.model.convolutions import Conv2d
from nvae_core.model.decoder import Decoder, PriorSample
from nvae_core.model.fuse import fuse
from nvae_core.model.nvae import NVAE, NVAEOutput, build_model
from nvae_core.seeding import draw_noise

NUM_IMAGES, NUM_SAMPLES = 3, 2
COLOURS = {"num_colors": 3, "image_distribution": "logistic_mixture", "num_mixtures": 3}
CASES: dict[str, dict[str, object]] = {
    "no flows": {},
    "flows": {"num_flow_transforms": 4},
    "no squeeze and excitation": {"squeeze_excitation": False},
    "no residual posterior": {"residual_posterior": False},
    "one group": {"num_groups_per_scale": (1,)},
    "three scales": {"num_groups_per_scale": (1, 1, 2), "num_preprocess_blocks": 1},
    "colours": {**COLOURS, "num_flow_transforms": 2},
    "colours of 5 bits": {**COLOURS, "bit_depth": 5},
    "published bins": {**COLOURS, "logistic_bins": "published"},
    "grey levels": {**COLOURS, "num_colors": 1},
    "padded colours": {**COLOURS, "image_size": 12, "image_padding": 2},
}


@pytest.fixture(params=["oneDNN", "torch"], autouse=True)
def _backend(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    if request.param == "torch":
        monkeypatch.setattr("nvae_core.model.fuse.HAS_ONEDNN", False)
    elif not torch.backends.mkldnn.is_available():
        pytest.skip("this build of torch has no oneDNN")


def trained(**changes: object) -> NVAE:
    """Return a model of which no two channels are alike."""
    values = {
        "image_size": 16,
        "num_groups_per_scale": (1, 2),
        "num_latents_per_group": 3,
        "num_encoder_channels": 8,
        "num_decoder_channels": 8,
        "num_preprocess_blocks": 1,
        "num_encoder_cells_per_group": 1,
        "num_decoder_cells_per_group": 1,
    }
    model = build_model(ModelConfig.model_validate(values | changes), seed=0).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for norm in batch_norms_of(model):
            norm.running_var.uniform_(0.3, 1.5, generator=generator)
            norm.weight.uniform_(0.5, 1.5, generator=generator)
            norm.running_mean.normal_(0.0, 0.3, generator=generator)
            norm.bias.normal_(0.0, 0.3, generator=generator)
    return model


def random_images(model: NVAE, count: int = NUM_IMAGES) -> Tensor:
    config, generator = model.config, torch.Generator().manual_seed(2)
    shape = (count, config.num_colors, config.resolution, config.resolution)
    if config.image_distribution == "bernoulli":
        return torch.rand(shape, generator=generator).round()
    last = 2**config.bit_depth - 1
    return torch.randint(0, last + 1, shape, generator=generator) / last


def draws_for(model: NVAE, batch_size: int) -> list[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(3)
    return [draw_noise(model.noise_shapes(batch_size), generator) for _ in range(NUM_SAMPLES)]


def scores(output: NVAEOutput, x: Tensor) -> dict[str, Tensor]:
    log_prob = output.log_prob(x)
    kl = output.kl_per_channel().sum(dim=2)
    return {
        "log_prob": log_prob,
        "log_ratio": output.kl_and_log_ratio()[1].sum(dim=1),
        "kl_per_group": kl,
    }


@torch.no_grad()
def check_scores(model: NVAE, num_images: int = NUM_IMAGES) -> None:
    x, draws = random_images(model, num_images), draws_for(model, num_images)
    one_by_one = [scores(model(x, draw), x) for draw in draws]
    fused = fuse(model)
    for draw, expected in zip(draws, one_by_one, strict=True):
        torch.testing.assert_close(scores(fused(x, draw), x), expected, rtol=1e-5, atol=1e-3)
    noise = [torch.cat(group) for group in zip(*draws, strict=True)]
    output = fused.reconstruct(fused.encode(x), noise, num_samples=NUM_SAMPLES)
    at_once = scores(output, x.repeat(NUM_SAMPLES, 1, 1, 1))
    expected = {name: torch.cat([part[name] for part in one_by_one]) for name in one_by_one[0]}
    torch.testing.assert_close(at_once, expected, rtol=1e-5, atol=1e-3)


@torch.no_grad()
def check_samples(model: NVAE) -> None:
    noise = draw_noise(model.noise_shapes(NUM_IMAGES), torch.Generator().manual_seed(4))
    options = {"batch_size": NUM_IMAGES, "temperature": 0.7}
    plain = model.generate(noise, **options)
    for found in (fuse(model).generate(noise, **options), sample(fuse(model.decoder), noise)):
        torch.testing.assert_close(found.image.mean(), plain.image.mean(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.latents, plain.latents, rtol=1e-4, atol=1e-4)


def sample(decoder: Decoder, noise: Sequence[Tensor]) -> PriorSample:
    return decoder.generate(noise, batch_size=NUM_IMAGES, temperature=0.7)


@pytest.mark.parametrize("name", CASES)
def test_scores_of_samples_are_those_of_the_model(name: str) -> None:
    check_scores(trained(**CASES[name]))


@pytest.mark.parametrize("name", CASES)
def test_scores_of_one_image_are_those_of_the_model(name: str) -> None:
    check_scores(trained(**CASES[name]), num_images=1)


@pytest.mark.parametrize("architecture", CELL_TABLES)
def test_scores_are_those_of_the_model_for_all_cells(architecture: CellArchitecture) -> None:
    check_scores(trained(cell_architecture=architecture))


@pytest.mark.parametrize("name", CASES)
def test_samples_of_the_prior_are_those_of_the_model(name: str) -> None:
    check_samples(trained(**CASES[name]))


@pytest.mark.parametrize("architecture", CELL_TABLES)
def test_samples_are_those_of_the_model_for_all_cells(architecture: CellArchitecture) -> None:
    check_samples(trained(cell_architecture=architecture))


@torch.no_grad()
def test_several_samples_at_once_are_those_of_the_plain_model_too() -> None:
    model = trained(num_flow_transforms=2)
    x, draws = random_images(model), draws_for(model, NUM_IMAGES)
    noise = [torch.cat(group) for group in zip(*draws, strict=True)]
    output = model.reconstruct(model.encode(x), noise, num_samples=NUM_SAMPLES)
    expected = torch.cat([model(x, draw).importance_log_weight(x) for draw in draws])
    found = output.importance_log_weight(x.repeat(NUM_SAMPLES, 1, 1, 1))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-3)


@torch.no_grad()
def test_double_precision_stays_double() -> None:
    model = trained(num_flow_transforms=2).double()
    x = random_images(model).double()
    fused = fuse(model)
    assert fused.encode(x)[0].dtype == torch.float64
    noise = draws_for(model, len(x))[0]
    torch.testing.assert_close(scores(fused(x, noise), x), scores(model(x, noise), x))


@torch.no_grad()
@pytest.mark.parametrize("name", ["flows", "colours", "one group", "no squeeze and excitation"])
def test_another_device_is_not_mixed_with_the_cpu(name: str) -> None:
    model = trained(**CASES[name]).to("meta")
    for module in model.modules():
        if isinstance(module, Conv2d):
            module.in_float32 = False  # there is no autocast for this device
    x = random_images(model).to("meta")
    noise = [torch.empty(shape, device="meta") for shape in model.noise_shapes(len(x))]
    fused, decoder = fuse(model), fuse(model.decoder)
    assert fused(x, noise).log_prob(x).shape == (len(x),)
    assert fused(x, noise).kl_per_channel().is_meta
    assert sample(decoder, noise).image.mean().is_meta


@torch.no_grad()
def test_bf16_is_computed_as_the_model_computes_it() -> None:
    model = trained(num_flow_transforms=2)
    x, noise = random_images(model), draws_for(model, NUM_IMAGES)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = model(x, noise).log_prob(x)
        found = fuse(model)(x, noise).log_prob(x)
    exact = model(x, noise).log_prob(x)
    assert found.dtype == torch.float32
    # Both are rounded, at other places: neither is further from what is exact than a few percent.
    for rounded in (found, expected):
        torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0)


def test_fusing_leaves_the_model_as_it_is() -> None:
    model = trained(num_flow_transforms=2).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    names = [name for name, _ in model.named_modules()]
    fused = fuse(model)
    assert not fused.training
    assert not any(parameter.requires_grad for parameter in fused.parameters())
    with torch.no_grad():
        fused(random_images(model), torch.Generator().manual_seed(0))
    assert model.training
    assert [name for name, _ in model.named_modules()] == names
    assert model.state_dict().keys() == before.keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.requires_grad for parameter in model.parameters())


@torch.no_grad()
@pytest.mark.parametrize("architecture", CELL_TABLES)
def test_fused_copy_does_not_follow_later_changes(architecture: CellArchitecture) -> None:
    model = trained(cell_architecture=architecture, num_flow_transforms=2)
    x, noise = random_images(model), draws_for(model, NUM_IMAGES)[0]
    fused, decoder = fuse(model), fuse(model.decoder)
    before, sampled = fused(x, noise).log_prob(x), sample(decoder, noise).image.mean()
    for norm in batch_norms_of(model):
        norm.running_mean += 1.0
        norm.running_var *= 2.0
    for parameter in model.parameters():
        parameter.add_(0.1)
    assert torch.equal(fused(x, noise).log_prob(x), before)
    assert torch.equal(sample(decoder, noise).image.mean(), sampled)
