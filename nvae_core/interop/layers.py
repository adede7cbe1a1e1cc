"""The names of each layer, in our model and in the published one."""

from collections.abc import Iterator
from dataclasses import dataclass

from nvae_core.architecture import Cell, InvertedResidual
from nvae_core.model.nvae import NVAE


@dataclass(frozen=True)
class Layer:
    """Names of a layer's module; where it is negated, weight and bias have the other sign."""

    ours: str
    published: str
    is_negated: bool = False

    def within(self, ours: str, published: str) -> "Layer":
        """Return the layer of a module that has these names itself."""
        return Layer(f"{ours}.{self.ours}", f"{published}.{self.published}", self.is_negated)


def layers_of_model(model: NVAE) -> Iterator[Layer]:
    """Return all layers, in the order in which the published model registers them."""
    hierarchy, gated = model.hierarchy, model.config.squeeze_excitation
    groups = hierarchy.groups
    yield Layer("encoder.stem", "stem")
    yield from _layers_of_cells(hierarchy.preprocess, "encoder.preprocess", "pre_process", 0, gated)
    yield from _layers_of_encoder_tower(model)
    yield Layer("encoder.top", "enc0.1")
    for group in groups:
        yield Layer(f"posteriors.{group.index}.sampler", f"enc_sampler.{group.index}")
    for group in groups[1:]:
        ours = f"decoder.groups.{group.index}.prior_head"
        yield Layer(ours, f"dec_sampler.{group.index - 1}.1")
    yield from _layers_of_flows(model)
    yield from _layers_of_decoder_tower(model)
    yield from _layers_of_cells(
        hierarchy.postprocess, "decoder.postprocess", "post_process", 0, gated
    )
    yield Layer("decoder.image_head", "image_conditional.1")


def _layers_of_encoder_tower(model: NVAE) -> Iterator[Layer]:
    """Cells and combiners are numbered together, from the bottom up."""
    position = 0
    gated = model.config.squeeze_excitation
    for stage, group in enumerate(reversed(model.hierarchy.groups)):
        ours = f"encoder.tower.{stage}"
        yield from _layers_of_cells(group.encoder_cells, ours, "enc_tower", position, gated)
        position += len(group.encoder_cells)
        if group.index > 0:
            yield Layer(f"posteriors.{group.index}.combiner", f"enc_tower.{position}.conv")
            position += 1


def _layers_of_decoder_tower(model: NVAE) -> Iterator[Layer]:
    """Cells and combiners are numbered together, from the top down."""
    position = 0
    gated = model.config.squeeze_excitation
    for group in model.hierarchy.groups:
        ours = f"decoder.groups.{group.index}"
        cells = group.decoder_cells
        yield from _layers_of_cells(cells, f"{ours}.cells", "dec_tower", position, gated)
        position += len(cells)
        yield Layer(f"{ours}.combiner", f"dec_tower.{position}.conv")
        position += 1


def _layers_of_flows(model: NVAE) -> Iterator[Layer]:
    """The published flows come in pairs, and subtract what ours add."""
    num_pairs = model.config.num_flow_transforms // 2
    for group in model.hierarchy.groups:
        for index in range(2 * num_pairs):
            ours = f"posteriors.{group.index}.flow.{index}"
            pair = group.index * num_pairs + index // 2
            published = f"nf_cells.{pair}.cell{index % 2 + 1}"
            yield Layer(f"{ours}.expand", f"{published}.conv.convz.0")
            yield Layer(f"{ours}.depthwise", f"{published}.conv.convz.2")
            yield Layer(f"{ours}.project", f"{published}.mu.conv_0", is_negated=True)


def _layers_of_cells(
    cells: tuple[Cell, ...], ours: str, published: str, start: int, has_gate: bool
) -> Iterator[Layer]:
    for index, cell in enumerate(cells):
        for layer in layers_of_cell(cell, has_gate=has_gate):
            yield layer.within(f"{ours}.{index}", f"{published}.{start + index}")


def layers_of_cell(cell: Cell, *, has_gate: bool) -> Iterator[Layer]:
    """Return the layers of one cell, in the order in which the published one registers them."""
    if cell.direction == "down":
        for index in range(4):
            yield Layer(f"skip.convs.{index}", f"skip.conv_{index + 1}")
    elif cell.direction == "up":
        yield Layer("skip.conv", "skip.1")
    if isinstance(cell.kind, InvertedResidual):
        yield from _layers_of_inverted_residual(cell)
    else:
        norm = "bn_act" if cell.kind.activation == "swish" else "bn.bn"
        for index in range(2):
            if cell.kind.batch_norm:
                yield Layer(f"branch.{index}.norm", f"_ops.{index}.{norm}")
            yield Layer(f"branch.{index}.conv", f"_ops.{index}.conv_0")
    if has_gate:
        yield Layer("gate.squeeze", "se.se.0")
        yield Layer("gate.excite", "se.se.2")


def _layers_of_inverted_residual(cell: Cell) -> Iterator[Layer]:
    first = 1 if cell.direction == "up" else 0  # the published upsampling has a number too
    yield Layer("branch.norm_in", f"_ops.0.conv.{first}.bn")
    yield Layer("branch.expand", f"_ops.0.conv.{first + 1}.conv.0")
    yield Layer("branch.norm_expanded", f"_ops.0.conv.{first + 1}.conv.1")
    yield Layer("branch.depthwise", f"_ops.0.conv.{first + 2}.conv.0")
    yield Layer("branch.norm_depthwise", f"_ops.0.conv.{first + 2}.conv.1")
    yield Layer("branch.project", f"_ops.0.conv.{first + 3}")
    yield Layer("branch.norm_out", f"_ops.0.conv.{first + 4}.bn")
