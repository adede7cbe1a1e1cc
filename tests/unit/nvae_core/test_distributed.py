from pathlib import Path

import pytest
import torch
from joined_ranks import together

from nvae_core.distributed import Ranks, average_over_ranks, gather_over_ranks, sum_over_ranks
from nvae_core.model.batch_norm import Activation, BatchNorm, RunningStatistics

ACTIVATIONS: tuple[Activation, ...] = ("identity", "swish", "elu")
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def inputs() -> torch.Tensor:
    return torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 + 5


def targets() -> torch.Tensor:
    return torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def normalize(
    x: torch.Tensor,
    target: torch.Tensor,
    *,
    layout: torch.memory_format = torch.contiguous_format,
    activation: Activation = "swish",
) -> dict[str, torch.Tensor]:
    layer = BatchNorm(3, activation)
    running = RunningStatistics(layer)
    x = x.clone(memory_format=layout).requires_grad_()
    y = layer(x)
    ((y - target) ** 2).mean().backward()
    assert x.grad is not None
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None
    gradients = [layer.weight.grad, layer.bias.grad]
    average_over_ranks(gradients)
    running.follow([running.take_batch()])
    return {
        "y": y.detach(),
        "x_grad": x.grad,
        "weight_grad": gradients[0],
        "bias_grad": gradients[1],
        "mean": layer.running_mean,
        "var": layer.running_var,
    }


def normalize_half(ranks: Ranks) -> dict[tuple[str, Activation], dict[str, torch.Tensor]]:
    half = slice(3 * ranks.rank, 3 * ranks.rank + 3)
    x, target = inputs()[half], targets()[half]
    return {
        (name, activation): normalize(x, target, layout=layout, activation=activation)
        for name, layout in LAYOUTS.items()
        for activation in ACTIVATIONS
    }


def gather(ranks: Ranks) -> list[torch.Tensor]:
    values = torch.arange(6.0).reshape(2, 3) + 10 * ranks.rank
    gathered = [gather_over_ranks(part) for part in (values, values.T, values[0, 0], values.int())]
    return [*gathered, sum_over_ranks(values.T), values]


@pytest.mark.processes
def test_batch_norm_over_two_ranks_equals_one_over_all_images(tmp_path: Path) -> None:
    results = together(normalize_half, tmp_path, world_size=2)
    for layout in LAYOUTS:
        for activation in ACTIVATIONS:
            halves = [result[layout, activation] for result in results]
            assert_equals_whole(halves, normalize(inputs(), targets(), activation=activation))


def assert_equals_whole(
    halves: list[dict[str, torch.Tensor]], whole: dict[str, torch.Tensor]
) -> None:
    for name in ("weight_grad", "bias_grad", "mean", "var"):
        assert torch.equal(halves[0][name], halves[1][name])
        torch.testing.assert_close(halves[0][name], whole[name], rtol=1e-5, atol=1e-6)
    y = torch.cat([half["y"] for half in halves])
    torch.testing.assert_close(y, whole["y"], rtol=1e-5, atol=1e-5)
    # Each rank's loss is a mean over half of the images.
    x_grad = torch.cat([half["x_grad"] for half in halves]) / 2
    torch.testing.assert_close(x_grad, whole["x_grad"], rtol=1e-4, atol=1e-6)


@pytest.mark.processes
def test_tensors_of_all_ranks_are_gathered_and_summed_in_their_shape(tmp_path: Path) -> None:
    results = together(gather, tmp_path, world_size=3)
    own = [result[-1] for result in results]
    expected = [
        torch.stack([part(values) for values in own])
        for part in (
            lambda values: values,
            lambda values: values.T,
            lambda values: values[0, 0],
            lambda values: values.int(),
        )
    ]
    for result in results:
        for found, wanted in zip(result, [*expected, sum(own).T], strict=False):
            assert torch.equal(found, wanted)


def test_rank_that_is_alone_gathers_and_sums_copies_of_its_own() -> None:
    values = torch.ones(2, 3)
    assert torch.equal(gather_over_ranks(values), values[None])
    total = sum_over_ranks(values)
    total += 1
    assert values.max() == 1
