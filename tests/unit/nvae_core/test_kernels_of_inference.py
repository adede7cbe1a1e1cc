"""The kernels of evaluation and sampling compute what torch's own operations do."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from needs_kernels import needs_kernels
from nvae_core.inference.activations import InPlaceActivation, activate_
from nvae_core.kernels import causal, latents, logistic_mixture
from nvae_core.kernels.library import is_usable
from nvae_core.kernels.residual import add_residual
from torch import Tensor

from nvae_core.config import ModelConfig
from nvae_core.model.convolutions import MaskedConv2d
from nvae_core.model.distributions import LogisticMixtureImage, Normal, RawNormal, kl_divergence

pytestmark = needs_kernels
NUM_COMPONENTS = 5


@pytest.fixture(autouse=True)
def _on_one_thread() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("activation", ["identity", "swish", "elu", "elu_twice"])
def test_activations_in_place_are_those_of_torch(activation: InPlaceActivation) -> None:
    x = torch.cat([random(1000, scale=5.0), torch.tensor([-1e30, -90.0, 0.0, 90.0, 1e30])])
    expected = activate_(x.double(), activation)
    assert is_usable(x)
    found = activate_(x, activation)
    assert found is x
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6)
    assert activate_(torch.full((3,), float("nan")), activation).isnan().all()


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 16, 16, 40), (3, 1, 1, 70)])
@pytest.mark.parametrize("has_gate", [True, False])
def test_sum_of_a_cell_is_gated_as_by_torch(shape: tuple[int, ...], has_gate: bool) -> None:
    skip, given, num_channels = random(*shape), random(*shape, seed=1), shape[-1]
    squeeze, excite = random(4, num_channels, seed=2), random(4, num_channels, seed=3)
    biases = random(4, seed=4), random(num_channels, seed=5)
    affine = random(num_channels, seed=6), random(num_channels, seed=7)
    residual = affine[0] * given + affine[1]
    hidden = F.relu(residual.mean(dim=(1, 2)) @ squeeze.t() + biases[0])
    gates = torch.sigmoid(hidden @ excite + biases[1])[:, None, None] if has_gate else 1.0
    expected = skip + 0.1 * gates * residual
    gate = (squeeze, biases[0], excite, biases[1]) if has_gate else None
    add_residual(skip, given, affine, gate, 0.1)
    torch.testing.assert_close(given, expected, rtol=1e-5, atol=1e-6)


def test_a_residual_that_is_not_a_number_is_not_hidden() -> None:
    skip, residual = torch.zeros(2, 2, 2, 3), torch.zeros(2, 2, 2, 3)
    residual[0, 1, 1, 2] = float("nan")
    gate = (torch.ones(4, 3), torch.zeros(4), torch.ones(4, 3), torch.zeros(3))
    add_residual(skip, residual, (torch.ones(3), torch.zeros(3)), gate, 0.1)
    assert residual[0].isnan().all()
    assert residual[1].isfinite().all()


def normals(raw: Tensor | None, like: Tensor) -> Normal:
    if raw is None:
        return RawNormal(torch.zeros_like(like), torch.zeros_like(like)).clamp()
    return RawNormal(*raw.double().chunk(2, dim=3)).clamp()


@pytest.mark.parametrize("has_prior", [True, False])
@pytest.mark.parametrize("shape", [(2, 5, 3, 3), (1, 16, 16, 20), (3, 1, 1, 1)])
@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_latents_are_those_in_double_precision(
    has_prior: bool, shape: tuple[int, ...], scale: float
) -> None:
    raw_shape = (*shape[:3], 2 * shape[3])
    raw_posterior, noise = random(*raw_shape, scale=scale), random(*shape, seed=1)
    raw_prior = random(*raw_shape, seed=2, scale=scale) if has_prior else None
    exact = noise.double()
    q, p = normals(raw_posterior, exact), normals(raw_prior, exact)
    z, log_density, kl = latents.sample_posterior(raw_prior, raw_posterior, noise)
    atol = 1e-6 * max(1.0, scale)  # mean and noise may cancel
    torch.testing.assert_close(z.double(), q.sample(exact), rtol=1e-5, atol=atol)
    for found, wanted in (
        (log_density, q.log_density(q.sample(exact))),
        (kl, kl_divergence(q, p)),
        (latents.log_prior(raw_prior, z), p.log_density(z.double())),
    ):
        total = wanted.sum(dim=(1, 2, 3))
        torch.testing.assert_close(found.double(), total, rtol=1e-5, atol=1e-6 * wanted[0].numel())
    drawn = latents.sample_prior(raw_prior, noise, 0.7)
    expected = p.mean + 0.7 * p.sigma * exact
    torch.testing.assert_close(drawn.double(), expected, rtol=1e-5, atol=atol)


def test_latents_that_are_not_numbers_are_not_hidden() -> None:
    raw, noise = torch.zeros(2, 4, 4, 6), torch.zeros(2, 4, 4, 3)
    raw[1, 2, 3, 4] = float("nan")  # a log sigma
    z, log_density, kl = latents.sample_posterior(raw, raw, noise)
    for values in (z.flatten(1).sum(dim=1), log_density, kl, latents.log_prior(raw, noise)):
        assert values.isfinite().tolist() == [True, False]


def log_prob_by_torch(parameters: Tensor, x: Tensor, bit_depth: int) -> Tensor:
    config = ModelConfig.model_validate(
        {
            "image_size": x.shape[-1],
            "num_colors": x.shape[1],
            "image_distribution": "logistic_mixture",
            "num_groups_per_scale": (1,),
            "num_preprocess_blocks": 0,
            "num_mixtures": NUM_COMPONENTS,
            "bit_depth": bit_depth,
        }
    )
    image = LogisticMixtureImage.split(parameters.permute(0, 3, 1, 2), config)
    repeated = x.repeat(len(parameters) // len(x), 1, 1, 1)
    return image.log_prob_map(repeated).sum(dim=(1, 2)).view(-1, len(x))


def mixture_parameters(x: Tensor, num_samples: int, scale: float) -> Tensor:
    num_colors = x.shape[1]
    channels = NUM_COMPONENTS * (1 + num_colors * (3 if num_colors == 3 else 2))
    return random(num_samples * len(x), *x.shape[2:], channels, scale=scale)


def random_levels(*shape: int, bit_depth: int) -> Tensor:
    last = 2**bit_depth - 1
    levels = torch.randint(0, last + 1, shape, generator=torch.Generator().manual_seed(1))
    levels[0, :, 0, 0], levels[0, :, 0, 1] = 0, last
    return levels / last


@pytest.mark.parametrize("num_colors", [1, 3])
@pytest.mark.parametrize("bit_depth", [1, 5, 8])
@pytest.mark.parametrize("size", [4, 7])
@pytest.mark.parametrize("scale", [0.1, 2.0, 10.0, 1000.0])
def test_log_prob_of_a_mixture_is_that_in_double_precision(
    num_colors: int, bit_depth: int, size: int, scale: float
) -> None:
    x = random_levels(3, num_colors, size, size, bit_depth=bit_depth)
    parameters = mixture_parameters(x, 2, scale)
    assert logistic_mixture.fits(parameters, x)
    found = logistic_mixture.log_prob(
        parameters, x, num_components=NUM_COMPONENTS, bit_depth=bit_depth
    )
    expected = log_prob_by_torch(parameters.double(), x.double(), bit_depth)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)


def test_probabilities_of_all_levels_sum_to_one() -> None:
    x = (torch.arange(256) / 255).reshape(256, 1, 1, 1)
    for scale in (0.1, 1.0, 3.0):
        parameters = mixture_parameters(x[:1], 1, scale).expand(256, -1, -1, -1).contiguous()
        found = logistic_mixture.log_prob(parameters, x, num_components=NUM_COMPONENTS, bit_depth=8)
        assert found.exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("channel", [0, 6, 11, 16])  # weight, mean, log scale, coefficient
def test_a_parameter_that_is_not_a_number_is_not_hidden(channel: int) -> None:
    x = torch.full((2, 3, 4, 4), 0.4)
    parameters = mixture_parameters(x, 1, 1.0)
    parameters[1, 2, 3, channel] = float("nan")
    found = logistic_mixture.log_prob(parameters, x, num_components=NUM_COMPONENTS, bit_depth=8)
    assert found.isfinite().tolist() == [[True, False]]


@pytest.mark.parametrize("is_mirrored", [True, False])
@pytest.mark.parametrize("shape", [(2, 4, 5, 3), (1, 1, 1, 2), (3, 2, 1, 4), (1, 1, 6, 1)])
def test_product_with_what_is_seen_is_the_masked_convolution(
    is_mirrored: bool, shape: tuple[int, ...]
) -> None:
    num_latents = shape[3]
    conv = MaskedConv2d(
        num_latents, 6 * num_latents, 3, strict=True, mirrored=is_mirrored, bias=False
    )
    z = random(*shape)
    weight = conv.effective_weight().detach()
    seen = causal.seen_weight(weight, is_mirrored=is_mirrored).flatten(1)
    found = causal.gather(z, is_mirrored=is_mirrored) @ seen.t()
    expected = F.conv2d(z.permute(0, 3, 1, 2), weight, padding=1).permute(0, 2, 3, 1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
