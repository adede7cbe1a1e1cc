"""Reads the reference numbers of one published model: `NAME.pt` and `NAME.npz`."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nvae_core.importing.published import read_published
from nvae_core.model.nvae import NVAE
from nvae_core.training.state import TrainingState

Array = npt.NDArray[np.generic]


class InvalidFixture(ValueError):
    """A file of reference numbers cannot be read; the message names it and says why."""


@dataclass(frozen=True)
class Fixture:
    """The reference numbers of one model, and the checkpoint that they belong to."""

    checkpoint: Path
    arrays: Mapping[str, Array]

    def load(self) -> TrainingState:
        """Return the checkpoint's model, in evaluation mode, with its optimizer.

        Raises:
            ForeignCheckpoint: the file cannot be used.
        """
        state = read_published(self.checkpoint).state
        state.model.eval()
        return state

    def has(self, name: str) -> bool:
        """Whether the quantity is among the numbers."""
        return name in self.arrays

    def tensor(self, name: str) -> Tensor:
        """Return one array.

        Raises:
            InvalidFixture: it is missing.
        """
        try:
            return torch.from_numpy(self.arrays[name].copy())
        except KeyError:
            raise InvalidFixture(f"{self.checkpoint.stem}.npz: {name} is missing") from None

    def per_group(self, name: str, model: NVAE) -> list[Tensor]:
        """Return one array per latent group, top first: `name_00`, `name_01`, …"""
        return [self.tensor(f"{name}_{group.index:02d}") for group in model.hierarchy.groups]


def read_arrays(path: Path) -> dict[str, Array]:
    """Read all arrays of an `.npz` file; nothing in it is executed.

    Raises:
        InvalidFixture: it is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidFixture(f"{path}: {error}") from error
