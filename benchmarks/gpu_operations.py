"""Sections of a session on a GPU: what the device can do, and what single operations take."""

import platform
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu_cases import SCHEDULE, Setting, Training, device_ms, digits, wall_ms
from nvae_core.losses import batch_norm_penalty
from nvae_core.model.batch_norm import BatchNorm
from nvae_core.training.step import step_inputs

Figures = Iterator[dict[str, object]]
LAYOUTS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
DTYPES = {"bf16": torch.bfloat16, "float32": torch.float32}
# Images, channels and resolution in the network for CIFAR-10.
SHAPES = ((32, 768, 16), (32, 1536, 8), (32, 128, 16))


def ceilings(setting: Setting) -> Figures:
    """Versions, bandwidth of a copy, and speed of products of matrices."""
    device = setting.device
    yield {"torch": torch.__version__, "python": platform.python_version()}
    if setting.is_gpu:
        properties = torch.cuda.get_device_properties(device)
        yield {
            "device": properties.name,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "memory_gib": digits(properties.total_memory / 2**30),
            "multiprocessors": properties.multi_processor_count,
            "capability": list(torch.cuda.get_device_capability(device)),
        }
    num_values = 2**20 if setting.is_tiny else 2**30
    source = torch.zeros(num_values, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    milliseconds = wall_ms(lambda: target.copy_(source), device, seconds=0.3)
    yield {"copy_gb_per_second": digits(2 * num_values / milliseconds / 1e6)}
    size = 128 if setting.is_tiny else 8192
    for name, dtype in DTYPES.items():
        a = torch.randn(size, size, device=device, dtype=dtype)
        milliseconds = wall_ms(lambda a=a: a @ a, device, seconds=0.3)
        yield {f"{name}_tflops": digits(2 * size**3 / milliseconds / 1e9)}
    one = torch.zeros(1, device=device)
    yield {"launch_us": digits(1000 * wall_ms(lambda: one.add_(1), device, seconds=0.2))}


def operations(setting: Setting) -> Figures:
    """Milliseconds of the kernels of convolutions and batch norms, without their launches."""
    shapes = ((2, 8, 4),) if setting.is_tiny else SHAPES
    for batch_size, channels, resolution in shapes:
        x = torch.randn(batch_size, channels, resolution, resolution, device=setting.device)
        name = f"{batch_size}x{channels}x{resolution}x{resolution}"
        depthwise = torch.randn(channels, 1, 5, 5, device=setting.device)
        yield {f"depthwise 5x5 of {name}": _time_convolution(x, depthwise, groups=channels)}
        yield {f"batch norm with swish of {name}": _time_batch_norm(x)}
    batch_size, channels, resolution = shapes[-1]
    for kernel_size, num_outputs in ((1, 6 * channels), (3, channels)):
        size = (num_outputs, channels, kernel_size, kernel_size)
        weight = torch.randn(size, device=setting.device)
        name = f"{kernel_size}x{kernel_size} to {num_outputs} of {batch_size}x{channels}"
        yield {f"convolution {name}x{resolution}x{resolution}": _time_convolution(x, weight)}


def _time_convolution(x: Tensor, weight: Tensor, groups: int = 1) -> dict[str, float]:
    padding = weight.shape[-1] // 2
    times = {}
    for dtype_name, dtype in DTYPES.items():
        for layout_name, layout in LAYOUTS.items():
            a = x.to(dtype).contiguous(memory_format=layout)
            w = weight.to(dtype).contiguous(memory_format=layout)
            gradient = torch.randn_like(F.conv2d(a, w, padding=padding, groups=groups))

            def backward(
                mask: list[bool], a: Tensor = a, w: Tensor = w, gradient: Tensor = gradient
            ) -> object:
                return torch.ops.aten.convolution_backward(
                    gradient,
                    *(a, w, None, [1, 1], [padding, padding], [1, 1], False, [0, 0], groups, mask),
                )

            directions: dict[str, Callable[[], object]] = {
                "forward": lambda a=a, w=w: F.conv2d(a, w, padding=padding, groups=groups),
                "gradient of x": lambda backward=backward: backward([True, False, False]),
                "gradient of weight": lambda backward=backward: backward([False, True, False]),
            }
            for direction, work in directions.items():
                times[f"{dtype_name} {layout_name} {direction}"] = device_ms(work, x.device)
    return times


def _time_batch_norm(x: Tensor) -> dict[str, float]:
    norm = BatchNorm(x.shape[1], "swish").to(x.device).train()
    norm.scope = "local"
    times = {}
    for dtype_name, dtype in DTYPES.items():
        for layout_name, layout in LAYOUTS.items():
            a = x.to(dtype).contiguous(memory_format=layout).requires_grad_()
            gradient = torch.randn_like(a)

            def both(a: Tensor = a, gradient: Tensor = gradient) -> object:
                return torch.autograd.grad(norm(a), [a, norm.weight, norm.bias], gradient)

            name = f"{dtype_name} {layout_name}"
            with torch.no_grad():
                times[f"{name} forward"] = device_ms(lambda a=a: norm(a), x.device)
            times[f"{name} forward and backward"] = device_ms(both, x.device)
    return times


def weights(setting: Setting) -> Figures:
    """Milliseconds of what a step does with weights alone, as a whole and in kernels."""
    training = Training(setting.preset(), setting.device)
    training.step()
    state, bank = training.state, training.state.bank
    zero = torch.zeros((), device=setting.device)
    yield {"num_parameters": bank.size}

    def apply_bank() -> None:
        with bank.applied(torch.bfloat16), torch.no_grad():
            pass

    def add_penalties() -> None:
        bank.flat.grad = None
        with bank.applied(torch.bfloat16) as applied:
            loss = state.spectral(applied.matrices)
            (loss + batch_norm_penalty(applied.norm_scales, zero)).backward()
        bank.flat.grad = None

    inputs = step_inputs(SCHEDULE, stop=False, device=setting.device)
    gradients = torch.randn_like(bank.flat.data)
    one = torch.ones((), device=setting.device)

    def update() -> None:
        state.optimizer.update(gradients, inputs.learning_rate, one)

    works: dict[str, Callable[[], object]] = {
        "weights from the bank": apply_bank,
        "weights, spectral term and penalty, and their backward": add_penalties,
        "norm of the gradient": lambda: torch.linalg.vector_norm(gradients),
        "AdaMax": update,
    }
    for name, work in works.items():
        whole = wall_ms(work, setting.device, seconds=0.02 if setting.is_tiny else 0.5)
        kernels = device_ms(work, setting.device, num_calls=3)
        yield {name: {"ms": whole, "kernel_ms": digits(kernels)}}
