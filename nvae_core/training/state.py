"""Everything that training changes, and that an exact resume needs back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nvae_core.config import ComputeConfig, ModelConfig, OptimizationConfig
from nvae_core.losses import Objective, SpectralRegularizer, compute_objective
from nvae_core.model.activation_checkpointing import checkpoint_activations
from nvae_core.model.batch_norm import RunningStatistics, normalize_over
from nvae_core.model.compilation import compile_modules, compile_objective
from nvae_core.model.convolutions import DataInitializedConv2d, fit_to_data
from nvae_core.model.nvae import NVAE, build_model
from nvae_core.model.weight_bank import WeightBank
from nvae_core.seeding import Noise, Stream, seeded_generator
from nvae_core.training.adamax import Adamax
from nvae_core.training.metrics import RunningMetrics

SIMPLEST = ComputeConfig()
INITIAL_SCALE = 1024.0
MIN_SCALE = 1.0
STEPS_TO_GROWTH = 2000


class GradientScale:
    """The factor that keeps gradients in the range of float16; other precisions have none.

    It only sees gradients that are averaged over the ranks, so it is the same on all of them.
    """

    def __init__(self, compute: ComputeConfig, device: torch.device) -> None:
        self.is_needed = compute.precision == "fp16"
        self.value = torch.tensor(INITIAL_SCALE if self.is_needed else 0.0, device=device)
        self._num_finite = torch.zeros((), device=device)  # steps since it changed

    def scale(self, loss: Tensor) -> Tensor:
        """Return the loss to take the gradient of."""
        return loss * self.value if self.is_needed else loss

    def unscale(self, gradients: Tensor) -> Tensor:
        """Divide gradients by what the loss was multiplied by, and return that; 0 for none."""
        if self.is_needed:
            gradients /= self.value
        return self.value.clone()

    def adapt(self, is_finite: Tensor) -> Tensor:
        """Lower the scale if the gradients overflowed, raise it after many that did not.

        Returns:
            1 where it was lowered, as the step may succeed when it is tried again; else 0.
        """
        if not self.is_needed:
            return torch.zeros_like(self.value)
        before = self.value.clone()
        num_finite = torch.where(is_finite, self._num_finite + 1, 0)
        grown = torch.where(num_finite == STEPS_TO_GROWTH, 2 * before, before)
        self.value.copy_(torch.where(is_finite, grown, before / 2).clamp_min(MIN_SCALE))
        self._num_finite.copy_(num_finite % STEPS_TO_GROWTH)
        return (self.value < before).float()

    def tensors(self) -> dict[str, Tensor]:
        """Return everything by name; nothing where there is no scale."""
        if not self.is_needed:
            return {}
        return {"scale": self.value.double(), "growth": self._num_finite.double()}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `tensors` returned; without any, as from another precision, begin anew."""
        if tensors and self.is_needed:
            self.value.copy_(tensors["scale"])
            self._num_finite.copy_(tensors["growth"])


@dataclass
class TrainingState:
    """The model, its optimizer, the singular vectors, the steps taken, and what they measured.

    Besides, how its gradients are computed: that is a configuration, but for the scale.
    """

    model: NVAE
    bank: WeightBank
    running_statistics: RunningStatistics
    optimizer: Adamax
    spectral: SpectralRegularizer
    compute: ComputeConfig
    scale: GradientScale
    objective: Callable[..., Objective] = compute_objective
    step: int = 0
    metrics: RunningMetrics = field(default_factory=RunningMetrics)

    def training_tensors(self) -> dict[str, Tensor]:
        """Return optimizer state, singular vectors and scale: what the model does not hold."""
        tensors = {f"spectral/{name}": value for name, value in self.spectral.state_dict().items()}
        tensors |= {f"scale/{name}": value for name, value in self.scale.tensors().items()}
        moments = {"exp_avg": self.optimizer.mean, "exp_inf": self.optimizer.norm}
        for part, flat in moments.items():
            for name, value in self.bank.views(flat).items():
                tensors[f"optimizer/{part}/{name}"] = value
        for name, _ in self.model.named_parameters():
            tensors[f"optimizer/step/{name}"] = self.optimizer.count
        return tensors

    def load_training_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `training_tensors` returned.

        Raises:
            KeyError, RuntimeError: the tensors are not those of this model.
        """
        self.spectral.load_state_dict(under("spectral/", tensors))
        self.scale.load_tensors(under("scale/", tensors))
        counts = {value.item() for value in under("optimizer/step/", tensors).values()}
        if not counts:
            return  # saved before the first update
        if len(counts) > 1:
            raise RuntimeError(f"the parameters have been updated {sorted(counts)} times")
        self.optimizer.count.fill_(counts.pop())
        for part, flat in (("exp_avg", self.optimizer.mean), ("exp_inf", self.optimizer.norm)):
            for name, view in self.bank.views(flat).items():
                saved = tensors[f"optimizer/{part}/{name}"]
                if saved.shape != view.shape:
                    shapes = f"{tuple(saved.shape)}, not {tuple(view.shape)}"
                    raise RuntimeError(f"a moment of {name} is {shapes}")
                view.copy_(saved)


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with the prefix, by the rest of their names."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def start_training(
    model_config: ModelConfig,
    optimization: OptimizationConfig,
    *,
    seed: int,
    device: torch.device,
    compute: ComputeConfig = SIMPLEST,
) -> TrainingState:
    """Return the state before the first step; the same on all ranks.

    Raises:
        CannotCompile: compilation is asked for, and there is no compiler.
    """
    model = build_model(model_config, seed).to(device)
    normalize_over(model, compute.batch_norm_statistics)
    if compute.activation_checkpointing:
        checkpoint_activations(model)
    if compute.compile:
        compile_modules(model)
    generator = seeded_generator(torch.device("cpu"), Stream.SINGULAR_VECTORS, seed)
    bank = WeightBank(model)
    return TrainingState(
        model=model,
        bank=bank,
        running_statistics=RunningStatistics(model),
        optimizer=Adamax(bank.flat, weight_decay=optimization.weight_decay),
        spectral=SpectralRegularizer(model, generator).to(device),
        compute=compute,
        scale=GradientScale(compute, device),
        objective=compile_objective(compute_objective) if compute.compile else compute_objective,
    )


@contextmanager
def evaluating(state: TrainingState) -> Iterator[None]:
    """Evaluate within the block, and train after it; cells are compiled for training only."""
    state.model.eval()
    try:
        with torch.compiler.set_stance("force_eager") if state.compute.compile else nullcontext():
            yield
    finally:
        state.model.train()


@torch.no_grad()
def initialize_from_data(model: NVAE, x: Tensor, noise: Noise) -> None:
    """Fit the convolutions that no batch norm precedes, if there are any, to a first batch."""
    if not any(isinstance(module, DataInitializedConv2d) for module in model.modules()):
        return
    with fit_to_data(model):
        model(x, noise)
