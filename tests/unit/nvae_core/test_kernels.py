"""The kernels compute what torch's own operations do."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from needs_kernels import needs_kernels
from nvae_core.kernels.depthwise import depthwise_convolution, depthwise_fits
from nvae_core.kernels.library import fits
from nvae_core.kernels.power_iteration import iterate
from nvae_core.kernels.weight_norm import normalize_weights
from nvae_core.model.activated_depthwise import convolve_activated
from nvae_core.model.gated_sum import add_gated
from nvae_core.model.normalized_depthwise import Form, convolve_normalized
from torch import Tensor

from nvae_core.losses import as_matrix
from nvae_core.model.batch_norm import Activation, Statistics, activate, normalize, normalize_by
from nvae_core.training.adamax import Adamax

pytestmark = needs_kernels
EPSILON = 1e-5
each_activation = pytest.mark.parametrize("activation", ["identity", "swish", "elu"])


@pytest.fixture(autouse=True)
def _one_thread():
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def random(*shape: int, seed: int = 0) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return values.to(memory_format=torch.channels_last) if len(shape) == 4 else values


def gradients(y: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad((y * random(*y.shape, seed=9)).sum(), inputs)


@each_activation
@pytest.mark.parametrize("num_channels", [1, 3, 16, 20, 64, 100, 150])  # whole blocks and tails
@pytest.mark.parametrize("size", [1, 4, 9])
def test_normalize_and_its_gradients_are_those_in_double_precision(activation, num_channels, size):
    x = (3 * random(5, num_channels, size, size) + 2).requires_grad_()
    weight, bias = random(num_channels, seed=1), random(num_channels, seed=2)
    parameters = [weight.requires_grad_(), bias.requires_grad_()]
    assert fits(x)
    y, statistics = normalize(x, *parameters, activation=activation)
    exact = [tensor.detach().double().requires_grad_() for tensor in (x, *parameters)]
    expected, expected_statistics = normalize_exactly(*exact, activation)
    torch.testing.assert_close(y.double(), expected, rtol=2e-5, atol=2e-5)
    for one, other in (
        (statistics.mean, expected_statistics.mean),
        (statistics.variance, expected_statistics.variance),
    ):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-6)
    found, wanted = gradients(y, x, *parameters), gradients(expected, *exact)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


def normalize_exactly(
    x: Tensor, weight: Tensor, bias: Tensor, activation: Activation
) -> tuple[Tensor, Statistics]:
    variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    x_hat = (x - mean[:, None, None]) * torch.rsqrt(variance + EPSILON)[:, None, None]
    z = x_hat * weight[:, None, None] + bias[:, None, None]
    return activate(z, activation), Statistics(mean.detach(), variance.detach())


@each_activation
def test_normalize_by_given_statistics_is_that_of_torch(activation):
    x, statistics = random(2, 40, 6, 6), Statistics(random(40), random(40, seed=1).square())
    weight, bias = random(40, seed=2), random(40, seed=3)
    with torch.no_grad():
        y = normalize_by(x, statistics, weight, bias, activation=activation)
    plain = F.batch_norm(x, statistics.mean, statistics.variance, weight, bias, eps=EPSILON)
    torch.testing.assert_close(y, activate(plain, activation), rtol=1e-5, atol=1e-5)


@each_activation
def test_extreme_values_stay_what_they_are(activation):
    x = torch.tensor([-1e30, -200.0, -90.0, 0.0, 90.0, 200.0, 1e30]).reshape(7, 1, 1, 1)
    weight, bias = torch.ones(1), torch.zeros(1)
    statistics = Statistics(torch.zeros(1), torch.ones(1))
    with torch.no_grad():
        y = normalize_by(x, statistics, weight, bias, activation=activation)
    torch.testing.assert_close(
        y, activate(x / (1 + EPSILON) ** 0.5, activation), rtol=2e-5, atol=1e-7
    )


@each_activation
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_not_hidden(activation, value):
    x = random(4, 20, 3, 3)
    x[1, 7, 2, 1] = value
    y, _ = normalize(x, torch.ones(20), torch.zeros(20), activation=activation)
    assert not y[:, 7].isfinite().all()
    assert y[:, :7].isfinite().all()


def test_a_mean_far_from_zero_costs_no_digits():
    x = random(64, 16, 8, 8) + 1000
    _, statistics = normalize(x, torch.ones(16), torch.zeros(16), activation="identity")
    expected = x.double().var(dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(statistics.variance.double(), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("num_channels", [16, 24, 120])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 4), (9, 5), (3, 13)])
def test_depthwise_convolution_and_its_gradients_are_those_of_torch(num_channels, size):
    x = random(3, num_channels, *size).requires_grad_()
    weight = torch.randn(num_channels, 1, 5, 5).requires_grad_()
    assert depthwise_fits(x, weight, stride=1)
    y = depthwise_convolution(x, weight)
    expected = F.conv2d(x, weight, padding=2, groups=num_channels)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(gradients(y, x, weight), gradients(expected, x, weight), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "stride"),
    [((15, 1, 5, 5), 1), ((16, 1, 3, 3), 1), ((16, 1, 5, 5), 2), ((16, 16, 5, 5), 1)],
)
def test_other_convolutions_are_left_to_torch(shape, stride):
    x = random(2, shape[0], 6, 6)
    assert not depthwise_fits(x, torch.zeros(shape), stride)


@pytest.mark.parametrize(
    "x", [torch.zeros(2, 4, 3, 3), random(2, 4, 3, 3).double(), random(2, 4, 3, 3).bfloat16()]
)
def test_other_tensors_are_left_to_torch(x):
    assert not fits(x)


@pytest.mark.parametrize("shape", [(5, 3, 3, 3), (40, 1, 5, 5), (7, 200, 1, 1), (1, 1, 1, 1)])
def test_weight_normalization_and_its_gradients_are_those_of_torch(shape):
    directions = [random(*shape, seed=seed).requires_grad_() for seed in range(2)]
    log_norms = [random(shape[0], 1, 1, 1, seed=seed).requires_grad_() for seed in range(2, 4)]
    inputs = [*directions, *log_norms]
    weights = torch.stack(normalize_weights(directions, log_norms, 1e-5))
    stacked = torch.stack(directions).double()
    norms = torch.linalg.vector_norm(stacked, dim=(2, 3, 4), keepdim=True)
    expected = torch.stack(log_norms).double().exp() * stacked / (norms + 1e-5)
    torch.testing.assert_close(weights.double(), expected, rtol=1e-5, atol=1e-6)
    for one, other in zip(gradients(weights, *inputs), gradients(expected, *inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_direction_of_zeros_has_the_gradient_that_torch_gives_it():
    v = torch.zeros(2, 3, 1, 1, requires_grad=True)
    (weight,) = normalize_weights([v], [torch.ones(2, 1, 1, 1)], 1e-5)
    norm = torch.linalg.vector_norm(v, dim=(1, 2, 3), keepdim=True)
    expected = math.e * v / (norm + 1e-5)
    torch.testing.assert_close(gradients(weight, v), gradients(expected, v))


@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (33, 70, 1, 1), (3, 1, 5, 5), (1, 2, 1, 1)])
def test_power_iteration_is_that_of_torch(shape):
    weight, rows = random(*shape), shape[0]
    matrix = as_matrix(weight)
    left, right = random(rows, seed=1), torch.empty(matrix.shape[1])
    u = left.clone()
    for _ in range(4):
        v = F.normalize(u @ matrix, dim=0)
        u = F.normalize(matrix @ v, dim=0)
    value = iterate(weight, left, right, 4)
    torch.testing.assert_close(torch.tensor(value), u @ matrix @ v, rtol=1e-5, atol=0)
    torch.testing.assert_close(left, u, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(right, v, rtol=1e-4, atol=1e-5)


def test_power_iteration_of_zeros_is_zero():
    left, right = torch.ones(3), torch.ones(4)
    assert iterate(torch.zeros(3, 4, 1, 1), left, right, 4) == 0
    assert torch.equal(right, torch.zeros(4))


def test_adamax_is_that_of_torch():
    ours = [random(6, 4, 3, 3), random(100, seed=1), random(1, seed=2)]
    theirs = [parameter.clone() for parameter in ours]
    settings = {"lr": 0.01, "eps": 1e-3, "weight_decay": 3e-4}
    optimizers = [Adamax(ours, **settings), torch.optim.Adamax(theirs, **settings)]
    for step in range(5):
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            for parameter in pair:
                # The gradient of a convolution may come in another memory format.
                parameter.grad = random(*parameter.shape, seed=10 * step + index).contiguous()
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
        states = [optimizers[0].state[one], optimizers[1].state[other]]
        assert states[0].keys() == states[1].keys()
        for name, value in states[0].items():
            torch.testing.assert_close(value, states[1][name], rtol=1e-6, atol=1e-7)


def test_adamax_leaves_moments_of_another_memory_format_to_torch():
    ours, theirs = random(6, 4, 3, 3), random(6, 4, 3, 3)
    optimizers = [Adamax([ours]), torch.optim.Adamax([theirs])]
    optimizers[0].state[ours] = {
        "step": torch.tensor(1.0),
        "exp_avg": random(6, 4, 3, 3, seed=1).contiguous(),
        "exp_inf": torch.ones(6, 4, 3, 3),
    }
    optimizers[1].state[theirs] = copy.deepcopy(optimizers[0].state[ours])
    ours.grad = theirs.grad = random(6, 4, 3, 3, seed=2)
    for optimizer in optimizers:
        optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_several_threads_are_left_to_torch():
    torch.set_num_threads(2)
    assert not fits(random(2, 4, 3, 3))


@pytest.mark.parametrize("upsampling", [1, 2])
@pytest.mark.parametrize("num_channels", [16, 24, 120])
@pytest.mark.parametrize("size", [(1, 6), (2, 3), (4, 4), (9, 5), (3, 13)])
def test_normalized_depthwise_and_its_gradients_are_those_of_its_parts(
    upsampling, num_channels, size
):
    x = (2 * random(3, num_channels, *size) + 1).requires_grad_()
    before = [random(num_channels, seed=seed).requires_grad_() for seed in (1, 2)]
    after = [random(num_channels, seed=seed).requires_grad_() for seed in (3, 4)]
    weight = random(num_channels, 1, 5, 5, seed=5).requires_grad_()
    inputs = [x, *before, weight, *after]
    y, *statistics = convolve_normalized(x, before, weight, after, Form(upsampling, "all_ranks"))
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    expected, *exact_statistics = convolve_exactly(exact, upsampling)
    torch.testing.assert_close(y.double(), expected, rtol=1e-4, atol=1e-4)
    for one, other in zip(statistics, exact_statistics, strict=True):
        torch.testing.assert_close(one.mean.double(), other.mean, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(one.variance.double(), other.variance, rtol=1e-5, atol=1e-5)
    for one, other in zip(gradients(y, *inputs), gradients(expected, *exact), strict=True):
        scale = other.abs().max().item()
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4 * max(scale, 1))


def convolve_exactly(
    inputs: list[Tensor], upsampling: int
) -> tuple[Tensor, Statistics, Statistics]:
    x, before_weight, before_bias, weight, after_weight, after_bias = inputs
    a, x_statistics = normalize_exactly(x, before_weight, before_bias, "swish")
    if upsampling == 2:
        a = F.interpolate(a, scale_factor=2, mode="nearest")
    y = F.conv2d(a, weight, padding=2, groups=len(weight))
    activated, y_statistics = normalize_exactly(y, after_weight, after_bias, "swish")
    return activated, x_statistics, y_statistics


@pytest.mark.parametrize("num_channels", [16, 24, 120])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 4), (9, 5), (3, 13)])
def test_activated_depthwise_and_its_gradients_are_those_of_its_parts(num_channels, size):
    inputs = [(2 * random(3, num_channels, *size)), random(num_channels, 1, 5, 5, seed=5)]
    exact = [tensor.double().requires_grad_() for tensor in inputs]
    inputs = [tensor.requires_grad_() for tensor in inputs]
    y = convolve_activated(*inputs)
    expected = convolve_activated(*exact)  # no kernel fits
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(gradients(y, *inputs), gradients(expected, *exact), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_channels", [3, 16, 20, 64])
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (9, 5)])
def test_gated_sum_and_its_gradients_are_those_of_its_parts(num_channels, size):
    shapes = [(4, num_channels), (4,), (num_channels, 4), (num_channels,)]
    maps = [random(3, num_channels, *size, seed=seed) for seed in range(2)]
    layers = [random(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    inputs = [tensor.requires_grad_() for tensor in (*maps, *layers)]
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    y = add_gated(*inputs[:2], tuple(inputs[2:]), 0.1)
    skipped, residual, squeeze, squeeze_bias, excite, excite_bias = exact
    hidden = F.relu(F.linear(residual.mean(dim=(2, 3)), squeeze, squeeze_bias))
    gates = torch.sigmoid(F.linear(hidden, excite, excite_bias))[:, :, None, None]
    expected = skipped + 0.1 * gates * residual
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(gradients(y, *inputs), gradients(expected, *exact), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)
