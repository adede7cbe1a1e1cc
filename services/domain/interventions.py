"""What is changed before training is tried again after its loss was not finite.

Merely going on does not help: the same images in the same order meet the same weights. So the
next attempt starts from the last checkpoint but one, sees another order, learns more slowly, and
its spectral regularization is stronger.
"""

from nvae_core.config import OptimizationConfig

MAX_INTERVENTIONS = 3
_RATE_FACTOR = 0.7
_SPECTRAL_FACTOR = 2.0
_SEED_STEP = 1_000_003
_LARGEST_SEED = 2**63 - 1


def calm(optimization: OptimizationConfig, *, number: int) -> OptimizationConfig:
    """Return the optimization after this many interventions; 0 changes nothing."""
    rate = optimization.learning_rate * _RATE_FACTOR**number
    update = {
        "learning_rate": rate,
        "min_learning_rate": min(optimization.min_learning_rate, rate),
        "spectral_weight": optimization.spectral_weight * _SPECTRAL_FACTOR**number,
    }
    if optimization.initial_spectral_weight is not None:
        update["initial_spectral_weight"] = (
            optimization.initial_spectral_weight * _SPECTRAL_FACTOR**number
        )
    return optimization.model_copy(update=update) if number else optimization


def salted_seed(seed: int, *, number: int) -> int:
    """Return the seed of the order and the noise after this many interventions."""
    return (seed + number * _SEED_STEP) % _LARGEST_SEED if number else seed
