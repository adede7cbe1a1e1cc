"""Everything that training changes, and that an exact resume needs back."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nvae_core.config import ComputeConfig, ModelConfig, OptimizationConfig
from nvae_core.model.batch_norm import normalize_over
from nvae_core.model.compilation import compile_cells
from nvae_core.model.convolutions import DataInitializedConv2d, fit_to_data
from nvae_core.model.noise import Noise, Stream, seeded_generator
from nvae_core.model.nvae import NVAE, build_model
from nvae_core.model.recomputation import recompute_cells
from nvae_core.model.regularization import SpectralRegularizer, convolutions_of
from nvae_core.training.adamax import Adamax
from nvae_core.training.gradient_averaging import GradientAverager
from nvae_core.training.gradient_scale import GradientScale
from nvae_core.training.measured import Measured

ADAMAX_BETAS = (0.9, 0.999)
ADAMAX_EPSILON = 1e-3
SIMPLEST = ComputeConfig()


@dataclass
class TrainingState:
    """The model, its optimizer, the singular vectors, the steps taken, and what they measured.

    Besides, how its gradients are computed: that is a configuration, but for the scale.
    """

    model: NVAE
    optimizer: torch.optim.Adamax
    spectral: SpectralRegularizer
    compute: ComputeConfig
    scale: GradientScale
    averager: GradientAverager
    step: int = 0
    measured: Measured = field(default_factory=Measured)

    def training_tensors(self) -> dict[str, Tensor]:
        """Return optimizer state, singular vectors and scale: what the model does not hold."""
        tensors = {f"spectral/{name}": value for name, value in self.spectral.state_dict().items()}
        tensors |= {f"scale/{name}": value for name, value in self.scale.tensors().items()}
        for name, parameter in self.model.named_parameters():
            for part, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer/{part}/{name}"] = value
        return tensors

    def load_training_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `training_tensors` returned.

        Raises:
            KeyError, RuntimeError: the tensors are not those of this model.
        """
        self.spectral.load_state_dict(under("spectral/", tensors))
        self.scale.load_tensors(under("scale/", tensors))
        for name, parameter in self.model.named_parameters():
            if f"optimizer/step/{name}" not in tensors:
                continue  # saved before the first update
            self.optimizer.state[parameter] = {
                "step": tensors[f"optimizer/step/{name}"].clone(),
                **{
                    part: _like(parameter, tensors[f"optimizer/{part}/{name}"])
                    for part in ("exp_avg", "exp_inf")
                },
            }


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with the prefix, by the rest of their names."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _like(parameter: Tensor, saved: Tensor) -> Tensor:
    if saved.shape != parameter.shape:
        raise RuntimeError(f"a moment is {tuple(saved.shape)}, not {tuple(parameter.shape)}")
    return torch.empty_like(parameter).copy_(saved)


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
        recompute_cells(model)
    if compute.compile:
        compile_cells(model)
    optimizer = Adamax(
        model.parameters(),
        lr=optimization.learning_rate,
        betas=ADAMAX_BETAS,
        eps=ADAMAX_EPSILON,
        weight_decay=optimization.weight_decay,
        foreach=True,
    )
    generator = seeded_generator(torch.device("cpu"), Stream.SINGULAR_VECTORS, seed)
    spectral = SpectralRegularizer(convolutions_of(model), generator).to(device)
    return TrainingState(
        model,
        optimizer,
        spectral,
        compute,
        GradientScale(compute, device),
        GradientAverager(model),
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
