"""Cost of the log probability of an image under the distribution that the decoder returns."""

from nvae_core.config import ModelConfig
from nvae_core.estimate.cost import NOTHING, Cost, FeatureMap, add_up, keep, keep_booleans


def log_prob(config: ModelConfig, parameters: FeatureMap) -> Cost:
    """Return the cost of log p(x | z), given the output of the image head."""
    # Cross entropy and the clamp of the log scales read a part of it, and so keep it all.
    kept = keep(parameters.num_values)
    if config.image_distribution == "bernoulli":
        return kept
    return kept + _logistic_mixture(config)


def _logistic_mixture(config: ModelConfig) -> Cost:
    num_pixels = config.image_size**2
    num_levels = num_pixels * config.num_colors
    num_bins = num_levels * config.num_mixtures
    per_bin = _num_kept_per_bin() if config.logistic_bins == "exact" else _num_kept_as_published()
    return add_up(
        (
            # Coefficients are kept by tanh, the image by their products with it.
            keep(num_bins + num_levels) if config.num_colors == 3 else NOTHING,
            keep(num_bins * per_bin),
            keep_booleans(num_bins),  # where the bin is narrow, or as published, improbable
            keep_booleans(2 * num_levels),  # where it is open above, and below
            keep(num_pixels * config.num_mixtures),  # what log softmax returns
            keep(num_pixels * (config.num_mixtures + 1)),  # what log sum exp reads and returns
        )
    )


def _num_kept_per_bin() -> int:
    """Return how many values the probability of one bin keeps, term by term."""
    inverse_scale = 1  # what exp returns, and a factor
    log_below_upper = 3  # the other factor; what log sigmoid reads; on the CPU its buffer too
    log_above_lower = 4  # the same, and the factor is negated
    width = 2  # what exp returns; what the clamp reads
    log_one_minus_exp = 2  # what expm1 returns; what log reads
    return inverse_scale + log_below_upper + log_above_lower + width + log_one_minus_exp


def _num_kept_as_published() -> int:
    """Return the same for the rule of the published implementation."""
    inverse_scale = 1  # what exp returns, and a factor
    upper = lower = middle = 2  # the other factor; the product, which softplus reads
    sigmoids = 2  # what they return
    log_mass = 2  # what the clamp reads; what log reads
    return inverse_scale + upper + lower + middle + sigmoids + log_mass
