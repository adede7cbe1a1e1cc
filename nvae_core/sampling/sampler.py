"""A checkpoint ready to be sampled, again and again."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch

from nvae_core.checkpoint import MODEL_NAME, CheckpointManifest, load_model
from nvae_core.inference.network import FoldedDecoder, fold_decoder
from nvae_core.model.decoder import Decoder
from nvae_core.model.noise import Stream, seeded_generator
from nvae_core.model.nvae import NVAE, count_parameters
from nvae_core.sampling.drawing import LatentNoise
from nvae_core.sampling.re_estimation import (
    DecoderStatistics,
    StatisticsOrigin,
    copy_statistics,
    load_statistics,
    re_estimate_batch_norm,
    with_own_statistics,
)

MAX_RE_ESTIMATED = 3  # each takes about as much memory as the decoder


@dataclass(frozen=True)
class ReEstimated:
    """A decoder whose batch norms have re-estimated statistics."""

    statistics: DecoderStatistics
    decoder: FoldedDecoder


class Sampler:
    """The decoder of a checkpoint; whatever is drawn from it, what it draws later is the same."""

    def __init__(self, model: NVAE, manifest: CheckpointManifest, device: torch.device) -> None:
        self.manifest = manifest
        self.device = device
        self.config = model.config
        self.num_parameters = count_parameters(model)
        self._decoder = model.decoder  # the encoder is not needed, and may be freed
        self._running: FoldedDecoder | None = None
        self._re_estimated: dict[StatisticsOrigin, ReEstimated] = {}  # least recently used first

    @classmethod
    def load(cls, path: Path, device: torch.device) -> "Sampler":
        """Load the checkpoint in this folder.

        Raises:
            CheckpointCorrupt: a file is missing, damaged, or not of this model.
        """
        return cls(*load_model(path, device), device)

    @property
    def decoder(self) -> Decoder:
        """The decoder as it was trained; it is not to be changed."""
        return self._decoder

    @property
    def num_bytes(self) -> int:
        """Size of its tensors, at most; each folded decoder is about as large as the decoder."""
        tensors = chain(self._decoder.parameters(), self._decoder.buffers())
        num_copies = 1 + (self._running is not None) + len(self._re_estimated)
        return num_copies * sum(tensor.nbytes for tensor in tensors)

    def running(self) -> FoldedDecoder:
        """Return the decoder with the running statistics of training."""
        if self._running is None:
            self._running = fold_decoder(self._decoder)
        return self._running

    def origin(self, temperature: float, draws: int) -> StatisticsOrigin:
        """Return what says of re-estimated statistics that they are the ones asked for."""
        checkpoint = self.manifest.files[MODEL_NAME].sha256
        return StatisticsOrigin(checkpoint=checkpoint, temperature=temperature, draws=draws)

    def re_estimated(
        self,
        temperature: float,
        draws: int,
        *,
        given: DecoderStatistics | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> ReEstimated:
        """Return the decoder with statistics of so many draws at a temperature.

        Those that are given are used; else they are those of the last calls, or are re-estimated.

        Raises:
            Stopped: `should_stop`, asked before each draw, said so.
        """
        origin = self.origin(temperature, draws)
        found = self._re_estimated.pop(origin, None)
        if found is None:
            found = self._re_estimate(origin, given, should_stop)
        self._re_estimated[origin] = found
        while len(self._re_estimated) > MAX_RE_ESTIMATED:
            del self._re_estimated[next(iter(self._re_estimated))]
        return found

    def noise(self, *, seed: int, fixed_groups: int = 0) -> LatentNoise:
        """Return the latents' noise of the images of a seed."""
        return LatentNoise(self._decoder, seed=seed, fixed_groups=fixed_groups, device=self.device)

    def _re_estimate(
        self,
        origin: StatisticsOrigin,
        given: DecoderStatistics | None,
        should_stop: Callable[[], bool],
    ) -> ReEstimated:
        decoder = with_own_statistics(self._decoder)
        if given is not None:
            load_statistics(decoder, given)
        else:
            # The key has no seed: whoever asks for these statistics gets the same.
            generator = seeded_generator(self.device, Stream.BATCH_NORM, 0)
            re_estimate_batch_norm(
                decoder,
                temperature=origin.temperature,
                generator=generator,
                num_draws=origin.draws,
                should_stop=should_stop,
            )
        return ReEstimated(copy_statistics(decoder, origin), fold_decoder(decoder))
