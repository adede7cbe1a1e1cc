"""A whole evaluation run: what `config.json` asks for, on all ranks, resumable."""

import math
import time
from collections.abc import Callable

from nvae_core.checkpoint import MODEL_NAME, CheckpointManifest, load_model
from nvae_core.config import ESTIMATES_NAME, EvaluateConfig
from nvae_core.data.loader import check_fits
from nvae_core.data.prepared import PreparedSplit, open_prepared
from nvae_core.distributed import Ranks, take_from_first_rank
from nvae_core.evaluation.estimates import Estimates, InvalidEstimates, read_estimates
from nvae_core.evaluation.likelihood import EvaluationStopped
from nvae_core.evaluation.scoring import Scorer
from nvae_core.model.nvae import count_parameters
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
    split = open_prepared(run.path / config.dataset, config.split)
    check_fits(split.manifest, model.config)
    indices = _chosen(config, run, len(split.images))
    report = _Report(config, run, _identity(config, checkpoint, split, indices), ranks.is_first)
    estimates = report.resume(model.config.num_dimensions)
    report.started(estimates, len(indices), count_parameters(model))

    def should_stop_alive() -> bool:
        enter(estimates.num_images)
        return should_stop()

    scorer = Scorer(model, split, indices, config, ranks, should_stop_alive)
    status, reason = "succeeded", None
    enter(estimates.num_images)
    try:
        for batches in scorer.rounds(len(estimates.batches)):
            estimates.batches += batches
            enter(estimates.num_images)
            report.measured(estimates)
    except EvaluationStopped:
        status, reason = "stopped", ExitReason.STOPPED
    report.finished(estimates)
    return Result.model_validate(
        {
            "status": status,
            "reason": reason,
            "step": estimates.num_images,
            "values": estimates.values(),
        }
    )


def _chosen(config: EvaluateConfig, run: RunDirectory, num_images: int) -> range:
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
        found = take_from_first_rank(self._read(num_dimensions))
        if isinstance(found, InvalidEstimates):
            raise InvalidRunDirectory(f"{self._run.config_path}: {found}") from found
        self._num_saved = found.num_images
        return found

    def _read(self, num_dimensions: int) -> Estimates | InvalidEstimates:
        if self._config.resume_from is None or not self._writes:
            return Estimates(num_dimensions)
        try:
            path = self._run.path / self._config.resume_from
            return read_estimates(path, self._identity, num_dimensions)
        except InvalidEstimates as error:
            return error

    def started(self, estimates: Estimates, num_images: int, num_parameters: int) -> None:
        if self._writes:
            line = StartedLine(
                at=time.time(),
                num_steps=num_images,
                first_step=estimates.num_images,
                num_parameters=num_parameters,
            )
            self._run.append(line)

    def measured(self, estimates: Estimates) -> None:
        now = time.monotonic()
        if self._writes and now >= self._reported_at + REPORT_SECONDS:
            self._reported_at = now
            self._append(estimates)
        if self._writes and now >= self._saved_at + self._config.save_every_seconds:
            self._saved_at = now
            self._save(estimates)

    def finished(self, estimates: Estimates) -> None:
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
