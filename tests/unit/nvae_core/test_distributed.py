from pathlib import Path

import pytest
import torch
from joined_ranks import together

from nvae_core.distributed import Ranks, average_over_ranks
from nvae_core.model.batch_norm import BatchNorm, RunningStatistics

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def inputs() -> torch.Tensor:
    return torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 + 5


def targets() -> torch.Tensor:
    return torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def normalize(
    x: torch.Tensor, target: torch.Tensor, layout: torch.memory_format
) -> dict[str, torch.Tensor]:
    layer = BatchNorm(3, "swish")
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


def normalize_half(ranks: Ranks) -> dict[str, dict[str, torch.Tensor]]:
    half = slice(3 * ranks.rank, 3 * ranks.rank + 3)
    return {
        name: normalize(inputs()[half], targets()[half], layout) for name, layout in LAYOUTS.items()
    }


@pytest.mark.processes
def test_batch_norm_over_two_ranks_equals_one_over_all_images(tmp_path: Path) -> None:
    results = together(normalize_half, tmp_path, world_size=2)
    for layout in LAYOUTS:
        assert_equals_whole([result[layout] for result in results])


def assert_equals_whole(halves: list[dict[str, torch.Tensor]]) -> None:
    whole = normalize(inputs(), targets(), torch.contiguous_format)
    for name in ("weight_grad", "bias_grad", "mean", "var"):
        assert torch.equal(halves[0][name], halves[1][name])
        torch.testing.assert_close(halves[0][name], whole[name], rtol=1e-5, atol=1e-6)
    y = torch.cat([half["y"] for half in halves])
    torch.testing.assert_close(y, whole["y"], rtol=1e-5, atol=1e-5)
    # Each rank's loss is a mean over half of the images.
    x_grad = torch.cat([half["x_grad"] for half in halves]) / 2
    torch.testing.assert_close(x_grad, whole["x_grad"], rtol=1e-4, atol=1e-6)
