"""Estimating one batch after the other, by several ranks: each image counts once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nvae_core.config import EvaluateConfig
from nvae_core.data.pixels import to_repeatable_input
from nvae_core.data.prepared import PreparedSplit
from nvae_core.distributed import Ranks, gather_over_ranks
from nvae_core.evaluation.estimates import BatchEstimates
from nvae_core.evaluation.likelihood import EvaluationStopped, score_by
from nvae_core.model.fuse import fuse
from nvae_core.model.nvae import NVAE
from nvae_core.seeding import Stream, seeded_generator


@dataclass
class Scorer:
    """Estimates batches of a split; what a batch gives depends on its images and the seed alone.

    Attributes:
        model: in evaluation mode.
        split: where the images are.
        indices: those to be evaluated; batches are cut from them in order.
        config: with the seed, the samples and the batch size.
        ranks: who works on it; rank r takes batches r, r + world size, …
        should_stop: asked before each pass.
    """

    model: NVAE
    split: PreparedSplit
    indices: range
    config: EvaluateConfig
    ranks: Ranks
    should_stop: Callable[[], bool]

    def __post_init__(self) -> None:
        self._folded: NVAE = fuse(self.model)
        size = self.config.images_per_batch
        self._batches = [
            self.indices[start : start + size] for start in range(0, len(self.indices), size)
        ]

    @torch.no_grad()
    def rounds(self, first_batch: int) -> Iterator[list[BatchEstimates]]:
        """Yield the estimates of the next batches, one of each rank, in order; a collective.

        Raises:
            EvaluationStopped: a rank was asked to stop; what others had done is lost.
        """
        for start in range(first_batch, len(self._batches), self.ranks.world_size):
            position = start + self.ranks.rank
            own = self._batches[position] if position < len(self._batches) else range(0)
            rows = gather_over_ranks(self._score_or_stop(own) if own else self._row(0.0, []))
            sizes = [len(batch) for batch in self._batches[start : start + len(rows)]]
            if any(row[0].item() < size for row, size in zip(rows, sizes, strict=False)):
                raise EvaluationStopped
            yield [self._read(row, size) for row, size in zip(rows, sizes, strict=False)]

    def _score_or_stop(self, own: range) -> Tensor:
        try:
            return self._score(own)
        except EvaluationStopped:
            return self._row(0.0, [])

    def _score(self, own: range) -> Tensor:
        x = to_repeatable_input(self.split.images, own, self.model.config, self.config.seed)
        x = x.to(self.ranks.device)
        generator = seeded_generator(self.ranks.device, Stream.LATENTS, self.config.seed, own.start)
        noise = [generator] * self.config.importance_samples
        scores = score_by(self._folded, x, noise, should_stop=self.should_stop)
        one_more = seeded_generator(
            self.ranks.device, Stream.VALIDATION, self.config.seed, own.start
        )
        per_channel = self.model(x, one_more).kl_per_channel().double().sum(dim=0)
        parts = [scores.negative_elbo, scores.importance_weighted_nll, scores.kl_per_group]
        return self._row(float(len(own)), [*parts, per_channel])

    def _row(self, count: float, parts: Sequence[Tensor]) -> Tensor:
        """Return the number of images and their estimates in a row of fixed length."""
        groups = self.model.hierarchy.groups
        per_image = len(self._batches[0]) * (2 + len(groups))  # none is larger than the first
        length = 1 + per_image + len(groups) * self.model.config.num_latents_per_group
        row = torch.zeros(length, dtype=torch.float64, device=self.ranks.device)
        row[0] = count
        if parts:
            flat = torch.cat([part.flatten() for part in parts])
            row[1 : 1 + len(flat)] = flat
        return row

    def _read(self, row: Tensor, size: int) -> BatchEstimates:
        num_groups, num_latents = (
            len(self.model.hierarchy.groups),
            self.model.config.num_latents_per_group,
        )
        lengths = [size, size, size * num_groups, num_groups * num_latents]
        negative_elbo, nll, kl, channels = torch.split(row[1 : 1 + sum(lengths)].cpu(), lengths)
        return BatchEstimates(
            negative_elbo.clone(),
            nll.clone(),
            kl.view(size, num_groups).clone(),
            channels.view(num_groups, num_latents).clone(),
        )
