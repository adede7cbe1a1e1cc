"""Goes through a folder of reference numbers; any of its files may be absent."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nvae_core.importing.torch_file import ForeignCheckpoint
from nvae_core.verification.comparison import (
    Comparison,
    InvalidFixture,
    read_arrays,
    worst_of_each,
)
from nvae_core.verification.model import compare_model
from nvae_core.verification.parts import compare_cells, compare_masks, compare_tables

CELLS_NAME = "masks_cells.npz"
TABLES_NAME = "tables.json"


@dataclass(frozen=True)
class FileReport:
    """The largest error of each quantity in one file, or why the file could not be used."""

    name: str
    comparisons: Mapping[str, Comparison]
    problem: str | None = None

    @property
    def is_within(self) -> bool:
        """Whether the file could be used and everything in it is within its bound."""
        return self.problem is None and all(c.is_within for c in self.comparisons.values())


def verify_folder(folder: Path) -> Iterator[FileReport]:
    """Yield a report on each file of numbers."""
    for path in sorted([*folder.glob("*.npz"), *folder.glob(TABLES_NAME)]):
        compared: list[Comparison] = []
        problem = None
        try:
            for comparison in verify_file(path):
                compared.append(comparison)
        except (ForeignCheckpoint, InvalidFixture) as error:
            problem = str(error)
        except (KeyError, ValueError, RuntimeError) as error:  # of another layout than we know
            problem = f"{path}: {type(error).__name__}: {error}"
        if not compared and problem is None:
            problem = f"{path}: there is nothing in it that we know how to compare"
        yield FileReport(path.name, worst_of_each(compared), problem)


def verify_file(path: Path) -> Iterator[Comparison]:
    """Compare all that one file holds with what we compute.

    Raises:
        ForeignCheckpoint, InvalidFixture: the file cannot be used.
    """
    if path.name == CELLS_NAME:
        arrays = read_arrays(path)
        yield from compare_masks(arrays)
        yield from compare_cells(arrays)
    elif path.name == TABLES_NAME:
        yield from compare_tables(_read_tables(path))
    else:
        yield from compare_model(path)


def _read_tables(path: Path) -> Mapping[str, object]:
    try:
        tables = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidFixture(f"{path}: {error}") from error
    if not isinstance(tables, dict):
        raise InvalidFixture(f"{path}: is not a table")
    return tables
