"""Probability of one bin of a logistic distribution, in logarithms.

The 2^bits levels lie in [-1, 1], two half bins apart; the lowest bin is open below, the highest
above. The functions take tensors that broadcast against each other, and return nats.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

NARROW = 1e-4  # bins narrower than this many scales take the series of log(1 - exp(-width))


def bin_log_prob(x: Tensor, means: Tensor, log_scales: Tensor, bit_depth: int) -> Tensor:
    """Return the log probability of the level nearest to x; over all levels they sum to 1.

    With the bin's edges a and b in scales from the mean, it rests on
    sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), which loses no digits.
    """
    last = 2**bit_depth - 1
    # From whole numbers, so that the edge between two bins is the same number in both.
    position = 2.0 * torch.round((x + 1.0) * (last / 2)) - last  # -last, -last + 2, ..., last
    inverse_scales = torch.exp(-log_scales)
    log_below_upper = F.logsigmoid(inverse_scales * ((position + 1.0) / last - means))
    log_above_lower = F.logsigmoid(-inverse_scales * ((position - 1.0) / last - means))
    inside = log_below_upper + log_above_lower + _log_one_minus_exp(log_scales, 2.0 / last)
    log_prob = torch.where(position == last, log_above_lower, inside)
    return torch.where(position == -last, log_below_upper, log_prob)


def published_bin_log_prob(x: Tensor, means: Tensor, log_scales: Tensor, bit_depth: int) -> Tensor:
    """Return what the published implementation takes for `bin_log_prob`.

    At 8 bits the last level but one counts as open above too, so that the probabilities sum to
    more than 1 for bright pixels; a bin of tiny probability takes the density at its middle.
    """
    half_bin = 1.0 / (2**bit_depth - 1)
    inverse_scales = torch.exp(-log_scales)
    upper = inverse_scales * (x - means + half_bin)
    lower = inverse_scales * (x - means - half_bin)
    middle = inverse_scales * (x - means)
    mass = torch.sigmoid(upper) - torch.sigmoid(lower)
    log_density = middle - log_scales - 2.0 * F.softplus(middle) + math.log(2.0 * half_bin)
    log_mass = torch.log(mass.clamp_min(1e-10))
    log_prob = torch.where(mass > 1e-5, log_mass, log_density)
    log_prob = torch.where(x > 0.99, -F.softplus(lower), log_prob)
    return torch.where(x < -0.999, upper - F.softplus(upper), log_prob)


def _log_one_minus_exp(log_scales: Tensor, bin_width: float) -> Tensor:
    """Return log(1 - exp(-w)) where w is the width of a bin in scales."""
    width = bin_width * torch.exp(-log_scales)
    narrow = math.log(bin_width) - log_scales - width / 2.0
    return torch.where(width < NARROW, narrow, torch.log(-torch.expm1(-width.clamp_min(NARROW))))
