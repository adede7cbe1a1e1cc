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
from nvae_core.model.cells import ResidualCell, build_branch

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
    torch.testing.assert_close(late(x), early(F.interpolate(x, scale_factor=2)))
    torch.testing.assert_close(late.state_dict(), early.state_dict())


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
