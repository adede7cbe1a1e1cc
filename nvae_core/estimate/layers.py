"""Costs of single layers.

What makes them add up: a layer counts its input where its backward pass reads it, and never its
output, which is the input of what follows. Where two layers read the same tensor one of them
counts it, and the other `shares_input`.
"""

from typing import Literal

from nvae_core.estimate.cost import NOTHING, Cost, FeatureMap, keep

# Tensors of the weight's shape beside the parameter: the normalized weight, which is held; for a
# masked one also the mask, and the masked weight, which the gradient of the norm reads.
NUM_DERIVED = {"plain": 0, "normalized": 1, "masked": 3}


def convolution(
    x: FeatureMap,
    y: FeatureMap,
    kernel_size: int,
    *,
    weight: Literal["plain", "normalized", "masked"] = "normalized",
    groups: int = 1,
    bias: bool = True,
    shares_input: bool = False,
    input_has_gradient: bool = True,
) -> Cost:
    """Return the cost of a convolution from x to y, whose sizes say its stride."""
    num_columns = x.channels // groups * kernel_size**2  # of the weight as a matrix
    num_weights = y.channels * num_columns
    num_norms = 0 if weight == "plain" else y.channels
    multiply_adds = y.num_values * num_columns
    # The gradient of the weight reads the input; that of the input reads the weight alone.
    kept = NOTHING if shares_input else keep(x.num_values)
    return kept + Cost(
        num_parameters=num_weights + num_norms + (y.channels if bias else 0),
        num_singular_elements=y.channels + num_columns,
        num_derived_weights=NUM_DERIVED[weight] * num_weights,
        forward_multiply_adds=multiply_adds,
        backward_multiply_adds=multiply_adds * (2 if input_has_gradient else 1),
    )


def linear(num_inputs: int, num_outputs: int) -> Cost:
    """Return the cost of a linear layer on one vector per image."""
    multiply_adds = num_inputs * num_outputs
    # The gradient of the weight reads the input.
    return keep(num_inputs) + Cost(
        num_parameters=multiply_adds + num_outputs,
        forward_multiply_adds=multiply_adds,
        backward_multiply_adds=2 * multiply_adds,
    )


def batch_norm(x: FeatureMap) -> Cost:
    """Return the cost of batch norm and the activation after it, if any.

    Both gradients are computed from the input of the batch norm.
    """
    return keep(x.num_values) + Cost(num_parameters=2 * x.channels, num_statistics=2 * x.channels)


def activation(x: FeatureMap) -> Cost:
    """Return the cost of swish or ELU without batch norm, whose gradients read the input."""
    return keep(x.num_values)
