"""All trained values of a model in one tensor, and the weights that a pass computes from them.

Weights of equal shape lie side by side, so that they are normalized, masked, cast and
differentiated together, and power iteration and optimizer read them as they are.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from nvae_core.model.batch_norm import BatchNorm
from nvae_core.model.convolutions import EPSILON, Conv2d, MaskedConv2d, WeightNormConv2d

TINY = 1e-30  # a weight of zeros has no direction; its gradient is taken as that of this norm


class _Place(NamedTuple):
    """One parameter, and where it is needed in a pass."""

    name: str  # in the model
    module: nn.Module
    attribute: str  # of the module that a pass reads


@dataclass
class _Section:
    """Parameters of the same shape and treatment, (L, ...) from an offset on."""

    places: list[_Place]
    shape: tuple[int, ...]  # of one of them, as it lies in memory: channels of a pixel last
    is_low: bool = False  # whether autocast casts them
    norms: "_Section | None" = None  # the log norms of weights that are to be normalized
    mask: Tensor | None = None  # (L, rows, columns)
    offset: int = 0

    @property
    def numel(self) -> int:
        """Number of values."""
        return len(self.places) * self.numel_of_one

    @property
    def numel_of_one(self) -> int:
        """Number of values of one parameter."""
        return torch.Size(self.shape).numel()

    def of(self, flat: Tensor) -> Tensor:
        """Return this section of a tensor with a value for each of the bank: (L, ...)."""
        part = flat[self.offset : self.offset + self.numel]
        return part.view(len(self.places), *self.shape)

    def as_matrices(self, values: Tensor) -> Tensor:
        """Return (L, rows, columns) of values (L, ...) in memory order."""
        return values.view(len(self.places), self.shape[0], -1)


class Matrices(NamedTuple):
    """Weights of convolutions that have the same shape."""

    convolutions: list[str]  # their names
    values: Tensor  # (L, rows, columns), a row per output channel


@dataclass
class Weights:
    """What the terms of the objective on the weights read; with gradient."""

    matrices: list[Matrices]
    norm_scales: list[Tensor] = field(default_factory=list)  # of batch norms, (L, C) each


class WeightBank:
    """The parameters of a model as one leaf of the graph; those of the model are views of it."""

    def __init__(self, model: nn.Module) -> None:
        self._sections = _lay_out(model)
        self.size = sum(section.numel for section in self._sections)
        device = next(model.parameters()).device
        self.flat = nn.Parameter(torch.empty(self.size, device=device))
        parameters = dict(model.named_parameters())
        self._names = list(parameters)
        for name, view in self.views(self.flat.data).items():
            view.copy_(parameters[name].data)
            parameters[name].data = view

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Return the parts of a tensor like `flat`, by the names of the parameters, in order."""
        views = {}
        for section in self._sections:
            for place, value in zip(section.places, section.of(flat), strict=True):
                views[place.name] = _as_parameter(value)
        return {name: views[name] for name in self._names}

    @contextmanager
    def applied(self, dtype: torch.dtype = torch.float32) -> Iterator[Weights]:
        """Let passes through the model read its weights from here, in this type where it may be.

        Within the block gradients go to `flat`.
        """
        outputs: tuple[Tensor, ...] = _ComputeWeights.apply(self.flat, self._sections, dtype)  # type: ignore[no-untyped-call]
        remaining = iter(outputs)
        weights = Weights([])
        places: list[_Place] = []
        for section in self._sections:
            if _is_matrix(section):
                names = [place.name.rpartition(".")[0] for place in section.places]
                weights.matrices.append(Matrices(names, next(remaining)))
            elif _is_norm_scale(section):
                weights.norm_scales.append(next(remaining))
        for section in self._sections:
            if _is_read(section):
                for place in section.places:
                    place.module.__dict__[place.attribute] = next(remaining)
                    places.append(place)
        try:
            yield weights
        finally:
            for place in places:
                del place.module.__dict__[place.attribute]


class _ComputeWeights(torch.autograd.Function):
    """From the bank to matrices, scales of batch norms, and each parameter that a pass reads."""

    @staticmethod
    def forward(
        ctx: Any, flat: Tensor, sections: Sequence[_Section], dtype: torch.dtype
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.sections = sections
        terms: list[Tensor] = []
        reads: list[Tensor] = []
        saved: list[Tensor] = []
        for section in sections:
            values = section.of(flat)
            if _is_matrix(section):
                matrices = section.as_matrices(values)
                if section.norms is not None:
                    matrices, scale, norm = _normalize(section, matrices, flat)
                    saved += (scale, norm)
                terms.append(matrices)
                values = matrices.view(values.shape)
            elif _is_norm_scale(section):
                terms.append(values)
            if _is_read(section):
                low = values.to(dtype) if section.is_low else values
                reads += _as_parameter(low, is_stack=True).unbind(0)
        ctx.save_for_backward(flat, *saved)
        return (*terms, *reads)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor, None, None]:
        sections: Sequence[_Section] = ctx.sections
        flat, *saved = ctx.saved_tensors
        total = torch.empty_like(flat)
        num_terms = sum(_is_matrix(section) or _is_norm_scale(section) for section in sections)
        terms, reads = iter(gradients[:num_terms]), iter(gradients[num_terms:])
        scales_and_norms = iter(saved)
        for section in sections:
            gradient = section.of(total)
            if _is_read(section):
                _gather([next(reads) for _ in section.places], gradient)
            if _is_matrix(section) or _is_norm_scale(section):
                of_term = next(terms)
                if of_term is not None:
                    gradient.add_(of_term.view(gradient.shape))
            if section.norms is not None:
                _normalize_backward(
                    section, flat, total, next(scales_and_norms), next(scales_and_norms)
                )
        return total, None, None


def _normalize(
    section: _Section, directions: Tensor, flat: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return exp(l) v / (|v| + 1e-5) of (L, rows, columns), its factors and |v|, (L, rows)."""
    assert section.norms is not None
    if section.mask is not None:
        directions = directions * section.mask
    norm = torch.linalg.vector_norm(directions, dim=2)
    scale = section.norms.of(flat).view(norm.shape).exp().div_(norm + EPSILON)
    return directions * scale[:, :, None], scale, norm


def _normalize_backward(
    section: _Section, flat: Tensor, total: Tensor, scale: Tensor, norm: Tensor
) -> None:
    """Turn the gradient of normalized weights in `total` into that of directions and log norms."""
    assert section.norms is not None
    directions = section.as_matrices(section.of(flat))
    gradient = section.as_matrices(section.of(total))
    if section.mask is not None:
        directions = directions * section.mask
        gradient.mul_(section.mask)
    # With w = s v and s = exp(l) / (n + e): dw = s dv - s v (v dv) / (n (n + e)) + w dl.
    dots = torch.linalg.vecdot(gradient, directions)
    section.norms.of(total).view(dots.shape).copy_(dots).mul_(scale)
    along = dots.mul_(scale).div_((norm + EPSILON) * norm.clamp_min(TINY))
    gradient.mul_(scale[:, :, None]).addcmul_(directions, along[:, :, None], value=-1)


def _gather(gradients: Sequence[Tensor | None], total: Tensor) -> None:
    """Write the gradients of one section's parameters into it; where there is none it is 0."""
    if any(gradient is None for gradient in gradients):
        total.zero_()
        for part, gradient in zip(total, gradients, strict=True):
            if gradient is not None:
                part.copy_(_in_memory_order(gradient))
        return
    parts = [_in_memory_order(cast(Tensor, gradient)) for gradient in gradients]
    if parts[0].dtype == total.dtype:
        torch.stack(parts, out=total)
    else:
        total.copy_(torch.stack(parts))


def _as_parameter(values: Tensor, *, is_stack: bool = False) -> Tensor:
    """Return values in memory order, (rows, k, k, columns), as a weight (rows, columns, k, k)."""
    if values.dim() - is_stack == 4:
        return values.movedim(-1, -3)
    return values


def _in_memory_order(parameter: Tensor) -> Tensor:
    return parameter.movedim(-3, -1) if parameter.dim() == 4 else parameter


def _is_matrix(section: _Section) -> bool:
    module, attribute = section.places[0].module, section.places[0].attribute
    return isinstance(module, Conv2d) and attribute in {"weight", "held_weight"}


def _is_norm_scale(section: _Section) -> bool:
    place = section.places[0]
    return isinstance(place.module, BatchNorm) and place.attribute == "weight"


def _is_read(section: _Section) -> bool:
    """Whether a pass reads these parameters: log norms are in the weights already."""
    return section.places[0].attribute != "log_weight_norm"


def _lay_out(model: nn.Module) -> list[_Section]:
    """Return the sections of a model's bank, in order."""
    sections: dict[tuple[tuple[object, ...], str, tuple[int, ...]], _Section] = {}
    for prefix, module in model.named_modules():
        for attribute, parameter in module.named_parameters(recurse=False):
            name = f"{prefix}.{attribute}" if prefix else attribute
            is_normalized = isinstance(module, WeightNormConv2d) and attribute == "weight"
            place = _Place(name, module, "held_weight" if is_normalized else attribute)
            shape = tuple(_in_memory_order(parameter).shape)
            key = (_treatment(module), attribute, shape)
            section = sections.setdefault(key, _Section([], shape, is_low=_may_be_low(module)))
            section.places.append(place)
    for (treatment, _, shape), section in sections.items():
        if section.places[0].attribute != "held_weight":
            continue
        section.norms = sections[treatment, "log_weight_norm", (shape[0], 1, 1, 1)]
        if isinstance(section.places[0].module, MaskedConv2d):
            masks = [cast(MaskedConv2d, place.module).mask for place in section.places]
            stacked = torch.stack([_in_memory_order(mask) for mask in masks])
            section.mask = section.as_matrices(stacked)
    offset = 0
    for section in sections.values():
        section.offset = offset
        offset += section.numel
    return list(sections.values())


def _treatment(module: nn.Module) -> tuple[object, ...]:
    """Return what must be the same of modules whose parameters are computed together."""
    if not isinstance(module, Conv2d):
        return (type(module), _may_be_low(module))
    # Log norms lie in the order of the weights that they belong to.
    return (type(module), tuple(module.weight.shape), _may_be_low(module))


def _may_be_low(module: nn.Module) -> bool:
    """Whether autocast may cast the parameters of this module."""
    if isinstance(module, Conv2d):
        return not module.in_float32
    return isinstance(module, nn.Linear)
