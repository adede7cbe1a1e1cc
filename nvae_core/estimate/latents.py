"""Costs of the latents of one group: the flow of their sample, and their KL divergence."""

from nvae_core.estimate.cost import Cost, FeatureMap, add_up, keep
from nvae_core.estimate.layers import activation, convolution

FLOW_EXPANSION = 6


def flow(z: FeatureMap, *, num_transforms: int) -> Cost:
    """Return the cost of the autoregressive transforms of a sample."""
    hidden = FeatureMap(FLOW_EXPANSION * z.channels, z.resolution)
    groups = hidden.channels
    transform = add_up(
        (
            convolution(z, hidden, 3, weight="masked", bias=False),
            activation(hidden),
            convolution(hidden, hidden, 5, weight="masked", groups=groups, bias=False),
            activation(hidden),
            activation(hidden),
            convolution(hidden, z, 1, weight="masked"),
        )
    )
    return transform * num_transforms


def kl_divergence(z: FeatureMap, *, has_flow: bool, prior_is_learned: bool) -> Cost:
    """Return the cost of posterior and prior, given their raw parameters, and of their KL.

    Reading the two halves of the raw parameters, adding those of the prior, and drawing the
    sample keep nothing but the noise, which is an input.
    """
    clamps = _num_kept_by_clamp() * (2 if prior_is_learned else 1)
    if has_flow:
        posterior = _num_kept_by_log_density(is_learned=True)
        divergence = posterior + _num_kept_by_log_density(is_learned=prior_is_learned)
    else:
        divergence = _num_kept_by_closed_form(prior_is_learned=prior_is_learned)
    return keep(z.num_values * (clamps + divergence))


def _num_kept_by_clamp() -> int:
    mean = 1  # 5 tanh(x / 5): the gradient of tanh reads its output
    sigma = 2  # exp(5 tanh(x / 5)): that of exp does too
    return mean + sigma


def _num_kept_by_closed_form(*, prior_is_learned: bool) -> int:
    """Return how many values per latent `kl_divergence(q, p)` keeps."""
    divisor = 1  # p.sigma, of both quotients
    quotients = 2  # square and logarithm read them
    dividends = 2 if prior_is_learned else 0  # for the gradient of p.sigma
    return divisor + quotients + dividends


def _num_kept_by_log_density(*, is_learned: bool) -> int:
    """Return how many values per latent `Normal.log_density(z)` keeps."""
    divisor = 1  # sigma
    quotient = 1  # the square reads it
    dividend = 1 if is_learned else 0  # for the gradient of sigma
    return divisor + quotient + dividend
