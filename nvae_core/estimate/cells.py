"""Costs of residual cells: skip connection, branch and gate."""

from collections.abc import Iterable
from itertools import groupby

from nvae_core.architecture import Cell, InvertedResidual, TwoConvolutions
from nvae_core.estimate.cost import NOTHING, Cost, FeatureMap, add_up, keep
from nvae_core.estimate.layers import activation, batch_norm, convolution, linear


def residual_cells(cells: Iterable[Cell], *, squeeze_excitation: bool) -> Cost:
    """Return the cost of cells that follow each other."""
    # Equal cells mostly follow each other, and there can be very many of them.
    return add_up(
        _residual_cell(cell, squeeze_excitation=squeeze_excitation) * len(list(equal_cells))
        for cell, equal_cells in groupby(cells)
    )


def _residual_cell(cell: Cell, *, squeeze_excitation: bool) -> Cost:
    """Return the cost of skip(x) + 0.1 SE(branch(x)); both read x, and the branch counts it."""
    x = FeatureMap(cell.in_channels, cell.in_resolution)
    y = FeatureMap(cell.out_channels, cell.out_resolution)
    if isinstance(cell.kind, InvertedResidual):
        branch = _inverted_residual(x, y, cell.kind)
    else:
        branch = _two_convolutions(x, y, cell.kind)
    gate = _squeeze_excitation(y) if squeeze_excitation else NOTHING
    return _skip(cell, x, y) + branch + gate


def _skip(cell: Cell, x: FeatureMap, y: FeatureMap) -> Cost:
    if cell.direction == "same":
        return NOTHING
    if cell.direction == "up":
        # The convolution comes before the bilinear upsampling, which keeps nothing.
        small_y = FeatureMap(y.channels, x.resolution)
        return convolution(x, small_y, 1, bias=False, shares_input=True)
    quarter = y.channels // 4
    outputs = [
        FeatureMap(channels, y.resolution)
        for channels in (quarter, quarter, quarter, y.channels - 3 * quarter)
    ]
    # The four convolutions keep one tensor, the swish of x.
    return keep(x.num_values) + add_up(
        convolution(x, output, 1, shares_input=True) for output in outputs
    )


def _two_convolutions(x: FeatureMap, y: FeatureMap, kind: TwoConvolutions) -> Cost:
    normalize = batch_norm if kind.batch_norm else activation
    return add_up(
        (
            normalize(x),
            convolution(_upsample(x, y), y, 3),
            normalize(y),
            convolution(y, y, 3),
        )
    )


def _inverted_residual(x: FeatureMap, y: FeatureMap, kind: InvertedResidual) -> Cost:
    num_hidden = kind.expansion * x.channels
    hidden_x = FeatureMap(num_hidden, x.resolution)
    hidden_y = FeatureMap(num_hidden, y.resolution)
    groups = kind.num_convolution_groups or num_hidden
    return add_up(
        (
            batch_norm(x),
            convolution(x, hidden_x, 1, weight="plain", bias=False),
            batch_norm(hidden_x),
            convolution(
                _upsample(hidden_x, y),
                hidden_y,
                kind.kernel_size,
                weight="plain",
                groups=groups,
                bias=False,
            ),
            batch_norm(hidden_y),
            convolution(hidden_y, y, 1, weight="plain", bias=False),
            batch_norm(y),
        )
    )


def _upsample(x: FeatureMap, y: FeatureMap) -> FeatureMap:
    """Return what the convolution towards y reads: x, upsampled where y is larger.

    Nearest-neighbour upsampling keeps nothing itself.
    """
    return FeatureMap(x.channels, max(x.resolution, y.resolution))


def _squeeze_excitation(y: FeatureMap) -> Cost:
    num_hidden = max(y.channels // 16, 4)
    return add_up(
        (
            linear(y.channels, num_hidden),  # keeps the means over space, which keep nothing
            linear(num_hidden, y.channels),  # keeps what ReLU returns and its gradient reads
            keep(y.channels),  # the gates: the gradient of the sigmoid reads its output
            keep(y.num_values),  # the branch, by its product with the gates
        )
    )
