"""The names of layers and tensors, in our model and in the published one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from torch import Tensor, nn

from nvae_core.architecture import Cell, InvertedResidual
from nvae_core.model.cells import ResidualCell
from nvae_core.model.nvae import NVAE

PARAMETERS = ("weight", "bias", "log_weight_norm")  # of a layer, in the published order
STATISTICS = ("running_mean", "running_var")

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True)
class Layer:
    """Names of a layer's module; where it is negated, weight and bias have the other sign."""

    ours: str
    published: str
    is_negated: bool = False


@dataclass(frozen=True)
class PairedTensor:
    """A parameter or a buffer of our model, and its name and sign in the published one."""

    tensor: Tensor
    published: str
    is_negated: bool


def paired_parameters(model: NVAE) -> Iterator[PairedTensor]:
    """Return all parameters in the order of the published optimizer's state."""
    yield PairedTensor(model.decoder.top_state, "prior_ftr0", is_negated=False)
    yield from _paired(model, _layers_of_model(model), PARAMETERS)


def paired_statistics(model: NVAE) -> Iterator[PairedTensor]:
    """Return the running statistics of all batch norms."""
    yield from _paired(model, _layers_of_model(model), STATISTICS)


def paired_tensors_of_cell(cell: ResidualCell, plan: Cell) -> Iterator[PairedTensor]:
    """Return parameters and statistics of one cell."""
    layers = _layers_of_cell(plan, has_gate=cell.gate is not None)
    yield from _paired(cell, layers, PARAMETERS + STATISTICS)


def modules_in_published_order(model: NVAE, kind: type[ModuleT]) -> list[ModuleT]:
    """Return all modules of one kind, as the published regularization goes through them."""
    modules = (model.get_submodule(layer.ours) for layer in _layers_of_model(model))
    return [module for module in modules if isinstance(module, kind)]


def _paired(
    module: nn.Module, layers: Iterable[Layer], names: tuple[str, ...]
) -> Iterator[PairedTensor]:
    for layer in layers:
        ours = module.get_submodule(layer.ours)
        for name in names:
            tensor = getattr(ours, name, None)
            if tensor is not None:
                is_negated = layer.is_negated and name != "log_weight_norm"
                yield PairedTensor(tensor, f"{layer.published}.{name}", is_negated)


def _layers_of_model(model: NVAE) -> Iterator[Layer]:
    """Return all layers, in the order in which the published model registers them."""
    hierarchy, gated = model.hierarchy, model.config.squeeze_excitation
    groups = hierarchy.groups
    yield Layer("encoder.stem", "stem")
    cells = hierarchy.preprocess
    yield from _layers_of_cells(cells, "encoder.preprocess", "pre_process", count(), gated)
    numbers = count()  # of cells and combiners together, from the bottom up
    for stage, group in enumerate(reversed(groups)):
        ours = f"encoder.tower.{stage}"
        yield from _layers_of_cells(group.encoder_cells, ours, "enc_tower", numbers, gated)
        if group.index > 0:
            yield Layer(f"posteriors.{group.index}.combiner", f"enc_tower.{next(numbers)}.conv")
    yield Layer("encoder.top", "enc0.1")
    for group in groups:
        yield Layer(f"posteriors.{group.index}.sampler", f"enc_sampler.{group.index}")
    for group in groups[1:]:
        ours = f"decoder.groups.{group.index}.prior_head"
        yield Layer(ours, f"dec_sampler.{group.index - 1}.1")
    yield from _layers_of_flows(model)
    numbers = count()  # of cells and combiners together, from the top down
    for group in groups:
        ours = f"decoder.groups.{group.index}"
        cells = group.decoder_cells
        yield from _layers_of_cells(cells, f"{ours}.cells", "dec_tower", numbers, gated)
        yield Layer(f"{ours}.combiner", f"dec_tower.{next(numbers)}.conv")
    cells = hierarchy.postprocess
    yield from _layers_of_cells(cells, "decoder.postprocess", "post_process", count(), gated)
    yield Layer("decoder.image_head", "image_conditional.1")


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
    cells: tuple[Cell, ...], ours: str, published: str, numbers: Iterator[int], has_gate: bool
) -> Iterator[Layer]:
    for index, cell in enumerate(cells):
        number = next(numbers)
        for layer in _layers_of_cell(cell, has_gate=has_gate):
            yield Layer(f"{ours}.{index}.{layer.ours}", f"{published}.{number}.{layer.published}")


def _layers_of_cell(cell: Cell, *, has_gate: bool) -> Iterator[Layer]:
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
    for ours, published in (
        ("norm_in", f"{first}.bn"),
        ("expand", f"{first + 1}.conv.0"),
        ("norm_expanded", f"{first + 1}.conv.1"),
        ("depthwise", f"{first + 2}.conv.0"),
        ("norm_depthwise", f"{first + 2}.conv.1"),
        ("project", f"{first + 3}"),
        ("norm_out", f"{first + 4}.bn"),
    ):
        yield Layer(f"branch.{ours}", f"_ops.0.conv.{published}")
