import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from nvae_core.model.convolutions import (
    Conv2d,
    DataInitializedConv2d,
    WeightNormConv2d,
    autoregressive_mask,
    fit_to_data,
    hold_weights,
)
from nvae_core.model.distributions import BernoulliImage
from nvae_core.model.nvae import NVAE


def test_norm_of_each_output_channel_is_the_learned_one() -> None:
    convolution = WeightNormConv2d(3, 5, 3)
    log_norm = torch.arange(5.0).reshape(5, 1, 1, 1) - 2
    with torch.no_grad():
        convolution.log_weight_norm.copy_(log_norm)
    norms = convolution.effective_weight().flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, log_norm.flatten().exp(), rtol=1e-4, atol=0)


def test_weight_norm_starts_near_the_initial_weight() -> None:
    convolution = WeightNormConv2d(16, 8, 3)
    ratio = convolution.effective_weight() / convolution.weight
    assert ratio.min() > 1
    assert ratio.max() < 1.05


def test_held_weights_give_the_same_output_and_are_released() -> None:
    convolution = WeightNormConv2d(2, 2, 3)
    x = torch.ones(1, 2, 4, 4)
    expected = convolution(x)
    with hold_weights(convolution):
        assert convolution.effective_weight() is convolution.effective_weight()
        torch.testing.assert_close(convolution(x), expected)
    assert convolution.held_weight is None


def test_model_can_be_copied_after_a_training_pass(
    model: NVAE, padded_images: torch.Tensor
) -> None:
    noise = [torch.zeros(shape) for shape in model.noise_shapes(4)]
    with hold_weights(model):
        image = model(padded_images, noise).image
        assert isinstance(image, BernoulliImage)
        image.logits.sum().backward()
    twin = copy.deepcopy(model)
    assert twin.state_dict().keys() == model.state_dict().keys()


def test_masked_convolution_sees_what_precedes_in_raster_order() -> None:
    mask = autoregressive_mask(2, 4, 3, groups=1, strict=True, mirrored=False)
    assert mask[:, :, 0].min() == 1
    assert mask[:, :, 1, 0].min() == 1
    assert mask[:, :, 1, 2].max() == mask[:, :, 2].max() == 0
    assert mask[:, :, 1, 1].tolist() == [[0, 0], [0, 0], [1, 0], [1, 0]]


def test_mask_that_is_not_strict_sees_its_own_channel() -> None:
    mask = autoregressive_mask(4, 2, 1, groups=1, strict=False, mirrored=False)
    assert mask[:, :, 0, 0].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]


def test_mirrored_mask_reverses_the_pixels_only() -> None:
    options = {"groups": 1, "strict": True}
    mask = autoregressive_mask(3, 3, 5, **options, mirrored=False)  # type: ignore[arg-type]
    mirrored = autoregressive_mask(3, 3, 5, **options, mirrored=True)  # type: ignore[arg-type]
    assert torch.equal(mirrored, mask.flip(2, 3))


def test_fitted_convolutions_have_outputs_of_mean_0_and_deviation_one_fifth() -> None:
    model = nn.Sequential(DataInitializedConv2d(3, 8, 3), DataInitializedConv2d(8, 4, 3))
    x = 5 * torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + 2
    with torch.no_grad(), fit_to_data(model):
        model(x)
    for length in (1, 2):
        y = model[:length](x).detach()
        std, mean = torch.std_mean(y, dim=(0, 2, 3))
        torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-4)
        torch.testing.assert_close(std, torch.full_like(std, 0.2), rtol=1e-3, atol=0)


def test_convolutions_are_fitted_within_the_block_only() -> None:
    convolution = DataInitializedConv2d(2, 2, 1)
    before = copy.deepcopy(convolution.state_dict())
    with fit_to_data(convolution):
        pass
    convolution(torch.ones(1, 2, 3, 3))
    torch.testing.assert_close(convolution.state_dict(), before, rtol=0, atol=0)


def test_single_value_per_channel_leaves_a_convolution_as_it_is() -> None:
    convolution = DataInitializedConv2d(2, 2, 3)
    before = copy.deepcopy(convolution.state_dict())
    with torch.no_grad(), fit_to_data(convolution):
        convolution(torch.ones(1, 2, 1, 1))
    torch.testing.assert_close(convolution.state_dict(), before, rtol=0, atol=0)


def test_weights_that_cannot_be_held_are_released() -> None:
    good, bad = WeightNormConv2d(2, 2, 3), WeightNormConv2d(2, 2, 3)
    bad.log_weight_norm = nn.Parameter(torch.zeros(7, 1, 1, 1))
    with pytest.raises(RuntimeError), hold_weights(nn.ModuleList([good, bad])):
        pass
    assert good.held_weight is None


def test_strided_pointwise_convolution_of_few_channels_leaves_the_heap_alone() -> None:
    # oneDNN's weight gradient of these writes behind its buffer where there is AVX2 without
    # AVX-512; in a process of its own, since that ends it.
    program = """if True:
        import torch
        from nvae_core.model.convolutions import Conv2d

        torch.set_num_threads(1)
        for channels in (2, 4, 12, 30):
            for _ in range(40):
                convolution = Conv2d(channels, channels // 2, 1, stride=2)
                x = torch.randn(150, channels, 16, 16).to(memory_format=torch.channels_last)
                for seen in (x, x[:, :, 1:, 1:]):
                    convolution(seen).sum().backward()
    """
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("channels", [1, 3, 8])
def test_strided_pointwise_convolution_is_a_convolution(channels: int) -> None:
    convolution = Conv2d(channels, 4, 1, stride=2)
    x = torch.randn(2, channels, 6, 6, requires_grad=True)
    for seen in (x, x.contiguous(memory_format=torch.channels_last), x[:, :, 1:, 1:]):
        expected = nn.functional.conv2d(
            seen.double(), convolution.weight.double(), convolution.bias.double(), stride=2
        )
        gradients = torch.autograd.grad(expected.square().sum(), [x, convolution.weight])
        y = convolution(seen)
        torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(
            torch.autograd.grad(y.square().sum(), [x, convolution.weight]),
            gradients,
            rtol=1e-5,
            atol=1e-5,
        )


@pytest.mark.parametrize("kernel_size", [3, 5, 11])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_of_a_depthwise_convolution_are_torchs(
    kernel_size: int, layout: torch.memory_format
) -> None:
    convolution = Conv2d(6, 6, kernel_size, groups=6, bias=False)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 6, 7, 9, generator=generator).contiguous(memory_format=layout)
    x.requires_grad_()
    expected = nn.functional.conv2d(x, convolution.weight, padding=kernel_size // 2, groups=6)
    y = convolution(x)
    torch.testing.assert_close(y, expected)
    target = torch.randn(y.shape, generator=generator)
    inputs = [x, convolution.weight]
    torch.testing.assert_close(
        torch.autograd.grad((y * target).sum(), inputs),
        torch.autograd.grad((expected * target).sum(), inputs),
        rtol=1e-5,
        atol=1e-4,
    )


def test_depthwise_convolution_of_a_constant_has_a_gradient_of_its_input_only() -> None:
    convolution = Conv2d(4, 4, 5, groups=4, bias=False).requires_grad_(False)
    x = torch.ones(1, 4, 5, 5, requires_grad=True)
    convolution(x).sum().backward()
    assert x.grad is not None
    assert convolution.weight.grad is None
