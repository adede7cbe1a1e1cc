"""Three training steps from the checkpoint (F)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from nvae_core.importing.names import batch_norms_in_published_order, paired_parameters
from nvae_core.model.nvae import NVAE
from nvae_core.objective import balance_kl
from nvae_core.training.outcome import StepOutcome
from nvae_core.training.schedules import StepWeights
from nvae_core.training.state import TrainingState
from nvae_core.training.step import take_step
from nvae_core.verification.comparison import Comparison, compare, compare_each, exactly
from nvae_core.verification.fixture import Fixture
from nvae_core.verification.objective import load_singular_vectors

COMPONENTS = (
    "reconstruction_loss",
    "weighted_kl",
    "spectral_norm_sum",
    "batch_norm_penalty",
    "loss",
)
# The reference itself is rounded. Where a batch norm cancels what a parameter does, all of its
# gradient is rounding: measured against float64, 1e-9 to 2e-8 of the norm of all gradients.
NOISE_NORM = 1e-4
NOISE_FRACTION = 1e-7
# Relative to these a bound of 1e-4 is 1e-5, and 2e-7 of the norm of all gradients.
NOISE_SCALE = 0.1
NOISE_SCALE_FRACTION = 2e-3


def compare_training_steps(fixture: Fixture, state: TrainingState) -> Iterator[Comparison]:
    """F: loss, gradients, updated parameters and statistics, step by step."""
    model = state.model
    names = [pair.published for pair in paired_parameters(model)]
    has_names = names == [str(name) for name in fixture.arrays["param_names"]]
    yield exactly("param_names", [float(has_names)], [1.0])
    load_singular_vectors(fixture, state.spectral, model, is_fresh=False)
    model.train()
    for step in range(len(fixture.tensor("train_components"))):
        outcome = _take_step(fixture, state, step)
        yield from _compare_components(fixture, outcome, step)
        yield from _compare_parameters(fixture, model, step)
    yield from _compare_statistics(fixture, model)


def _take_step(fixture: Fixture, state: TrainingState, step: int) -> StepOutcome:
    spectral_weight, kl_weight, learning_rate = fixture.tensor("train_consts").tolist()
    return take_step(
        state,
        fixture.tensor(f"train_x_{step}"),
        fixture.per_group(f"eps_train{step}", state.model),
        weights=StepWeights(learning_rate, kl_weight=kl_weight, spectral_weight=spectral_weight),
        balancing=balance_kl("divide", state.model.hierarchy.groups),
        penalize_batch_norm=True,
        stop_requested=False,
    )


def _compare_components(fixture: Fixture, outcome: StepOutcome, step: int) -> Iterator[Comparison]:
    references = fixture.tensor("train_components")[step].tolist()
    for component, reference in zip(COMPONENTS, references, strict=True):
        ours = outcome.values[component]
        yield compare_each(f"train_components/{component}", [ours], [reference])


def _compare_parameters(fixture: Fixture, model: NVAE, step: int) -> Iterator[Comparison]:
    pairs = list(paired_parameters(model))
    gradients = [_or_zero(pair.tensor.grad).double().norm() for pair in pairs]
    references = fixture.tensor("train_grad_norm")[: step + 1]
    totals = references.norm(dim=1)  # of all parameters, at each step so far
    noise_scale = (NOISE_SCALE_FRACTION * totals.max()).clamp_min(NOISE_SCALE)
    scale = references[step] + noise_scale
    yield compare("train_grad_norm", torch.stack(gradients), references[step], scale=scale)
    noise_norms = (NOISE_FRACTION * totals).clamp_min(NOISE_NORM)
    is_noise = (references < noise_norms[:, None]).any(dim=0)
    values = [pair.tensor.detach().double() for pair in pairs]
    norms = torch.stack([value.norm() for value in values])
    reference_norms = fixture.tensor("train_param_norm")[step]
    scale = torch.where(is_noise, noise_scale, reference_norms)
    yield compare("train_param_norm", norms, reference_norms, scale=scale)
    signs = torch.tensor([-1.0 if pair.is_negated else 1.0 for pair in pairs])
    sums = signs * torch.stack([value.sum() for value in values])
    reference_sums = fixture.tensor("train_param_sum")[step]
    # Sums of many signs cancel: relative to the norm where that is larger. A sum of n values
    # differs by at most sqrt(n) times as much as their norm.
    widths = torch.tensor([float(value.numel()) for value in values]).sqrt()
    scale = torch.maximum(torch.where(is_noise, widths * scale, scale), reference_sums.abs())
    yield compare("train_param_sum", sums, reference_sums, scale=scale)


def _compare_statistics(fixture: Fixture, model: NVAE) -> Iterator[Comparison]:
    norms = batch_norms_in_published_order(model)
    if not norms:
        return
    means = torch.stack([norm.running_mean.double().norm() for norm in norms])
    variances = torch.stack([norm.running_var.double().norm() for norm in norms])
    reference_means = fixture.tensor("train_bn_running_mean_norm")
    reference_variances = fixture.tensor("train_bn_running_var_norm")
    # Means can be 0 but for rounding: relative to the deviation too.
    scale = reference_means + reference_variances.sqrt()
    yield compare("train_bn_running_mean_norm", means, reference_means, scale=scale)
    yield compare_each("train_bn_running_var_norm", variances, reference_variances)


def _or_zero(gradient: Tensor | None) -> Tensor:
    return torch.zeros(()) if gradient is None else gradient
