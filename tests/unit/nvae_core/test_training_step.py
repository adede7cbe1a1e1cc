import pytest
import torch

from nvae_core.config import ModelConfig, OptimizationConfig
from nvae_core.losses import balance_kl
from nvae_core.seeding import draw_noise
from nvae_core.training.adamax import Adamax
from nvae_core.training.metrics import StepMetrics
from nvae_core.training.schedules import Schedule
from nvae_core.training.state import TrainingState, start_training
from nvae_core.training.step import take_step

SCHEDULE = Schedule(learning_rate=0.01, kl_weight=0.5, spectral_weight=0.01)


@pytest.fixture
def state(model_config: ModelConfig) -> TrainingState:
    optimization = OptimizationConfig(epochs=1, batch_size=4, warmup_epochs=0)
    built = start_training(model_config, optimization, seed=0, device=torch.device("cpu"))
    built.model.train()
    return built


def step_once(
    state: TrainingState,
    x: torch.Tensor,
    schedule: Schedule = SCHEDULE,
    *,
    max_gradient_norm: float | None = None,
) -> StepMetrics:
    generator = torch.Generator().manual_seed(state.step)
    return take_step(
        state,
        x,
        draw_noise(state.model.noise_shapes(len(x)), generator),
        schedule=schedule,
        balancing=balance_kl("multiply", state.model.hierarchy.groups),
        penalize_batch_norm=True,
        stop_requested=False,
        max_gradient_norm=max_gradient_norm,
    )


def test_update_follows_adamax_with_coupled_weight_decay() -> None:
    parameter = torch.nn.Parameter(torch.tensor([0.5, -2.0]))
    optimizer = Adamax(parameter, weight_decay=3e-4)
    theta = parameter.detach().clone()
    m, u = torch.zeros(2), torch.zeros(2)
    for t, gradient in enumerate((torch.tensor([1.0, 0.0]), torch.tensor([-0.2, 3.0])), start=1):
        optimizer.update(gradient.clone(), torch.tensor(0.1), is_taken=torch.ones(()))
        g = gradient + 3e-4 * theta
        m = 0.9 * m + 0.1 * g
        u = torch.maximum(0.999 * u, g.abs() + 1e-3)
        theta = theta - 0.1 / (1 - 0.9**t) * m / u
        torch.testing.assert_close(parameter.detach(), theta)


def test_update_is_torchs_adamax(state: TrainingState) -> None:
    flat, generator = state.bank.flat, torch.Generator().manual_seed(0)
    reference = torch.nn.Parameter(flat.detach().clone())
    theirs = torch.optim.Adamax([reference], lr=0.01, eps=1e-3, weight_decay=3e-4)
    for is_taken in (1.0, 0.0, 1.0, 1.0):
        gradient = torch.randn(flat.shape, generator=generator)
        if is_taken:
            reference.grad = gradient.clone()
            theirs.step()
        else:
            gradient[7] = torch.nan
        state.optimizer.update(gradient, torch.tensor(0.01), torch.tensor(is_taken))
    torch.testing.assert_close(flat.detach(), reference.detach(), rtol=1e-5, atol=1e-7)
    moments = theirs.state[reference]
    torch.testing.assert_close(state.optimizer.mean, moments["exp_avg"], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(state.optimizer.norm, moments["exp_inf"], rtol=1e-5, atol=1e-7)
    assert state.optimizer.count.item() == 3


def test_loss_falls_on_one_batch(state: TrainingState, padded_images: torch.Tensor) -> None:
    first = step_once(state, padded_images)
    for _ in range(15):
        last = step_once(state, padded_images)
    assert last.values["negative_elbo"] < 0.8 * first.values["negative_elbo"]
    assert state.step == 16


def test_non_finite_step_changes_nothing_but_the_count(
    state: TrainingState, padded_images: torch.Tensor
) -> None:
    step_once(state, padded_images)
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    moments = {name: value.clone() for name, value in state.training_tensors().items()}
    outcome = step_once(state, torch.full_like(padded_images, torch.nan))
    assert not outcome.was_taken
    assert state.step == 2
    torch.testing.assert_close(state.model.state_dict(), before, rtol=0, atol=0)
    for name, value in state.training_tensors().items():
        if name.startswith("optimizer/"):
            assert torch.equal(value, moments[name])
    assert step_once(state, padded_images).was_taken


def test_step_with_too_large_a_gradient_changes_nothing_but_the_count(
    state: TrainingState, padded_images: torch.Tensor
) -> None:
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    outcome = step_once(state, padded_images, max_gradient_norm=1e-6)
    assert not outcome.was_taken
    assert (state.step, outcome.values["gradient_norm"] > 1e-6) == (1, True)
    torch.testing.assert_close(state.model.state_dict(), before, rtol=0, atol=0)
    assert step_once(state, padded_images, max_gradient_norm=1e6).was_taken


def test_without_spectral_weight_the_loss_has_no_penalties(
    state: TrainingState, padded_images: torch.Tensor
) -> None:
    outcome = step_once(state, padded_images, SCHEDULE._replace(spectral_weight=0, kl_weight=1))
    assert outcome.values["loss"] == pytest.approx(outcome.values["negative_elbo"])
    assert outcome.values["spectral_norm_sum"] == 0


def test_skipped_step_leaves_running_statistics_alone_and_a_taken_one_moves_them(
    state: TrainingState, padded_images: torch.Tensor
) -> None:
    before = state.running_statistics.values.clone()
    assert not step_once(state, torch.full_like(padded_images, torch.nan)).was_taken
    assert torch.equal(state.running_statistics.values, before)
    assert step_once(state, padded_images).was_taken
    changed = state.running_statistics.values != before
    assert changed.float().mean() > 0.9


def test_step_measures_the_divergence_of_each_channel(
    state: TrainingState, padded_images: torch.Tensor
) -> None:
    metrics = step_once(state, padded_images)
    assert metrics.kl_per_channel.shape == (3, 3)  # groups, latent channels
    assert metrics.kl_per_channel.sum().item() == pytest.approx(metrics.values["kl"], rel=1e-5)
    assert not metrics.kl_per_channel.requires_grad


def test_gradients_do_not_outlive_the_step(
    state: TrainingState, padded_images: torch.Tensor
) -> None:
    step_once(state, padded_images)
    assert state.bank.flat.grad is None
    assert all(parameter.grad is None for parameter in state.model.parameters())
