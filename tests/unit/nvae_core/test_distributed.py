import os
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from nvae_core.config import RankPolicy
from nvae_core.distributed import average_over_ranks, join_ranks, limit_threads
from nvae_core.model.batch_norm import BatchNorm

# Our kernels on a CPU take the second.
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def inputs() -> torch.Tensor:
    return torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 + 5


def targets() -> torch.Tensor:
    return torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def normalize(
    x: torch.Tensor, target: torch.Tensor, layout: torch.memory_format
) -> dict[str, torch.Tensor]:
    layer = BatchNorm(3, "swish")
    x = x.clone(memory_format=layout).requires_grad_()
    y = layer(x)
    ((y - target) ** 2).mean().backward()
    assert x.grad is not None
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None
    gradients = [layer.weight.grad, layer.bias.grad]
    average_over_ranks(gradients)
    return {
        "y": y.detach(),
        "x_grad": x.grad,
        "weight_grad": gradients[0],
        "bias_grad": gradients[1],
        "mean": layer.running_mean,
        "var": layer.running_var,
    }


def normalize_half(rank: int, folder: str, num_local: str) -> None:
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE="2",
        LOCAL_WORLD_SIZE=num_local,
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=Path(folder, "port").read_text(),
    )
    limit_threads()
    half = slice(3 * rank, 3 * rank + 3)
    with join_ranks(RankPolicy()):
        results = {
            name: normalize(inputs()[half], targets()[half], layout)
            for name, layout in LAYOUTS.items()
        }
        torch.save(results, Path(folder, f"{rank}.pt"))


@pytest.mark.parametrize("num_local", ["1", "2"])  # by messages, and by shared memory
def test_batch_norm_over_two_ranks_equals_one_over_all_images(
    tmp_path: Path, num_local: str
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (tmp_path / "port").write_text(str(free.getsockname()[1]))
    mp.spawn(normalize_half, (str(tmp_path), num_local), nprocs=2)
    results = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
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
