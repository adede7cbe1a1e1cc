import errno
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nvae_core.config import (
    FolderSource,
    ModelConfig,
    OptimizationConfig,
    SamplePolicy,
    TrainConfig,
    ValidationPolicy,
)
from nvae_core.data.prepare import write_prepared
from nvae_core.data.sources.stream import stream_arrays
from nvae_core.distributed import Ranks
from nvae_core.run_directory import (
    ArtifactLine,
    CheckpointLine,
    ExitReason,
    MetricsLine,
    NoticeLine,
    Phase,
    RankFile,
    Result,
    RunDirectory,
    StartedLine,
)
from nvae_core.runtime.stop import StopSignal
from nvae_core.training.metrics import NonFiniteLoss
from nvae_core.training.reporter import PhaseClock
from nvae_core.training.train import train

ALONE = Ranks(rank=0, world_size=1, device=torch.device("cpu"))


def train_in(path: Path, config: TrainConfig) -> tuple[RunDirectory, Result]:
    run = RunDirectory(path)
    run.create(config)
    clock = PhaseClock(RankFile(run.rank_path(0)), ALONE.device)
    return run, train(config, run, ALONE, StopSignal(run), clock)


def test_run_reports_what_it_does(tmp_path: Path, train_config: TrainConfig) -> None:
    run, result = train_in(tmp_path / "run", train_config)
    lines = [line for _, line in run.read_progress()]
    started, artifact = lines[0], lines[-1]
    assert isinstance(started, StartedLine)
    assert started.num_steps == 8
    assert isinstance(artifact, ArtifactLine)
    assert (run.path / artifact.path).read_bytes().startswith(b"\x89PNG")
    metrics = [line for line in lines if isinstance(line, MetricsLine)]
    assert [line.step for line in metrics] == [2, 4, 6, 8]
    values = metrics[-1].values
    total_kl = sum(value for name, value in values.items() if name.startswith("kl/group_"))
    assert values["kl"] == pytest.approx(total_kl, rel=1e-5)
    assert values["negative_elbo"] == pytest.approx(values["reconstruction_loss"] + values["kl"])
    num_bits = values["bits_per_dim"] * 12 * 12
    assert num_bits == pytest.approx(values["negative_elbo"] / math.log(2))
    assert values["bits_per_dim"] == pytest.approx(
        values["reconstruction_bits_per_dim"] + values["kl_bits_per_dim"]
    )
    assert 0 < values["step_seconds/fastest_rank"] == values["step_seconds/slowest_rank"]
    assert 0 <= values["data_wait_share"] < 1
    assert values["peak_memory_bytes"] > 2**20
    assert {"loss", "kl_weight", "spectral_weight", "learning_rate", "images_per_second"} < set(
        values
    )
    assert {state.phase for state in run.read_ranks().values()} == {Phase.END}
    checkpoints = [line.step for line in lines if isinstance(line, CheckpointLine)]
    assert checkpoints == [3, 6, 8]
    assert result.status == "succeeded"
    assert result.step == 8
    assert set(result.values) == {"train_negative_elbo", "num_parameters", "train_seconds"}


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, train_config: TrainConfig) -> None:
    whole, _ = train_in(tmp_path / "whole", train_config)
    half = whole.checkpoints / "step_00000003"
    resuming = train_config.model_copy(update={"resume_from": str(half)})
    resumed, _ = train_in(tmp_path / "resumed", resuming)
    for name in ("model.safetensors", "training.safetensors"):
        last = Path("checkpoints", "step_00000008", name)
        assert (whole.path / last).read_bytes() == (resumed.path / last).read_bytes()
    first_line = next(line for _, line in resumed.read_progress())
    assert isinstance(first_line, StartedLine)
    assert first_line.first_step == 3


def test_pictures_and_validation_do_not_change_the_training(
    tmp_path: Path, train_config: TrainConfig
) -> None:
    plain, _ = train_in(tmp_path / "plain", train_config)
    update = {
        "samples": SamplePolicy(every_steps=1, temperatures=(0.5,)),
        "validation": ValidationPolicy(every_steps=1, num_images=3),
    }
    watched, _ = train_in(tmp_path / "watched", train_config.model_copy(update=update))
    for name in ("model.safetensors", "training.safetensors"):
        last = Path("checkpoints", "step_00000008", name)
        assert (plain.path / last).read_bytes() == (watched.path / last).read_bytes()
    lines = [line for _, line in watched.read_progress() if isinstance(line, MetricsLine)]
    validated = [line for line in lines if "validation/bits_per_dim" in line.values]
    assert [line.step for line in validated] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert len(list(watched.samples.iterdir())) == 8


def test_samples_are_given_up_on_a_full_disk(
    tmp_path: Path, train_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_nothing(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("nvae_core.training.sample_grids.report_grid", write_nothing)
    run, result = train_in(tmp_path / "run", train_config)
    assert result.status == "succeeded"
    notices = [line for _, line in run.read_progress() if isinstance(line, NoticeLine)]
    assert [(line.name, line.step) for line in notices] == [("disk_full", 8)]


def test_stop_file_ends_the_run_with_a_checkpoint(
    tmp_path: Path, train_config: TrainConfig
) -> None:
    (tmp_path / "run").mkdir()
    RunDirectory(tmp_path / "run").request_stop()
    run, result = train_in(tmp_path / "run", train_config)
    assert (result.status, result.reason, result.step) == ("stopped", ExitReason.STOPPED, 1)
    assert [path.name for path in run.checkpoints.iterdir()] == ["step_00000001"]


def test_run_ends_when_the_loss_stays_non_finite(
    tmp_path: Path, train_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "nvae_core.training.batches.to_model_input",
        lambda images, *_args, **_kwargs: torch.full((len(images), 1, 16, 16), torch.nan),
    )
    optimization = train_config.optimization.model_copy(update={"epochs": 10})
    config = train_config.model_copy(update={"optimization": optimization})
    with pytest.raises(NonFiniteLoss, match="20 steps in a row"):
        train_in(tmp_path / "run", config)


def test_colour_images_are_trained_on_with_flows_and_mixtures(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (20, 8, 8, 3), np.uint8)
    source = FolderSource(path="images", image_size=8)
    splits = stream_arrays(train=images[:16], test=images[16:])
    write_prepared(tmp_path / "dataset", splits, source)
    config = TrainConfig(
        model=ModelConfig(
            image_size=8,
            num_colors=3,
            bit_depth=5,
            image_distribution="logistic_mixture",
            num_mixtures=3,
            num_groups_per_scale=(1, 2),
            num_latents_per_group=3,
            num_flow_transforms=2,
            num_encoder_channels=4,
            num_decoder_channels=4,
        ),
        optimization=OptimizationConfig(
            epochs=5, batch_size=4, warmup_epochs=1, horizontal_flip=True
        ),
        dataset=str(tmp_path / "dataset"),
        report_every_steps=1,
    )
    run, result = train_in(tmp_path / "run", config)
    assert (result.status, result.step) == ("succeeded", 20)
    metrics = [line for _, line in run.read_progress() if isinstance(line, MetricsLine)]
    losses = [line.values["negative_elbo"] for line in metrics]
    assert min(losses[-5:]) < losses[0]
    assert 0 <= metrics[-1].values["active_channels"] <= 9
    assert metrics[-1].values["active_channels"] == sum(
        metrics[-1].values[f"active_channels/group_0{group}"] for group in range(3)
    )
    (grid,) = run.samples.iterdir()
    with Image.open(grid) as picture:
        assert picture.mode == "RGB"


def test_cells_without_batch_norm_are_fitted_to_the_first_batch(
    tmp_path: Path, train_config: TrainConfig
) -> None:
    model = train_config.model.model_copy(update={"cell_architecture": "res_elu"})
    config = train_config.model_copy(update={"model": model})
    run, result = train_in(tmp_path / "run", config)
    assert result.status == "succeeded"
    first = next(line for _, line in run.read_progress() if isinstance(line, MetricsLine))
    assert first.values["batch_norm_penalty"] == 0
