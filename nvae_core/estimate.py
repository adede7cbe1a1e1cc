"""What a model costs to train, worked out from its configuration alone; free of torch.

What makes costs add up: a layer counts its input where its backward pass reads it, and never its
output, which is the input of what follows. Where two layers read the same tensor one of them
counts it, and the other `shares_input`.
"""

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Literal

from nvae_core.architecture import (
    FLOW_EXPANSION,
    Cell,
    Hierarchy,
    InvertedResidual,
    LatentGroup,
    TwoConvolutions,
    build_hierarchy,
)
from nvae_core.config import ModelConfig, Precision

FLOAT_BYTES = 4  # of a float32
VALUE_BYTES: dict[Precision, int] = {"float32": 4, "bf16": 2, "fp16": 2}
NUM_MOMENTS = 2  # of AdaMax, per parameter
ALLOWANCE_BYTES = 2**29  # torch and its CUDA context, before the first tensor
# Tensors of the weight's shape beside the parameter: the normalized weight, which is held; for a
# masked one also the mask, and the masked weight, which the gradient of the norm reads.
NUM_DERIVED = {"plain": 0, "normalized": 1, "masked": 3}


@dataclass(frozen=True)
class Estimate:
    """What a model costs on one rank; bytes are those of float32 where nothing else is said.

    Floating-point operations are two per multiply-add of convolutions and products of matrices,
    for one image; all else is left out, and so is the spectral term, whose work does not
    depend on the batch.
    """

    num_parameters: int
    activation_bytes_per_image: int  # kept for the backward pass, without images and noise
    flops_per_image: int  # of the forward pass with posterior
    training_flops_per_image: int  # of forward and backward pass
    state_bytes: int  # of all that training holds whatever the batch size
    checkpoint_bytes: int  # without headers, and the optimizer's count of steps
    num_network_activations_per_image: int  # values that follow the precision, unlike the others
    num_network_weights: int  # of the convolutions that follow it

    @property
    def parameter_bytes(self) -> int:
        """Bytes of the parameters."""
        return FLOAT_BYTES * self.num_parameters

    def activation_bytes(self, precision: Precision = "float32") -> int:
        """Return the bytes of one image's activations, which are float32 outside the network."""
        num_values, width = self.num_network_activations_per_image, VALUE_BYTES[precision]
        return self.activation_bytes_per_image - (FLOAT_BYTES - width) * num_values

    def training_bytes(self, batch_size: int, precision: Precision = "float32") -> int:
        """Return about how much memory a rank needs to train at this batch size per rank.

        That is the state, in bf16 and fp16 a copy of the network's weights, the activations of
        the batch and an allowance for an idle process. Memory is fullest as the backward pass
        begins: there are no gradients yet, and their share, which is counted, makes room for
        what is alive for a moment only. Left out are images, noise and latents (some 1 % of the
        activations), fragments in the allocator, workspaces of cuDNN, buffers of NCCL, and the
        data set.
        """
        is_copied = precision != "float32"
        copies = VALUE_BYTES[precision] * self.num_network_weights if is_copied else 0
        activations = batch_size * self.activation_bytes(precision)
        return self.state_bytes + copies + activations + ALLOWANCE_BYTES


def estimate(config: ModelConfig) -> Estimate:
    """Return what the model of a configuration costs, in some milliseconds.

    It counts what the operations of `nvae_core.model` and `nvae_core.losses` keep and
    compute; a change of those is a change of the costs here.
    """
    cost = network(config)
    num_trained = cost.num_parameters * (1 + NUM_MOMENTS)
    num_saved = num_trained + cost.num_statistics + cost.num_singular_elements
    num_activations = cost.num_network_activations + cost.num_float32_activations
    return Estimate(
        num_parameters=cost.num_parameters,
        activation_bytes_per_image=FLOAT_BYTES * num_activations + cost.num_booleans,
        flops_per_image=2 * cost.forward_multiply_adds,
        training_flops_per_image=2 * (cost.forward_multiply_adds + cost.backward_multiply_adds),
        state_bytes=FLOAT_BYTES * (num_saved + cost.num_parameters + cost.num_derived_weights),
        checkpoint_bytes=FLOAT_BYTES * num_saved,
        num_network_activations_per_image=cost.num_network_activations,
        num_network_weights=cost.num_network_weights,
    )


@dataclass(frozen=True)
class FeatureMap:
    """A square tensor of one image, (channels, resolution, resolution)."""

    channels: int
    resolution: int

    @property
    def num_values(self) -> int:
        """Number of values in it."""
        return self.channels * self.resolution**2


@dataclass(frozen=True)
class Cost:
    """Cost of one part of the network; what grows with the batch is given for one image.

    Activations are what the forward pass keeps for the backward pass.
    """

    num_parameters: int = 0
    num_statistics: int = 0  # running means and variances of batch norm
    num_singular_elements: int = 0  # of the two singular vectors of each convolution
    num_derived_weights: int = 0  # computed from the parameters and held, whatever the batch
    num_network_weights: int = 0  # of convolutions in the precision of the network
    num_network_activations: int = 0  # values in the precision of the network
    num_float32_activations: int = 0  # values that are float32 whatever the precision
    num_booleans: int = 0  # activations of one byte
    forward_multiply_adds: int = 0
    backward_multiply_adds: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        """Return the cost of both parts."""
        return Cost(*map(operator.add, vars(self).values(), vars(other).values()))

    def __mul__(self, count: int) -> "Cost":
        """Return the cost of so many equal parts."""
        return Cost(*(number * count for number in vars(self).values()))


NOTHING = Cost()


def add_up(*costs: Cost) -> Cost:
    """Return the cost of all parts together."""
    return sum(costs, NOTHING)


def network(config: ModelConfig) -> Cost:
    """Return the cost of the model's pass with posterior, and of the objective on it."""
    hierarchy = build_hierarchy(config)
    return add_up(
        encoder(config, hierarchy),
        Cost(num_parameters=hierarchy.top_state_channels * hierarchy.top.resolution**2),
        *(latent_group(group, config, hierarchy) for group in hierarchy.groups),
        image(config, hierarchy),
    )


def encoder(config: ModelConfig, hierarchy: Hierarchy) -> Cost:
    """Return the cost of stem, tower and what follows it at the top."""
    x = FeatureMap(config.num_colors, config.resolution)
    stem = FeatureMap(config.num_encoder_channels, config.resolution)
    top = FeatureMap(hierarchy.top.encoder_channels, hierarchy.top.resolution)
    return add_up(
        convolution(x, stem, 3, input_has_gradient=False),  # keeps 2x - 1, not the input
        residual_cells(hierarchy.preprocess, config),
        *(residual_cells(group.encoder_cells, config) for group in hierarchy.groups),
        convolution(top, top, 1) + activation(top) * 2,  # one before it and one after
    )


def latent_group(group: LatentGroup, config: ModelConfig, hierarchy: Hierarchy) -> Cost:
    """Return the cost of a group's cells, prior, posterior, flow and KL."""
    is_top = group.index == 0
    num_latents, num_flow_transforms = config.num_latents_per_group, config.num_flow_transforms
    z = FeatureMap(num_latents, group.resolution)
    parameters = FeatureMap(2 * num_latents, group.resolution)
    features = FeatureMap(group.encoder_channels, group.resolution)
    state = FeatureMap(group.decoder_channels, group.resolution)
    state_channels = hierarchy.top_state_channels if is_top else state.channels
    state_and_z = FeatureMap(state_channels + num_latents, group.resolution)
    prior_head = activation(state) + convolution(state, parameters, 1, is_float32=True)
    combiner = convolution(state, features, 1, shares_input=True)  # of the posterior
    return add_up(
        residual_cells(group.decoder_cells, config),
        NOTHING if is_top else prior_head + combiner,
        convolution(features, parameters, 3, is_float32=True),  # keeps features plus state
        flow_transform(z) * num_flow_transforms,
        kl_divergence(z, has_flow=num_flow_transforms > 0, prior_is_learned=not is_top),
        convolution(state_and_z, state, 1),  # keeps the concatenation, which is a copy
    )


def image(config: ModelConfig, hierarchy: Hierarchy) -> Cost:
    """Return the cost of the post-process, the head of the image and log p(x | z)."""
    state = FeatureMap(config.num_decoder_channels, config.resolution)
    parameters = FeatureMap(hierarchy.image_head_channels, config.resolution)
    return add_up(
        residual_cells(hierarchy.postprocess, config),
        activation(state),
        convolution(state, parameters, 3, is_float32=True),
        # Cross entropy and the clamp of the log scales read a part of it, and so keep it all.
        Cost(num_float32_activations=parameters.num_values),
        NOTHING if config.image_distribution == "bernoulli" else logistic_mixture(config),
    )


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
    is_float32: bool = False,  # as those to the parameters of a distribution
) -> Cost:
    """Return the cost of a convolution from x to y, whose sizes say its stride.

    The gradient of the weight reads the input; that of the input reads the weight alone. Where
    y is larger, x is upsampled first: nearest-neighbour upsampling keeps nothing itself.
    """
    num_columns = x.channels // groups * kernel_size**2  # of the weight as a matrix
    num_weights = y.channels * num_columns
    num_norms = 0 if weight == "plain" else y.channels
    multiply_adds = y.num_values * num_columns
    num_kept = 0 if shares_input else x.channels * max(x.resolution, y.resolution) ** 2
    return Cost(
        num_parameters=num_weights + num_norms + (y.channels if bias else 0),
        num_singular_elements=y.channels + num_columns,
        num_derived_weights=NUM_DERIVED[weight] * num_weights,
        num_network_weights=0 if is_float32 else num_weights,
        num_network_activations=0 if is_float32 else num_kept,
        num_float32_activations=num_kept if is_float32 else 0,
        forward_multiply_adds=multiply_adds,
        backward_multiply_adds=multiply_adds * (2 if input_has_gradient else 1),
    )


def linear(num_inputs: int, num_outputs: int) -> Cost:
    """Return the cost of a linear layer on one vector per image, whose weight reads it."""
    multiply_adds = num_inputs * num_outputs
    return Cost(
        num_parameters=multiply_adds + num_outputs,
        num_network_activations=num_inputs,
        forward_multiply_adds=multiply_adds,
        backward_multiply_adds=2 * multiply_adds,
    )


def batch_norm(x: FeatureMap) -> Cost:
    """Return the cost of batch norm and any activation after it; both gradients read its input."""
    return activation(x) + Cost(num_parameters=2 * x.channels, num_statistics=2 * x.channels)


def activation(x: FeatureMap) -> Cost:
    """Return the cost of swish or ELU without batch norm, whose gradients read the input."""
    return Cost(num_network_activations=x.num_values)


def residual_cells(cells: Iterable[Cell], config: ModelConfig) -> Cost:
    """Return the cost of cells that follow each other."""
    # Equal cells mostly follow each other, and there can be very many of them.
    counts = ((cell, len(list(equal_cells))) for cell, equal_cells in groupby(cells))
    return add_up(*(residual_cell(cell, config) * count for cell, count in counts))


def residual_cell(cell: Cell, config: ModelConfig) -> Cost:
    """Return the cost of skip(x) + 0.1 SE(branch(x)); both read x, and the branch counts it."""
    x = FeatureMap(cell.in_channels, cell.in_resolution)
    y = FeatureMap(cell.out_channels, cell.out_resolution)
    if isinstance(cell.kind, InvertedResidual):
        branch = inverted_residual(x, y, cell.kind)
    else:
        branch = two_convolutions(x, y, cell.kind)
    gate = squeeze_and_excite(y) if config.squeeze_excitation else NOTHING
    return skip(cell, x, y) + branch + gate


def skip(cell: Cell, x: FeatureMap, y: FeatureMap) -> Cost:
    """Return the cost of the skip connection."""
    if cell.direction == "same":
        return NOTHING
    if cell.direction == "up":
        # The convolution comes before the bilinear upsampling, which keeps nothing: a product by
        # a matrix (2R, R) for each row, and one for each column of the result.
        small_y = FeatureMap(y.channels, x.resolution)
        multiply_adds = (2 + 4) * x.resolution**3 * y.channels
        upsampling = Cost(forward_multiply_adds=multiply_adds, backward_multiply_adds=multiply_adds)
        return convolution(x, small_y, 1, bias=False, shares_input=True) + upsampling
    # Four convolutions side by side cost what one does, but for the singular vectors of each. They
    # keep one tensor, the swish of x.
    return convolution(x, y, 1) + Cost(num_singular_elements=3 * x.channels)


def two_convolutions(x: FeatureMap, y: FeatureMap, kind: TwoConvolutions) -> Cost:
    """Return the cost of the branch of Fig. 3b."""
    normalize = batch_norm if kind.batch_norm else activation
    return add_up(normalize(x), convolution(x, y, 3), normalize(y), convolution(y, y, 3))


def inverted_residual(x: FeatureMap, y: FeatureMap, kind: InvertedResidual) -> Cost:
    """Return the cost of the branch of Fig. 3a."""
    num_hidden = kind.expansion * x.channels
    hidden_x = FeatureMap(num_hidden, x.resolution)
    hidden_y = FeatureMap(num_hidden, y.resolution)
    groups = kind.num_convolution_groups or num_hidden
    plain = partial(convolution, weight="plain", bias=False)
    return add_up(
        batch_norm(x),
        plain(x, hidden_x, 1),
        batch_norm(hidden_x),
        plain(hidden_x, hidden_y, kind.kernel_size, groups=groups),
        batch_norm(hidden_y),
        plain(hidden_y, y, 1),
        batch_norm(y),
    )


def squeeze_and_excite(y: FeatureMap) -> Cost:
    """Return the cost of the gate and of its product with the branch."""
    num_hidden = max(y.channels // 16, 4)
    return add_up(
        linear(y.channels, num_hidden),  # keeps the means over space, which keep nothing
        linear(num_hidden, y.channels),  # keeps what ReLU returns and its gradient reads
        # The gates, which the sigmoid returns and its gradient reads; by their product the branch.
        Cost(num_network_activations=y.channels + y.num_values),
    )


def flow_transform(z: FeatureMap) -> Cost:
    """Return the cost of one autoregressive transform of a sample."""
    hidden = FeatureMap(FLOW_EXPANSION * z.channels, z.resolution)
    return add_up(
        convolution(z, hidden, 3, weight="masked", bias=False),
        activation(hidden) * 3,  # before the depthwise convolution, and twice after it
        convolution(hidden, hidden, 5, weight="masked", groups=hidden.channels, bias=False),
        convolution(hidden, z, 1, weight="masked"),
    )


def kl_divergence(z: FeatureMap, *, has_flow: bool, prior_is_learned: bool) -> Cost:
    """Return the cost of posterior and prior, given their raw parameters, and of their KL.

    Reading the two halves of the raw parameters, adding those of the prior, and drawing the
    sample keep nothing but the noise, which is an input.
    """
    # 5 tanh(x / 5) and exp(5 tanh(x / 5)): the gradients of tanh and exp read what they return.
    clamps = (1 + 2) * (2 if prior_is_learned else 1)
    if has_flow:
        # log q(z) - log p(z). Each keeps sigma, the divisor; the quotient, which the square
        # reads; for the gradient of a learned sigma the dividend.
        divergence = (2 + 1) + (2 + (1 if prior_is_learned else 0))
    else:
        # In closed form: p.sigma, the divisor of both quotients; both, which square and logarithm
        # read; for the gradient of a learned p.sigma the two dividends.
        divergence = 1 + 2 + (2 if prior_is_learned else 0)
    return Cost(num_float32_activations=z.num_values * (clamps + divergence))


def logistic_mixture(config: ModelConfig) -> Cost:
    """Return the cost of the log probability under the mixture of discretized logistics."""
    num_pixels = config.image_size**2
    num_levels = num_pixels * config.num_colors
    num_bins = num_levels * config.num_mixtures
    per_bin = NUM_KEPT_PER_BIN[config.logistic_bins]
    # Coefficients are kept by tanh, the image by their products with it.
    num_coefficients = num_bins + num_levels if config.num_colors == 3 else 0
    # What log softmax returns; what log sum exp reads and returns.
    num_weights = num_pixels * (2 * config.num_mixtures + 1)
    # Where the bin is narrow, or as published, improbable; where it is open above, and below.
    num_booleans = num_bins + 2 * num_levels
    num_values = num_coefficients + num_bins * per_bin + num_weights
    return Cost(num_float32_activations=num_values, num_booleans=num_booleans)


# Values that the probability of one bin keeps. Both: the inverse scale, which exp returns.
NUM_KEPT_PER_BIN = {
    "exact": 1  # the inverse scale
    + 3  # log below the upper edge: the factor; what log sigmoid reads; on the CPU its buffer too
    + 4  # log above the lower edge: the same, and the factor is negated
    + 2  # the width: what exp returns; what the clamp reads
    + 2,  # log(1 - exp): what expm1 returns; what log reads
    "published": 1  # the inverse scale
    + 3 * 2  # upper, lower, middle: the factor; the product, which sigmoid and softplus read
    + 2  # what the sigmoids return
    + 2,  # log of the mass: what the clamp reads; what log reads
}
