import pytest
import torch
import torch.nn.functional as F

from nvae_core.architecture import (
    CELL_TABLES,
    Cell,
    CellKind,
    Direction,
    InvertedResidual,
    TwoConvolutions,
)
from nvae_core.model.batch_norm import RunningStatistics
from nvae_core.model.cells import ResidualCell, UpSkip, build_branch

KINDS = sorted(
    {
        kind
        for table in CELL_TABLES.values()
        for kind in (table.preprocess, table.encoder, table.decoder, table.postprocess)
    },
    key=repr,
)


@pytest.mark.parametrize("kind", KINDS, ids=repr)
@pytest.mark.parametrize("direction", ["same", "down", "up"])
@pytest.mark.parametrize("squeeze_excitation", [True, False])
def test_cells_change_resolution_and_channels(
    kind: CellKind, direction: Direction, squeeze_excitation: bool
) -> None:
    spec = Cell(kind, direction, in_channels=8, in_resolution=4)
    cell = ResidualCell(spec, squeeze_excitation=squeeze_excitation)
    y = cell(torch.zeros(2, 8, 4, 4))
    channels, resolution = {"same": (8, 4), "down": (16, 2), "up": (4, 8)}[direction]
    assert y.shape == (2, channels, resolution, resolution)
    assert (spec.out_channels, spec.out_resolution) == (channels, resolution)


def test_upsampling_after_the_expansion_equals_upsampling_before_it() -> None:
    kind = InvertedResidual(expansion=3)
    late = build_branch(Cell(kind, "up", in_channels=4, in_resolution=6))
    early = build_branch(Cell(kind, "up", in_channels=4, in_resolution=6))
    early.upsample = False
    early.load_state_dict(late.state_dict())
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    statistics = RunningStatistics(late), RunningStatistics(early)
    torch.testing.assert_close(late(x), early(F.interpolate(x, scale_factor=2)))
    torch.testing.assert_close(statistics[0].take_batch(), statistics[1].take_batch())


# The compiler's own.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("kind", [TwoConvolutions(), InvertedResidual(expansion=6)], ids=repr)
@pytest.mark.parametrize("is_training", [True, False])
def test_cells_can_be_compiled_as_one_graph(kind: CellKind, is_training: bool) -> None:
    cell = ResidualCell(Cell(kind, "down", 4, 6), squeeze_excitation=True).train(is_training)
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    state = {name: value.clone() for name, value in cell.state_dict().items()}
    expected = cell(x)
    cell.load_state_dict(state)
    compiled = torch.compile(cell, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), expected)


@pytest.mark.parametrize("resolution", [1, 2, 5, 16])
def test_upsampling_skip_is_torchs_bilinear_upsampling_and_its_gradient(resolution: int) -> None:
    skip = UpSkip(6, 4, resolution)
    with torch.no_grad():
        weight = skip.conv.effective_weight()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 6, resolution, resolution, generator=generator)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    upsampled = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
    expected = F.conv2d(upsampled, weight)
    y = skip(x)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    target = torch.randn(y.shape, generator=generator)
    torch.testing.assert_close(
        torch.autograd.grad((y * target).sum(), x),
        torch.autograd.grad((expected * target).sum(), x),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("kind", KINDS, ids=repr)
@pytest.mark.parametrize("direction", ["same", "down", "up"])
def test_gradients_of_cells_are_the_derivatives(kind: CellKind, direction: Direction) -> None:
    cell = ResidualCell(Cell(kind, direction, 8, 4), squeeze_excitation=True).double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 8, 4, 4, generator=generator).double().requires_grad_()
    target = torch.randn(cell(x).shape, generator=generator).double()
    inputs = [x, *cell.parameters()]
    steps = [torch.randn(v.shape, generator=generator).double() for v in inputs]
    gradients = torch.autograd.grad((cell(x) * target).sum(), inputs)
    slope = sum((g * s).sum() for g, s in zip(gradients, steps, strict=True))
    values = []
    for width in (1e-6, -1e-6):
        with torch.no_grad():
            for value, step in zip(inputs, steps, strict=True):
                value.add_(step, alpha=width)
            values.append((cell(x) * target).sum())
            for value, step in zip(inputs, steps, strict=True):
                value.sub_(step, alpha=width)
    torch.testing.assert_close((values[0] - values[1]) / 2e-6, slope, rtol=1e-5, atol=1e-6)
