"""The tensors of our model beside those of the published one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from nvae_core.architecture import Cell
from nvae_core.interop.layers import Layer, layers_of_cell, layers_of_model
from nvae_core.model.batch_norm import BatchNorm
from nvae_core.model.cells import ResidualCell
from nvae_core.model.convolutions import Conv2d
from nvae_core.model.nvae import NVAE

PARAMETERS = ("weight", "bias", "log_weight_norm")  # of a layer, in the published order
STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True)
class PairedTensor:
    """A parameter or a buffer of our model, and its name and sign in the published one."""

    tensor: Tensor
    published: str
    is_negated: bool


def paired_parameters(model: NVAE) -> Iterator[PairedTensor]:
    """Return all parameters in the order of the published optimizer's state."""
    yield PairedTensor(model.decoder.top_state, "prior_ftr0", is_negated=False)
    yield from _paired(model, layers_of_model(model), PARAMETERS)


def paired_statistics(model: NVAE) -> Iterator[PairedTensor]:
    """Return the running statistics of all batch norms."""
    yield from _paired(model, layers_of_model(model), STATISTICS)


def paired_tensors_of_cell(cell: ResidualCell, plan: Cell) -> Iterator[PairedTensor]:
    """Return parameters and statistics of one cell."""
    layers = layers_of_cell(plan, has_gate=cell.gate is not None)
    yield from _paired(cell, layers, PARAMETERS + STATISTICS)


def convolutions_in_published_order(model: NVAE) -> list[Conv2d]:
    """Return all convolutions, as the published spectral regularization goes through them."""
    modules = (model.get_submodule(layer.ours) for layer in layers_of_model(model))
    return [module for module in modules if isinstance(module, Conv2d)]


def batch_norms_in_published_order(model: NVAE) -> list[BatchNorm]:
    """Return all batch norms, as the published names go through them."""
    modules = (model.get_submodule(layer.ours) for layer in layers_of_model(model))
    return [module for module in modules if isinstance(module, BatchNorm)]


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
