"""A small model and a small data set."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from analyses import OF_IMAGES, save_untrained

from nvae_core.cli import analyze
from nvae_core.config import (
    RUN_CONFIG,
    BundledSource,
    CheckpointPolicy,
    ModelConfig,
    OptimizationConfig,
    TrainConfig,
)
from nvae_core.data.prepare import write_prepared
from nvae_core.data.sources.stream import stream_arrays
from nvae_core.model.nvae import NVAE, build_model
from nvae_core.run_directory import Result, RunDirectory

NUM_TRAIN_IMAGES = 38


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the programs compute; on a busy machine a second thread waits by spinning."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def model_config() -> ModelConfig:
    return ModelConfig(
        image_size=12,
        image_padding=2,
        num_groups_per_scale=(1, 2),
        num_latents_per_group=3,
        num_encoder_channels=4,
        num_decoder_channels=4,
        num_preprocess_blocks=1,
        num_preprocess_cells=1,
        num_postprocess_cells=1,
        num_encoder_cells_per_group=1,
        num_decoder_cells_per_group=1,
    )


@pytest.fixture
def model(model_config: ModelConfig) -> NVAE:
    return build_model(model_config, seed=0)


@pytest.fixture
def padded_images() -> torch.Tensor:
    images = torch.rand(4, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.pad((images < 0.3).float(), (2, 2, 2, 2))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (NUM_TRAIN_IMAGES + 10, 12, 12, 1), np.uint8)
    splits = stream_arrays(train=images[:NUM_TRAIN_IMAGES], test=images[NUM_TRAIN_IMAGES:])
    source = BundledSource(name="mnist_5k")
    write_prepared(tmp_path / "dataset", splits, source)
    return tmp_path / "dataset"


@pytest.fixture
def train_config(model_config: ModelConfig, dataset: Path) -> TrainConfig:
    """Six steps of eight images, with a checkpoint in the middle of the first epoch."""
    return TrainConfig(
        model=model_config,
        optimization=OptimizationConfig(epochs=2, batch_size=8, warmup_epochs=0.5),
        dataset=str(dataset),
        checkpoint=CheckpointPolicy(every_steps=3),
        report_every_steps=2,
    )


@pytest.fixture
def run(tmp_path: Path, train_config: TrainConfig) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")
    directory.create(train_config)
    return directory


@pytest.fixture
def run_analysis(
    tmp_path: Path, train_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Result, RunDirectory]]:
    """Return a function that runs an analysis, of a new model, on the small data set."""
    checkpoint = save_untrained(tmp_path / "ckpt", train_config)
    numbers = iter(range(100))

    def run(**fields: object) -> tuple[Result, RunDirectory]:
        directory = RunDirectory(tmp_path / f"analysis_{next(numbers)}")
        given = {} if "runs" in fields else {"checkpoint": str(checkpoint)}
        if fields["analysis"] in OF_IMAGES:
            given["dataset"] = train_config.dataset
        directory.create(RUN_CONFIG.validate_python({"kind": "analyze"} | given | fields))
        monkeypatch.setattr("nvae_core.runtime.program.watch_deadman", lambda run: None)
        monkeypatch.setattr("sys.argv", ["analyze", str(directory.path)])
        analyze.main()
        result = directory.read_result()
        assert result is not None
        return result, directory

    return run


@pytest.fixture
def mount_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a file system of so many bytes; only root can have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    is_mounted = False

    def mount(num_bytes: int) -> Path:
        nonlocal is_mounted
        options = ["-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(folder)]
        done = subprocess.run(["mount", *options], check=False, capture_output=True)
        if done.returncode != 0:
            pytest.skip("file systems cannot be mounted here")
        is_mounted = True
        return folder

    yield mount
    if is_mounted:
        subprocess.run(["umount", str(folder)], check=True)
