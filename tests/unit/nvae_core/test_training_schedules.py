import pytest

from nvae_core.config import OptimizationConfig
from nvae_core.training.schedules import kl_weight, learning_rate, schedule_at, spectral_weight


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.0), (5, 0.005), (10, 0.01), (60, 0.00505), (110, 0.0001)]
)
def test_learning_rate_rises_linearly_then_falls_along_a_cosine(step: int, expected: float) -> None:
    rate = learning_rate(step, num_steps=110, warmup_steps=10, peak=0.01, minimum=0.0001)
    assert rate == pytest.approx(expected)


def test_learning_rate_without_warmup_starts_at_its_peak() -> None:
    assert learning_rate(0, num_steps=10, warmup_steps=0, peak=0.01, minimum=0.0) == 0.01


@pytest.mark.parametrize(("step", "expected"), [(0, 1e-4), (150, 0.49966667), (301, 1), (999, 1)])
def test_kl_weight_rises_over_the_first_30_percent(step: int, expected: float) -> None:
    weight = kl_weight(step, num_steps=1000, warmup_fraction=0.3, minimum=1e-4)
    assert weight == pytest.approx(expected)


def test_spectral_weight_is_the_geometric_mean_half_way() -> None:
    assert spectral_weight(0.5, final=0.01, initial=1.0) == pytest.approx(0.1)
    assert spectral_weight(1.0, final=0.01, initial=10.0) == pytest.approx(0.01)
    assert spectral_weight(0.3, final=0.0, initial=None) == 0.0


def test_weights_of_a_step_follow_the_configuration() -> None:
    optimization = OptimizationConfig(
        epochs=10, batch_size=1, warmup_epochs=1, initial_spectral_weight=1.0
    )
    weights = schedule_at(50, num_steps=1000, steps_per_epoch=100, optimization=optimization)
    assert weights.learning_rate == pytest.approx(0.005)
    assert weights.kl_weight == pytest.approx(49.9 / 300)
    assert weights.spectral_weight == pytest.approx(0.01 ** (49.9 / 300))
