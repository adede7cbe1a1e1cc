import pytest
import torch
import torch.nn.functional as F

from nvae_core.model.batch_norm import Activation, BatchNorm, RunningStatistics


def test_batch_norm_equals_torchs() -> None:
    ours, theirs = BatchNorm(3), torch.nn.BatchNorm2d(3, eps=1e-5, momentum=0.05)
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 3 + 1
    running = RunningStatistics(ours)
    torch.testing.assert_close(ours(x), theirs(x))
    running.follow([running.take_batch()])
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def images(seed: int) -> torch.Tensor:
    return torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(seed)) * 3 + 1


@pytest.mark.parametrize("activation", ["identity", "swish", "elu"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_those_of_torchs_operations(
    activation: Activation, layout: torch.memory_format
) -> None:
    layer = BatchNorm(3, activation).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
        layer.bias.copy_(torch.tensor([0.1, 0.2, -0.3]))
    x = images(0).double().contiguous(memory_format=layout).requires_grad_()
    inputs = [x, layer.weight, layer.bias]
    z = F.batch_norm(x, None, None, layer.weight, layer.bias, training=True, eps=1e-5)
    expected = {"identity": z, "swish": F.silu(z), "elu": F.elu(z)}[activation]
    y = layer(x)
    torch.testing.assert_close(y, expected)
    weights = images(1).double()
    torch.testing.assert_close(
        torch.autograd.grad((y * weights).sum(), inputs),
        torch.autograd.grad((expected * weights).sum(), inputs),
    )


def test_pass_leaves_running_statistics_alone_until_they_are_told_to_follow() -> None:
    model = torch.nn.Sequential(BatchNorm(3), BatchNorm(3))
    running = RunningStatistics(model)
    before = running.values.clone()
    model(images(0))
    assert torch.equal(running.values, before)
    batch = running.take_batch()
    running.follow([batch], is_taken=torch.zeros(()))
    assert torch.equal(running.values, before)
    running.follow([batch], is_taken=torch.ones(()))
    torch.testing.assert_close(running.values, before + 0.05 * (batch - before))
    assert torch.equal(running.values[0], torch.cat([norm.running_mean for norm in model]))
    assert torch.equal(running.values[1], torch.cat([norm.running_var for norm in model]))


def test_batch_that_is_not_finite_does_not_reach_the_running_statistics() -> None:
    layer = BatchNorm(3)
    running = RunningStatistics(layer)
    layer(torch.full((4, 3, 5, 5), torch.nan))
    running.follow([running.take_batch()], is_taken=torch.zeros(()))
    assert running.values.isfinite().all()


def test_running_statistics_follow_each_of_several_batches_in_order() -> None:
    layer, one_by_one = BatchNorm(3), BatchNorm(3)
    running, other = RunningStatistics(layer), RunningStatistics(one_by_one)
    batches = []
    for seed in range(3):
        layer(images(seed))
        batches.append(running.take_batch())
        one_by_one(images(seed))
        other.follow([other.take_batch()])
    running.follow(batches)
    assert torch.equal(running.values, other.values)


def test_running_statistics_begin_with_those_of_the_model_and_are_loaded_with_it() -> None:
    layer = BatchNorm(3)
    layer.running_mean.fill_(2.0)
    running = RunningStatistics(layer)
    assert running.values.tolist() == [[2.0] * 3, [1.0] * 3]
    other = BatchNorm(3)
    other.running_var.fill_(7.0)
    layer.load_state_dict(other.state_dict())
    assert running.values.tolist() == [[0.0] * 3, [7.0] * 3]
