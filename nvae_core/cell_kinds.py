"""Kinds of residual cells, and which kind each part of the network uses; free of torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nvae_core.config import CellArchitecture


@dataclass(frozen=True)
class TwoConvolutions:
    """Twice an activation and a 3x3 convolution (Fig. 3b is that of the defaults)."""

    activation: Literal["swish", "elu"] = "swish"
    batch_norm: bool = True  # before each activation; without it, data-dependent initialization
    dilations: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class InvertedResidual:
    """Expand to more channels, convolve few of them at a time, project (Fig. 3a)."""

    expansion: int
    kernel_size: int = 5
    num_convolution_groups: int | None = None  # None: depthwise


CellKind = TwoConvolutions | InvertedResidual


@dataclass(frozen=True)
class CellTable:
    """The kind of cell in each part of the network."""

    preprocess: CellKind
    encoder: CellKind
    decoder: CellKind
    postprocess: CellKind


RES_BNSWISH = TwoConvolutions()
RES_BNELU = TwoConvolutions(activation="elu")
RES_ELU = TwoConvolutions(activation="elu", batch_norm=False)
MBCONV_E6 = InvertedResidual(expansion=6)
MBCONV_E3 = InvertedResidual(expansion=3)
MBCONV_E6_K11 = InvertedResidual(expansion=6, kernel_size=11)
MBCONV_E3_G8 = InvertedResidual(expansion=3, num_convolution_groups=8)


def _everywhere(kind: CellKind) -> CellTable:
    return CellTable(kind, kind, kind, kind)


def _dilated(dilations: tuple[int, int]) -> CellTable:
    bottom_up = TwoConvolutions(dilations=dilations)
    return CellTable(bottom_up, bottom_up, MBCONV_E6, MBCONV_E3)


# The first one is the paper's; the others are the published code's, by its names.
CELL_TABLES: Mapping[CellArchitecture, CellTable] = {
    "res_mbconv": CellTable(RES_BNSWISH, RES_BNSWISH, MBCONV_E6, MBCONV_E3),
    "res_bnswish": _everywhere(RES_BNSWISH),
    "res_bnelu": _everywhere(RES_BNELU),
    "res_elu": _everywhere(RES_ELU),
    "mbconv_res": CellTable(MBCONV_E3, MBCONV_E6, RES_BNSWISH, RES_BNSWISH),
    "mbconv_sep": CellTable(MBCONV_E3, MBCONV_E6, MBCONV_E6, MBCONV_E3),
    "mbconv_sep11": CellTable(MBCONV_E3, MBCONV_E6_K11, MBCONV_E6_K11, MBCONV_E3),
    "mbconv_den": CellTable(MBCONV_E3_G8, MBCONV_E6, MBCONV_E6, MBCONV_E3_G8),
    "res53_mbconv": _dilated((2, 1)),
    "res35_mbconv": _dilated((1, 2)),
    "res55_mbconv": _dilated((2, 2)),
}
