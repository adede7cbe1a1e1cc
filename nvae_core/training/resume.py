"""Where a run begins: a new state, or the one of a checkpoint, and what is different since then."""

from collections.abc import Set
from pathlib import Path

from pydantic import BaseModel

from nvae_core.checkpoint import (
    MANIFEST_NAME,
    TRAINING_NAME,
    CheckpointCorrupt,
    CheckpointManifest,
    TrainedOn,
    load_into,
    read_manifest,
    read_tensors,
)
from nvae_core.config import ModelConfig, TrainConfig
from nvae_core.distributed import Ranks
from nvae_core.model.compilation import CannotCompile
from nvae_core.run_directory import InvalidRunDirectory, RunDirectory
from nvae_core.training.batches import TrainingBatches
from nvae_core.training.state import (
    TrainingState,
    initialize_from_data,
    start_training,
    under,
)

SAME_BITS = frozenset(
    {"activation_checkpointing", "cuda_graph"}
)  # of ComputeConfig: changing it changes nothing

METRICS_PREFIX = "measured/"  # in files of checkpoints


def start_or_resume(
    config: TrainConfig, run: RunDirectory, batches: TrainingBatches, *, num_steps: int
) -> tuple[TrainingState, tuple[str, ...]]:
    """Return the state to train on from, and in words what changed since its checkpoint.

    Raises:
        CheckpointCorrupt: the checkpoint cannot be used.
        InvalidRunDirectory: the configuration does not continue the checkpoint's run, or this
            machine cannot compile.
    """
    device = batches.ranks.device
    try:
        state = start_training(
            config.model,
            config.optimization,
            seed=config.seed,
            device=device,
            compute=config.compute,
        )
    except CannotCompile as error:
        raise InvalidRunDirectory(f"compute.compile: {error}") from error
    if config.resume_from is None:
        initialize_from_data(state.model, batches.images(0), batches.noise(0, state.model))
        return state, ()
    manifest = restore_training(state, run.path / config.resume_from)
    _check_batch(config, manifest, batches.ranks)
    if state.step > num_steps:
        raise InvalidRunDirectory(
            f"optimization.epochs: the run ends at step {num_steps}, "
            f"but the checkpoint in resume_from is of step {state.step}"
        )
    return state, _describe_changes(config, manifest, trained_on(batches))


def restore_training(state: TrainingState, folder: Path) -> CheckpointManifest:
    """Continue from a checkpoint: replace all of the state by it.

    Raises:
        CheckpointCorrupt: a file is missing, damaged, or not of this model.
    """
    manifest = read_manifest(folder)
    if manifest.model != state.model.config:
        raise CheckpointCorrupt(
            f"{folder / MANIFEST_NAME}: the model is not the one of this configuration; "
            f"{_describe_difference(manifest.model, state.model.config)}"
        )
    load_into(state.model, folder, manifest)
    tensors = read_tensors(folder, TRAINING_NAME, manifest)
    metrics = under(METRICS_PREFIX, tensors)
    try:
        state.load_training_tensors(tensors)
        if metrics:  # an imported checkpoint has measured nothing
            state.metrics.load_tensors(metrics)
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointCorrupt(f"{folder / TRAINING_NAME}: {error}") from error
    state.step = manifest.step
    return manifest


def trained_on(batches: TrainingBatches) -> TrainedOn:
    """Return what the order of the images and their noise depend on, besides the seed."""
    return TrainedOn(
        world_size=batches.ranks.world_size,
        global_batch_size=batches.order.global_batch_size,
        dataset_hash=batches.split.manifest.content_hash,
    )


def _check_batch(config: TrainConfig, manifest: CheckpointManifest, ranks: Ranks) -> None:
    """The order of the images depends on the size of the global batch, and steps count by it."""
    batch_size, world_size = config.optimization.batch_size, ranks.world_size
    saved = manifest.trained_on
    if saved is None or saved.global_batch_size == batch_size * world_size:
        return
    wanted, rest = divmod(saved.global_batch_size, world_size)
    advice = f"; batch_size {wanted} gives that" if rest == 0 else ""
    raise InvalidRunDirectory(
        f"optimization.batch_size: {batch_size} images on each of {world_size} ranks are "
        f"{batch_size * world_size} in each step, but the run in resume_from was trained with "
        f"{saved.global_batch_size}{advice}"
    )


def _describe_changes(
    config: TrainConfig, manifest: CheckpointManifest, now: TrainedOn
) -> tuple[str, ...]:
    changes: list[str] = []
    if config.seed != manifest.seed:
        changes.append(f"seed is {config.seed}, in the checkpoint {manifest.seed}")
    changes += _differences(config.optimization, manifest.optimization, "optimization.")
    if manifest.compute is not None:
        changes += _differences(config.compute, manifest.compute, "compute.", but=SAME_BITS)
    if manifest.trained_on is not None:
        changes += _differences(now, manifest.trained_on, "")
    return tuple(changes)


def _differences(
    ours: BaseModel, saved: BaseModel, prefix: str, *, but: Set[str] = frozenset()
) -> list[str]:
    before = saved.model_dump()
    return [
        f"{prefix}{name} is {value}, in the checkpoint {before[name]}"
        for name, value in ours.model_dump().items()
        if value != before[name] and name not in but
    ]


def _describe_difference(saved: ModelConfig, configured: ModelConfig) -> str:
    ours = configured.model_dump()
    return "; ".join(
        f"model.{name} is {ours[name]}, in the checkpoint {value}"
        for name, value in saved.model_dump().items()
        if value != ours[name]
    )
