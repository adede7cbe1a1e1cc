"""A fixed amount of PyTorch work, as the unit of time of the benchmarks.

One yardstick is the processor time, on one thread, of a forward and backward pass through a stack
of the operations that an image VAE spends its time in. Measured next to what is timed, it takes
the machine out of the figure.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn


def build_stack() -> nn.Module:
    """Return four times a 3x3, a 1x1, a depthwise 5x5 and a 1x1 convolution, with batch norms."""
    layers: list[nn.Module] = []
    for _ in range(4):
        layers += [nn.BatchNorm2d(64), nn.SiLU(), nn.Conv2d(64, 64, 3, padding=1)]
        layers += [nn.BatchNorm2d(64), nn.Conv2d(64, 384, 1, bias=False)]
        layers += [nn.BatchNorm2d(384), nn.SiLU()]
        layers += [nn.Conv2d(384, 384, 5, padding=2, groups=384, bias=False)]
        layers += [nn.BatchNorm2d(384), nn.SiLU(), nn.Conv2d(384, 64, 1, bias=False)]
    return nn.Sequential(*layers)


def measure_yardstick(repeats: int = 9, warmup: int = 2) -> float:
    """Return the median of processor seconds of one pass; the process stays on one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    stack, images = build_stack(), torch.randn(16, 64, 16, 16)

    def work() -> None:
        stack.zero_grad()
        stack(images).square().mean().backward()

    return measure(work, repeats=repeats, warmup=warmup)


def measure(work: Callable[[], object], *, repeats: int, warmup: int) -> float:
    """Return the median of processor seconds of one call."""
    times = []
    for run in range(warmup + repeats):
        start = time.process_time()
        work()
        if run >= warmup:
            times.append(time.process_time() - start)
    return statistics.median(times)
