"""What the sections of a session on a GPU work on: devices, models, steps, and their time."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from nvae_core.config import ComputeConfig, ModelConfig, OptimizationConfig
from nvae_core.distributed import prepare_device
from nvae_core.losses import balance_kl
from nvae_core.presets import Preset, find_preset
from nvae_core.seeding import draw_noise
from nvae_core.training.metrics import StepMetrics
from nvae_core.training.schedules import Schedule
from nvae_core.training.state import TrainingState, start_training
from nvae_core.training.step import compute_step, step_inputs, take_step

LAUNCHES = ("cudaLaunch", "cuLaunch", "cudaGraphLaunch")  # calls of CUDA begin so
NAME_CHARACTERS = 120  # of a kernel
SCHEDULE = Schedule(learning_rate=1e-3, kl_weight=0.5, spectral_weight=0.01)
# All kinds of parts: two scales, flows, both towers' cells, a mixture of logistics.
TINY = Preset(
    name="tiny",
    description="for rehearsals",
    model=ModelConfig(
        image_size=8,
        num_colors=3,
        image_distribution="logistic_mixture",
        num_groups_per_scale=(1, 2),
        num_latents_per_group=2,
        num_flow_transforms=2,
        num_encoder_channels=4,
        num_decoder_channels=4,
        num_preprocess_cells=1,
        num_postprocess_cells=1,
        num_encoder_cells_per_group=1,
        num_decoder_cells_per_group=1,
    ),
    optimization=OptimizationConfig(epochs=2, batch_size=2, warmup_epochs=0),
    num_ranks=1,
)


@dataclass(frozen=True)
class Setting:
    """Where a section computes, and how much."""

    device: torch.device
    size: Literal["full", "tiny"]
    main_preset: str

    @property
    def is_gpu(self) -> bool:
        """Whether the device is one."""
        return self.device.type == "cuda"

    @property
    def is_tiny(self) -> bool:
        """Whether it is a rehearsal."""
        return self.size == "tiny"

    def preset(self, name: str | None = None) -> Preset:
        """Return a preset, the main one by default; or the tiny one in place of all of them."""
        return TINY if self.is_tiny else find_preset(name or self.main_preset)


def open_setting(device: str, size: Literal["full", "tiny"], preset: str) -> Setting:
    """Return the setting, and prepare the device as training does."""
    prepare_device()
    if device == "cpu":
        torch.set_num_threads(1)
        return Setting(torch.device("cpu"), size, preset)
    torch.cuda.set_device(0)
    return Setting(torch.device("cuda", 0), size, preset)


class Training:
    """A state in the middle of the KL warm-up, and a batch of random images and noise."""

    def __init__(
        self, preset: Preset, device: torch.device, *, batch_size: int | None = None, **compute: Any
    ) -> None:
        self.preset = preset
        self.device = device
        self.compute = ComputeConfig.model_validate({"precision": "bf16", **compute})
        prepare_device(deterministic=self.compute.deterministic)
        self.state: TrainingState = start_training(
            preset.model, preset.optimization, seed=0, device=device, compute=self.compute
        )
        self.state.model.train()
        self.terms: Mapping[str, Any] = {
            "balancing": balance_kl("divide", self.state.model.hierarchy.groups, device),
            "penalize_batch_norm": True,
        }
        self.use_batch(batch_size or preset.optimization.batch_size)

    def use_batch(self, batch_size: int) -> None:
        """Take steps on so many images from now on."""
        self.batch_size = batch_size
        self.x = random_images(self.preset.model, batch_size).to(self.device)

    def noise(self, step: int = 0, *, drawn_on: torch.device | None = None) -> tuple[Tensor, ...]:
        """Return the noise of a step."""
        generator = torch.Generator(drawn_on or self.device).manual_seed(step)
        noise = draw_noise(self.state.model.noise_shapes(self.batch_size), generator)
        return tuple(group.to(self.device) for group in noise)

    def step(self) -> StepMetrics:
        """Take a step, as the training loop does, and wait for it."""
        metrics = take_step(
            self.state,
            self.x,
            self.noise(self.state.step),
            schedule=SCHEDULE,
            stop_requested=False,
            **self.terms,
        )
        assert metrics.values
        return metrics

    def compute_step(self, noise: tuple[Tensor, ...]) -> StepMetrics:
        """Take a step without waiting for it; its inputs come from memory that is pinned."""
        return compute_step(
            self.state,
            self.x,
            noise,
            step_inputs(SCHEDULE, stop=False, device=self.device),
            is_regularized=True,
            max_gradient_norm=float("inf"),
            **self.terms,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return all that a step changes."""
        state = self.state
        return {
            **state.bank.views(state.bank.flat.data),
            "first moment": state.optimizer.mean,
            "second moment": state.optimizer.norm,
            "updates": state.optimizer.count,
            "running statistics": state.running_statistics.values,
            **dict(state.spectral.named_buffers()),
        }

    def copy_tensors(self) -> dict[str, Tensor]:
        """Return copies of them."""
        return {name: tensor.clone() for name, tensor in self.tensors().items()}

    def restore(self, tensors: Mapping[str, Tensor], *, step: int) -> None:
        """Set them back."""
        with torch.no_grad():
            for name, tensor in self.tensors().items():
                tensor.copy_(tensors[name])
        self.state.step = step


def random_images(model: ModelConfig, batch_size: int) -> Tensor:
    """Return padded images in [0, 1]."""
    shape = (batch_size, model.num_colors, model.resolution, model.resolution)
    levels = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0))
    x = (levels > 127).float() if model.num_colors == 1 else levels / 255.0
    return x.contiguous(memory_format=torch.channels_last)


def differing(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors that are not equal in every bit."""
    return [name for name, value in left.items() if not torch.equal(value, right[name])]


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def wall_ms(
    work: Callable[[], object], device: torch.device, *, seconds: float = 1.0, warmup: int = 2
) -> float:
    """Return milliseconds of one call, of about as many calls as fit the time."""
    for _ in range(warmup):
        work()
    synchronize(device)
    began_at, num_calls = time.perf_counter(), 0
    while num_calls == 0 or (time.perf_counter() - began_at < seconds and num_calls < 1000):
        work()
        num_calls += 1
        if num_calls % 32 == 0 or num_calls == 1:
            synchronize(device)  # the host is not to run ahead by more
    synchronize(device)
    return digits(1000 * (time.perf_counter() - began_at) / num_calls)


def device_ms(work: Callable[[], object], device: torch.device, *, num_calls: int = 10) -> float:
    """Return milliseconds that kernels of one call run, whatever the host needs to launch them."""
    if device.type != "cuda":
        return wall_ms(work, device, seconds=0.01, warmup=1)
    work()
    return digits(sum(kernel_times(work, device, num_calls=num_calls).values()))


def kernel_times(
    work: Callable[[], object], device: torch.device, *, num_calls: int
) -> dict[str, float]:
    """Return milliseconds in each kernel, or operation of a CPU, per call; longest first."""
    times: dict[str, float] = {}
    for event in _profile(work, device, num_calls):
        name = event.key[:NAME_CHARACTERS]
        if device.type == "cpu":
            microseconds = event.self_cpu_time_total
        else:
            microseconds = event.self_device_time_total if _is_on_device(event) else 0
        if microseconds > 0:
            times[name] = times.get(name, 0.0) + microseconds / 1000 / num_calls
    return dict(sorted(times.items(), key=lambda item: -item[1]))


def count_launches(work: Callable[[], object], device: torch.device) -> dict[str, int]:
    """Return how often one call launches, and how many kernels run; of a CPU, its operations."""
    events = _profile(work, device, 1)
    if device.type == "cpu":
        return {"launches": sum(event.count for event in events)}
    launches = [event for event in events if event.key.startswith(LAUNCHES)]
    return {
        "launches": sum(event.count for event in launches),
        "kernels_run": sum(event.count for event in events if _is_on_device(event)),
    }


def _is_on_device(event: Any) -> bool:
    return bool(event.device_type == DeviceType.CUDA)


def _profile(work: Callable[[], object], device: torch.device, num_calls: int) -> list[Any]:
    is_gpu = device.type == "cuda"
    activity = ProfilerActivity.CUDA if is_gpu else ProfilerActivity.CPU
    synchronize(device)
    with profile(activities=[activity]) as profiler:
        for _ in range(num_calls):
            work()
        synchronize(device)
    return list(profiler.key_averages())


def digits(value: float) -> float:
    """Return four digits of a value."""
    return float(f"{value:.4g}")
