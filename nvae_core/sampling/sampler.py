"""A checkpoint that is ready to draw images, with its own statistics or with others."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from nvae_core.checkpoint import MODEL_NAME, CheckpointManifest, load_model
from nvae_core.model.decoder import Decoder
from nvae_core.model.fuse import fuse
from nvae_core.model.nvae import NVAE
from nvae_core.sampling.batch_norm_statistics import (
    StatisticsKey,
    copy_statistics,
    re_estimate_batch_norm,
    set_statistics,
)
from nvae_core.seeding import Stream, seeded_generator

MAX_RE_ESTIMATED = 16  # sets of statistics that stay, the last used ones


class _ReEstimated(NamedTuple):
    statistics: dict[str, Tensor]
    decoder: Decoder  # that they are fused into


class Sampler:
    """A model and its fused decoders; no call changes what a later one returns."""

    def __init__(self, model: NVAE, manifest: CheckpointManifest, device: torch.device) -> None:
        self.model = model
        self.manifest = manifest
        self.device = device
        self._running: Decoder | None = None
        self._re_estimated: OrderedDict[StatisticsKey, _ReEstimated] = OrderedDict()

    @classmethod
    def load(cls, checkpoint: Path, device: torch.device) -> "Sampler":
        """Load the model of a checkpoint's folder.

        Raises:
            CheckpointCorrupt: a file is missing, damaged, or not of this model.
        """
        model, manifest = load_model(checkpoint, device)
        return cls(model, manifest, device)

    @property
    def model_sha256(self) -> str:
        """Of the file that the model was read from."""
        return self.manifest.files[MODEL_NAME].sha256

    @property
    def num_bytes(self) -> int:
        """Size of everything it holds."""
        num_fused = len(self._re_estimated) + (self._running is not None)
        return _num_bytes(self.model) + num_fused * _num_bytes(self.model.decoder)

    def key(self, temperature: float, num_draws: int) -> StatisticsKey:
        """Return what the statistics at this temperature are known by."""
        return StatisticsKey(self.model_sha256, temperature, num_draws)

    def running(self) -> Decoder:
        """Return the decoder with the statistics of training."""
        if self._running is None:
            self._running = fuse(self.model.decoder)
        return self._running

    def re_estimated(
        self,
        key: StatisticsKey,
        *,
        statistics: Mapping[str, Tensor] | None = None,
        keep: Callable[[dict[str, Tensor]], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Decoder:
        """Return the decoder with statistics of its samples at a temperature.

        Args:
            key: of this sampler.
            statistics: those of the key, where an earlier run has left them.
            keep: called with the statistics if there were none, estimated now or before.
            should_stop: asked before each draw.

        Raises:
            SamplingStopped: `should_stop` said so.
        """
        entry = self._re_estimated.pop(key, None) or self._fuse_with(key, statistics, should_stop)
        self._re_estimated[key] = entry
        if len(self._re_estimated) > MAX_RE_ESTIMATED:
            self.drop_statistics()
        if statistics is None and keep is not None:
            keep(entry.statistics)
        return entry.decoder

    def drop_statistics(self) -> bool:
        """Forget the longest unused re-estimated statistics; return whether there were any."""
        if self._re_estimated:
            self._re_estimated.popitem(last=False)
            return True
        return False

    def _fuse_with(
        self,
        key: StatisticsKey,
        statistics: Mapping[str, Tensor] | None,
        should_stop: Callable[[], bool] | None,
    ) -> _ReEstimated:
        before = copy_statistics(self.model)
        try:
            if statistics is not None:
                set_statistics(self.model, statistics)
            else:
                # Of no seed: they are estimates of one thing, and are kept for all seeds.
                re_estimate_batch_norm(
                    self.model,
                    temperature=key.temperature,
                    generator=seeded_generator(self.device, Stream.BATCH_NORM),
                    num_draws=key.num_draws,
                    should_stop=should_stop,
                )
            return _ReEstimated(copy_statistics(self.model), fuse(self.model.decoder))
        finally:
            set_statistics(self.model, before)


def _num_bytes(module: torch.nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
