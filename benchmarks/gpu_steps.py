"""Sections of a session on a GPU: training steps, whether they are right, and what they take."""

import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.gpu_cases import (
    SCHEDULE,
    TINY,
    Setting,
    Training,
    count_launches,
    differing,
    digits,
    kernel_times,
    synchronize,
    wall_ms,
)
from nvae_core.estimate import estimate
from nvae_core.model.activation_checkpointing import checkpoint_activations
from nvae_core.model.compilation import compile_modules, compile_objective
from nvae_core.runtime.errors import measure_memory, reason_for
from nvae_core.training.metrics import StepMetrics
from nvae_core.training.reporter import peak_memory_bytes
from nvae_core.training.step import take_step
from nvae_core.training.step_graph import WARM_UP_STEPS, StepGraph

Figures = Iterator[dict[str, object]]
NUM_KERNELS = 15  # that are listed
SMALL_FRACTION = 0.05  # of a GPU's memory, that is soon too little
SMALL_SHARE = 1e-3  # of the gradient: parts below it have errors relative to this
GIB = 2**30


class _GradientKeeper:
    """Stands in for the optimizer, and changes nothing."""

    gradients: Tensor

    def update(self, gradients: Tensor, _rate: Tensor, _is_taken: Tensor) -> None:
        self.gradients = gradients.detach().cpu().clone()


def right(setting: Setting) -> Figures:
    """Errors of loss and gradients of a tiny model beside those of the CPU in float32."""
    loss, gradients = _gradients_of(torch.device("cpu"), "float32")
    yield {"loss": digits(loss)}
    for precision in ("float32", "bf16", "fp16"):
        yield {precision: _errors(loss, gradients, *_gradients_of(setting.device, precision))}
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    yield {"tf32": _errors(loss, gradients, *_gradients_of(setting.device, "tf32"))}


def _gradients_of(device: torch.device, precision: str) -> tuple[float, dict[str, Tensor]]:
    is_tf32 = precision == "tf32"
    training = Training(TINY, device, batch_size=8, precision="float32" if is_tf32 else precision)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = is_tf32
    keeper: Any = _GradientKeeper()
    training.state.optimizer = keeper
    metrics = training.compute_step(training.noise(drawn_on=torch.device("cpu")))
    return metrics.values["loss"], training.state.bank.views(keeper.gradients)


def _errors(
    loss: float, gradients: Mapping[str, Tensor], other_loss: float, others: Mapping[str, Tensor]
) -> dict[str, object]:
    """Return relative errors of the loss, of the gradient, and the worst of a parameter's."""
    size = sum(float(g.square().sum()) for g in gradients.values())
    smallest = SMALL_SHARE * size**0.5  # a bias before a batch norm has a gradient of 0
    errors = {
        name: float((others[name] - value).norm() / value.norm().clamp_min(smallest))
        for name, value in gradients.items()
    }
    worst = max(errors, key=lambda name: errors[name])
    difference = sum(float((others[name] - g).square().sum()) for name, g in gradients.items())
    return {
        "loss": digits(abs(other_loss - loss) / abs(loss)),
        "gradient": digits((difference / size) ** 0.5),
        "worst_parameter": [worst, digits(errors[worst])],
    }


class WaitsForDevice(TorchDispatchMode):
    """Notes where a tensor's value is read, which waits for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            frames = [f for f in traceback.extract_stack() if "nvae_core" in f.filename]
            place = frames[-1] if frames else traceback.extract_stack()[-2]
            self.places.append(f"{place.filename.rpartition('/')[2]}:{place.lineno}")
        return func(*args, **(kwargs or {}))


def synchronisations(setting: Setting) -> Figures:
    """Where a step waits for the device: nowhere, but for AdaMax on a CPU."""
    training = Training(setting.preset(), setting.device)
    for _ in range(2):
        training.step()
    noise = training.noise(2)
    with WaitsForDevice() as mode:
        training.compute_step(noise)
    yield {"reads": mode.places}
    if not setting.is_gpu:
        return
    synchronize(setting.device)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        training.compute_step(noise)
        torch.cuda.set_sync_debug_mode("default")
    yield {"warnings": [f"{w.filename.rpartition('/')[2]}:{w.lineno} {w.message}" for w in caught]}
    torch.cuda.set_sync_debug_mode("error")
    try:
        training.compute_step(noise)
        yield {"in_error_mode": "no error"}
    except RuntimeError as error:
        yield {"in_error_mode": str(error)}
    finally:
        torch.cuda.set_sync_debug_mode("default")


def eager(setting: Setting) -> Figures:
    """Speed, launches, kernels and memory of a step that is not compiled."""
    training = Training(setting.preset(), setting.device)
    yield from _speed(training, setting)
    device = setting.device
    yield {**count_launches(training.step, device)}
    times = kernel_times(training.step, device, num_calls=2)
    busy = sum(times.values())
    longest = {name: digits(times[name]) for name in list(times)[:NUM_KERNELS]}
    yield {"kernel_ms": digits(busy), "kernels": longest}
    step_ms = wall_ms(training.step, device, seconds=_seconds(setting), warmup=1)
    yield {"idle_share": digits(1 - busy / step_ms)}


def _seconds(setting: Setting) -> float:
    return 0.05 if setting.is_tiny else 5.0


def _speed(training: Training, setting: Setting) -> Figures:
    """Yield images per second, and memory beside the estimate."""
    if setting.is_gpu:
        torch.cuda.reset_peak_memory_stats(setting.device)
    began_at = time.perf_counter()
    training.step()
    yield {"first_step_seconds": digits(time.perf_counter() - began_at)}
    step_ms = wall_ms(training.step, setting.device, seconds=_seconds(setting))
    yield {
        "batch_size": training.batch_size,
        "step_ms": step_ms,
        "images_per_second": digits(1000 * training.batch_size / step_ms),
        **_memory(training),
    }


def _memory(training: Training) -> dict[str, object]:
    """Return the peak of memory in GiB and of the estimate, which has room for torch itself."""
    costs = estimate(training.preset.model)
    return {
        "peak_gib": digits(peak_memory_bytes(training.device) / GIB),
        "estimated_gib": digits(costs.training_bytes(training.batch_size, "bf16") / GIB),
    }


def bits(setting: Setting) -> Figures:
    """Whether the same two steps give the same bits three times, and what that costs."""
    for is_deterministic in (True, False):
        training = Training(setting.preset(), setting.device, deterministic=is_deterministic)
        training.step()
        start = training.copy_tensors()
        ends = []
        for _ in range(3):
            training.restore(start, step=1)
            training.step()
            training.step()
            ends.append(training.copy_tensors())
        names = sorted({name for end in ends[1:] for name in differing(ends[0], end)})
        yield {
            "deterministic" if is_deterministic else "not deterministic": {
                "equal": not names,
                "differing": [len(names), *names[:5]],
                "step_ms": wall_ms(training.step, setting.device, seconds=_seconds(setting) / 2),
            }
        }


def compiled(setting: Setting) -> Figures:
    """Seconds to compile, and what that gives."""
    began_at = time.perf_counter()
    training = _compiled_training(setting)
    training.step()
    yield {"compile_seconds": digits(time.perf_counter() - began_at)}
    yield from _speed(training, setting)
    yield {**count_launches(training.step, setting.device)}
    counters = torch._dynamo.utils.counters
    yield {"graphs": counters["stats"]["unique_graphs"], "breaks": len(counters["graph_break"])}


def _compiled_training(setting: Setting) -> Training:
    preset = setting.preset()
    if setting.is_gpu:
        return Training(preset, setting.device, compile=True)
    training = Training(preset, setting.device)  # in a rehearsal only what it would compile
    compile_modules(training.state.model, backend="eager")
    training.state.objective = compile_objective(training.state.objective, backend="eager")
    return training


def graph(setting: Setting) -> Figures:
    """A step as one CUDA graph: of the step as it is, and of the compiled one."""
    if not setting.is_gpu:
        yield {"stand_in": "a CPU has no CUDA graphs: plain steps in their place"}
    builds: dict[str, Callable[[], Training]] = {
        "eager": lambda: Training(setting.preset(), setting.device)
    }
    if setting.is_gpu:
        builds["compiled"] = lambda: _compiled_training(setting)
    errors = []
    for name, build in builds.items():
        figures: dict[str, object] = {}
        try:
            for part in _measure_graph(build(), setting):
                figures |= part
                yield {name: figures}
        except RuntimeError as error:  # the other one may work
            yield {name: figures | {"failed": str(error)[:1000]}}
            errors.append(error)
    if errors:
        raise errors[0]


def _measure_graph(training: Training, setting: Setting) -> Figures:
    state = training.state
    step_of_graph: Callable[..., StepMetrics] = partial(take_step, state, **training.terms)
    if setting.is_gpu:
        step_of_graph = StepGraph(state, max_gradient_norm=None, **training.terms).take_step
    num_steps = WARM_UP_STEPS + 3

    def step() -> None:
        noise = training.noise(state.step)
        metrics = step_of_graph(training.x, noise, schedule=SCHEDULE, stop_requested=False)
        assert metrics.values

    training.step()
    start = training.copy_tensors()
    for _ in range(num_steps):
        training.step()
    expected = training.copy_tensors()
    training.restore(start, step=1)
    seconds = []
    for _ in range(num_steps):
        began_at = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began_at)
    names = differing(expected, training.tensors())
    yield {
        "capture_seconds": digits(seconds[WARM_UP_STEPS]),
        "equal": not names,
        "differing": [len(names), *names[:5]],
    }
    step_ms = wall_ms(step, setting.device, seconds=_seconds(setting))
    yield {
        "step_ms": step_ms,
        "images_per_second": digits(1000 * training.batch_size / step_ms),
        **_memory(training),
    }
    kernels = kernel_times(step, setting.device, num_calls=2)
    yield {"kernel_ms": digits(sum(kernels.values()))}


def large(setting: Setting) -> Figures:
    """Speed and memory at 256x256, and what a lack of memory is called."""
    training = Training(setting.preset("celeba_hq_256-released"), setting.device)
    sizes = (1, 2) if setting.is_tiny else (4, 8, 12)
    for batch_size in sizes:
        yield {f"batch {batch_size}": _figures_at(batch_size, training, setting)}
    checkpoint_activations(training.state.model)
    lean = _figures_at(sizes[1], training, setting)
    yield {f"batch {sizes[1]}, activation checkpointing": lean}
    try:
        if setting.is_gpu:
            torch.cuda.set_per_process_memory_fraction(SMALL_FRACTION)
            training.use_batch(4096 if setting.is_tiny else 48)
            training.step()
        else:
            torch.empty(2**50)
        yield {"out_of_memory": "did not happen"}
    except (RuntimeError, MemoryError) as error:
        reason = reason_for(error, measure_memory())
        yield {"out_of_memory": [reason.value, type(error).__name__, str(error)[:300]]}


def _figures_at(batch_size: int, training: Training, setting: Setting) -> dict[str, object]:
    """Return the figures of `_speed`, or the reason why there are none."""
    figures: dict[str, object] = {}
    if setting.is_gpu:
        torch.cuda.empty_cache()
    try:
        training.use_batch(batch_size)
        for part in _speed(training, setting):
            figures |= part
    except torch.OutOfMemoryError as error:
        figures["out_of_memory"] = str(error)[:300]
    return figures
