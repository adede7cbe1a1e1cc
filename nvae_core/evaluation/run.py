"""A whole evaluation run: what `config.json` asks for, on all ranks, resumable."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from nvae_core.checkpoint import MODEL_NAME, CheckpointManifest, load_model
from nvae_core.config import ESTIMATES_NAME, EvaluateConfig
from nvae_core.data.dataset import PreparedSplit, check_fits, open_prepared
from nvae_core.data.preprocess import to_repeatable_input
from nvae_core.distributed import Ranks, take_from_first_rank
from nvae_core.evaluation.estimates import (
    BatchEstimates,
    Estimates,
    InvalidEstimates,
    read_estimates,
)
from nvae_core.evaluation.likelihood import EvaluationStopped, score_by
from nvae_core.model.fuse import fuse
from nvae_core.model.nvae import NVAE, count_parameters
from nvae_core.run_directory import (
    ArtifactLine,
    ExitReason,
    InvalidRunDirectory,
    MetricsLine,
    Result,
    RunDirectory,
    StartedLine,
    write_atomically,
)
from nvae_core.runtime.program import describe_device
from nvae_core.sampling.draw import images_per_pass
from nvae_core.seeding import Stream, draw_noise, seeded_generator

REPORT_SECONDS = 1.0
KEPT_FILES = 3  # the older ones are being uploaded, perhaps


def evaluate_run(
    config: EvaluateConfig,
    run: RunDirectory,
    ranks: Ranks,
    *,
    should_stop: Callable[[], bool],
    enter: Callable[[int], None],
) -> Result:
    """Evaluate, from where an earlier run stopped; all ranks leave together.

    The result is the same for any number of ranks, and however often it was interrupted.

    Args:
        config: of this run.
        run: where it reports, and leaves its estimates.
        ranks: who takes part.
        should_stop: asked before each pass.
        enter: called with the number of images so far, as a sign of life, before each pass too.

    Raises:
        InvalidRunDirectory: the images are not there, or the estimates are of something else.
        InvalidDataset: the data set is missing, damaged, or does not fit the model.
        CheckpointCorrupt: the checkpoint cannot be used.
    """
    model, checkpoint = load_model(run.path / config.checkpoint, ranks.device)
    folder = run.path / config.dataset
    split = open_prepared(folder, config.split, verify=ranks.is_first_of_node)
    check_fits(split.manifest, model.config)
    indices = _select_images(config, run, len(split.images))
    report = _Report(config, run, _identity(config, checkpoint, split, indices), ranks.is_first)
    estimates = report.resume(model.config.num_dimensions)
    report.start(
        StartedLine(
            at=time.time(),
            num_steps=len(indices),
            first_step=estimates.num_images,
            num_parameters=count_parameters(model),
            **describe_device(ranks.device),
        )
    )

    def should_stop_alive() -> bool:
        enter(estimates.num_images)
        return should_stop()

    scorer = _Scorer(model, split, indices, config, ranks, should_stop_alive)
    stopped = False
    enter(estimates.num_images)
    try:
        for batches in scorer.rounds(len(estimates.batches)):
            estimates.batches += batches
            enter(estimates.num_images)
            report.update(estimates)
    except EvaluationStopped:
        stopped = True
    report.finish(estimates)
    return Result(
        status="stopped" if stopped else "succeeded",
        reason=ExitReason.STOPPED if stopped else None,
        step=estimates.num_images,
        values={**estimates.values()},
    )


def _select_images(config: EvaluateConfig, run: RunDirectory, num_images: int) -> range:
    if config.first_image >= num_images:
        raise InvalidRunDirectory(
            f"{run.config_path}: first_image: is {config.first_image}, and the split "
            f"{config.split} has {num_images} images"
        )
    end = num_images if config.num_images is None else config.first_image + config.num_images
    if end > num_images:
        raise InvalidRunDirectory(
            f"{run.config_path}: num_images: is {config.num_images}, and the split {config.split} "
            f"has {num_images - config.first_image} from {config.first_image} on"
        )
    return range(config.first_image, end)


def _identity(
    config: EvaluateConfig, checkpoint: CheckpointManifest, split: PreparedSplit, indices: range
) -> dict[str, object]:
    """Return what estimates must agree in to be those of one evaluation."""
    return {
        "checkpoint": checkpoint.files[MODEL_NAME].sha256,
        "dataset": split.manifest.content_hash,
        "split": config.split,
        "first_image": indices.start,
        "num_images": len(indices),
        "importance_samples": config.importance_samples,
        "batch_size": config.images_per_batch,
        "seed": config.seed,
    }


class _Report:
    """What rank 0 writes; the others write nothing."""

    def __init__(
        self, config: EvaluateConfig, run: RunDirectory, identity: dict[str, object], writes: bool
    ) -> None:
        self._config = config
        self._run = run
        self._identity = identity
        self._writes = writes
        self._reported_at, self._saved_at = -math.inf, time.monotonic()
        self._num_saved = 0

    def resume(self, num_dimensions: int) -> Estimates:
        """Return the estimates to go on from: rank 0's, for another node may lack the file."""
        estimates = take_from_first_rank(self._read(num_dimensions))
        if isinstance(estimates, InvalidEstimates):
            raise InvalidRunDirectory(f"{self._run.config_path}: {estimates}") from estimates
        self._num_saved = estimates.num_images
        return estimates

    def _read(self, num_dimensions: int) -> Estimates | InvalidEstimates:
        if self._config.resume_from is None or not self._writes:
            return Estimates(num_dimensions)
        try:
            path = self._run.path / self._config.resume_from
            return read_estimates(path, self._identity, num_dimensions)
        except InvalidEstimates as error:
            return error

    def start(self, line: StartedLine) -> None:
        if self._writes:
            self._run.append(line)

    def update(self, estimates: Estimates) -> None:
        now = time.monotonic()
        if self._writes and now >= self._reported_at + REPORT_SECONDS:
            self._reported_at = now
            self._append(estimates)
        if self._writes and now >= self._saved_at + self._config.save_every_seconds:
            self._saved_at = now
            self._save(estimates)

    def finish(self, estimates: Estimates) -> None:
        if self._writes and estimates.batches:
            self._append(estimates)
            if estimates.num_images > self._num_saved:
                self._save(estimates)

    def _append(self, estimates: Estimates) -> None:
        values = estimates.values()
        self._run.append(MetricsLine(at=time.time(), step=estimates.num_images, values=values))

    def _save(self, estimates: Estimates) -> None:
        """Write them under a new name: whoever uploads the one before may still read it."""
        self._run.estimates.mkdir(exist_ok=True)
        path = self._run.estimates / f"likelihoods_{estimates.num_images:08d}.safetensors"
        write_atomically(path, estimates.encode(self._identity))
        self._num_saved = estimates.num_images
        self._run.append(
            ArtifactLine(
                at=time.time(),
                name=ESTIMATES_NAME,
                path=str(path.relative_to(self._run.path)),
                content_type="application/octet-stream",
                step=estimates.num_images,
            )
        )
        for old in sorted(self._run.estimates.glob("likelihoods_*"))[:-KEPT_FILES]:
            old.unlink()


@dataclass
class _Scorer:
    """Estimates one batch after the other; each image counts once.

    What a batch gives depends on its images and the seed alone; rank r takes batches r,
    r + world size, …
    """

    model: NVAE
    split: PreparedSplit
    indices: range
    config: EvaluateConfig
    ranks: Ranks
    should_stop: Callable[[], bool]

    def __post_init__(self) -> None:
        self.fused = fuse(self.model)
        size = self.config.images_per_batch
        starts = range(0, len(self.indices), size)
        self.batches = [self.indices[start : start + size] for start in starts]

    def rounds(self, first_batch: int) -> Iterator[list[BatchEstimates]]:
        """Yield the estimates of the next batches, one of each rank, in order; a collective.

        Raises:
            EvaluationStopped: a rank was asked to stop; what others had done is lost.
        """
        for start in range(first_batch, len(self.batches), self.ranks.world_size):
            batches = self.batches[start : start + self.ranks.world_size]
            gathered = gather_estimates(self._score_own(batches), self.ranks.world_size)
            estimates = [own for own in gathered if own is not None]
            if len(estimates) < len(batches):
                raise EvaluationStopped
            yield estimates

    def _score_own(self, batches: Sequence[range]) -> BatchEstimates | None:
        """Return the estimates of this rank's batch; None without one, or if asked to stop."""
        if self.ranks.rank >= len(batches):
            return None
        try:
            return self._score(batches[self.ranks.rank])
        except EvaluationStopped:
            return None

    @torch.no_grad()
    def _score(self, batch: range) -> BatchEstimates:
        device, seed = self.ranks.device, self.config.seed
        x = to_repeatable_input(self.split.images, batch, self.model.config, seed).to(device)
        generator = seeded_generator(device, Stream.LATENTS, seed, batch.start)
        noise = [generator] * self.config.importance_samples
        scores = score_by(self.fused, x, noise, should_stop=self.should_stop)
        one_more = seeded_generator(device, Stream.VALIDATION, seed, batch.start)
        return BatchEstimates(
            scores.negative_elbo.cpu(),
            scores.importance_weighted_nll.cpu(),
            scores.kl_per_group.cpu(),
            self._kl_per_channel(x, one_more).cpu(),
        )

    def _kl_per_channel(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the sum over the images of the KL of each channel by one sample, (G, Z)."""
        pass_size = images_per_pass(x.device, x.shape[-1])
        noise = draw_noise(self.model.noise_shapes(len(x)), generator)
        parts = zip(*(torch.split(group, pass_size) for group in noise), strict=True)
        images = zip(torch.split(x, pass_size), parts, strict=True)
        per_image = torch.cat([self.model(*part).kl_per_channel() for part in images])
        return per_image.double().sum(dim=0)


def gather_estimates(
    estimates: BatchEstimates | None, world_size: int
) -> list[BatchEstimates | None]:
    """Return what all ranks have, in their order."""
    gathered: list[BatchEstimates | None] = [estimates] * world_size
    if world_size > 1:
        dist.all_gather_object(gathered, estimates)
    return gathered
