import copy

import pytest
import torch
import torch.nn.functional as F

from nvae_core.model.cells import InvertedResidual, decoder_cell, encoder_cell
from nvae_core.model.layers import BatchNorm, WeightNormConv2d, hold_weights
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
        model(padded_images, noise).image.logits.sum().backward()
    twin = copy.deepcopy(model)
    assert twin.state_dict().keys() == model.state_dict().keys()


def test_batch_norm_equals_torchs() -> None:
    ours, theirs = BatchNorm(3), torch.nn.BatchNorm2d(3, eps=1e-5, momentum=0.05)
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 3 + 1
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_upsampling_after_the_expansion_equals_upsampling_before_it() -> None:
    early = InvertedResidual(4, 2, expansion=3, upsample=False)
    late = InvertedResidual(4, 2, expansion=3, upsample=True)
    late.load_state_dict(early.state_dict())
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(late(x), early(F.interpolate(x, scale_factor=2)))
    torch.testing.assert_close(late.state_dict(), early.state_dict())


@pytest.mark.parametrize("squeeze_excitation", [True, False])
def test_cells_change_resolution_and_channels(squeeze_excitation: bool) -> None:
    x = torch.zeros(2, 8, 4, 4)
    down = encoder_cell(8, "down", squeeze_excitation=squeeze_excitation)
    up = decoder_cell(8, "up", expansion=6, squeeze_excitation=squeeze_excitation)
    same = decoder_cell(8, "same", expansion=6, squeeze_excitation=squeeze_excitation)
    assert down(x).shape == (2, 16, 2, 2)
    assert up(x).shape == (2, 4, 8, 8)
    assert same(x).shape == x.shape
