"""Models that stay loaded, the last used ones, within a budget of memory."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch

from nvae_core.checkpoint import MODEL_NAME, read_manifest
from nvae_core.sampling.sampler import Sampler

Load = Callable[[Path, torch.device], Sampler]


class LoadedSamplers:
    """Samplers of a device by checkpoint; the longest unused go when the budget is exceeded."""

    def __init__(
        self, budget_bytes: int, device: torch.device, *, load: Load = Sampler.load
    ) -> None:
        self._budget_bytes = budget_bytes
        self._device = device
        self._load = load
        self._loaded: OrderedDict[tuple[Path, str], Sampler] = OrderedDict()

    def take(self, checkpoint: Path) -> Sampler:
        """Return the sampler of a checkpoint's folder, loading it if need be.

        Raises:
            CheckpointCorrupt: the folder does not hold a whole checkpoint.
        """
        # What the folder holds now: at the same path there may be another one than before.
        record = read_manifest(checkpoint).files.get(MODEL_NAME)
        key = (checkpoint, record.sha256 if record else "")
        sampler = self._loaded.pop(key, None)
        if sampler is None:
            sampler = self._load(checkpoint, self._device)
        self._loaded[key] = sampler
        return sampler

    def trim(self) -> None:
        """Drop what is beyond the budget; a call's own sampler may be larger than all of it.

        First statistics, which can be had again without reading the model, then models.
        """
        for sampler in self._loaded.values():
            while self.num_bytes > self._budget_bytes and sampler.drop_statistics():
                continue
        while self._loaded and self.num_bytes > self._budget_bytes:
            self._loaded.popitem(last=False)

    @property
    def num_bytes(self) -> int:
        """Size of everything that is loaded."""
        return sum(sampler.num_bytes for sampler in self._loaded.values())
