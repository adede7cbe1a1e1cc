"""What a sample run leaves: files, their bytes, and a sampler that is as it was."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from nvae_core.checkpoint import MODEL_NAME
from nvae_core.config import ModelConfig, OptimizationConfig, SampleConfig
from nvae_core.run_directory import (
    ArtifactLine,
    ExitReason,
    InvalidRunDirectory,
    RunDirectory,
    StartedLine,
)
from nvae_core.sampling import Sampler, sample_run
from nvae_core.training.snapshot import save_checkpoint
from nvae_core.training.state import start_training

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
RE_ESTIMATED = {"batch_norm": "re-estimate", "re_estimation_draws": 3}


@pytest.fixture
def checkpoint(tmp_path: Path, model_config: ModelConfig) -> Path:
    optimization = OptimizationConfig(epochs=6, batch_size=8)
    state = start_training(model_config, optimization, seed=0, device=CPU)
    return save_checkpoint(tmp_path / "checkpoints", state, optimization=optimization, seed=0)


@pytest.fixture
def sampler(checkpoint: Path) -> Sampler:
    return Sampler.load(checkpoint, CPU)


@pytest.fixture
def sample(tmp_path: Path, sampler: Sampler) -> Callable[..., dict[str, bytes]]:
    """Runs a configuration and returns the files that it reported, by name."""
    num_runs = 0

    def run_it(given: Sampler = sampler, **fields: object) -> dict[str, bytes]:
        nonlocal num_runs
        num_runs += 1
        run = new_run(tmp_path / f"run_{num_runs}")
        fields = {"checkpoint": "unused", "num_images": 3} | fields
        result = sample_run(SampleConfig.model_validate(fields), run, given, lambda: False)
        assert result.status == "succeeded"
        lines = [line for _, line in run.read_progress()]
        assert isinstance(lines[0], StartedLine)
        return {
            line.name: (run.path / line.path).read_bytes()
            for line in lines
            if isinstance(line, ArtifactLine)
        }

    return run_it


Sample = Callable[..., dict[str, bytes]]


def new_run(path: Path) -> RunDirectory:
    path.mkdir()
    return RunDirectory(path)


def array(files: dict[str, bytes], path: Path, name: str = "images.npz") -> np.ndarray:
    (path / "opened.npz").write_bytes(files[name])
    with np.load(path / "opened.npz") as opened:
        images: np.ndarray = opened["images"]
        return images


def test_same_seed_gives_the_same_bytes_whatever_was_drawn_before(
    sample: Sample, checkpoint: Path
) -> None:
    wanted = {"seed": 3, "output": ["grid", "images", "array"], "image": "draw"}
    first = sample(**wanted)
    sample(**RE_ESTIMATED, temperature=0.5, seed=1)
    assert sample(**wanted) == first
    assert sample(Sampler.load(checkpoint, CPU), **wanted) == first
    assert sample(**wanted | {"seed": 4}) != first


def test_one_temperature_gives_grid_png_and_several_have_its_name(sample: Sample) -> None:
    assert set(sample()) == {"grid.png"}
    files = sample(temperature=[0.7, 1], output=["images", "grid"], num_images=2)
    assert set(files) == {
        "grid_temperature_0.7.png",
        "grid_temperature_1.png",
        *(f"image_temperature_{t}_000{index}.png" for t in ("0.7", "1") for index in range(2)),
    }


def test_array_and_single_pictures_hold_the_same_images(sample: Sample, tmp_path: Path) -> None:
    files = sample(output=["images", "array"])
    images = array(files, tmp_path)
    assert (images.shape, images.dtype) == ((3, 12, 12, 1), np.uint8)
    (tmp_path / "one.png").write_bytes(files["image_0002.png"])
    with Image.open(tmp_path / "one.png") as opened:
        assert np.array_equal(np.asarray(opened), images[2, :, :, 0])


def test_drawn_images_of_bernoulli_pixels_are_black_and_white(
    sample: Sample, tmp_path: Path
) -> None:
    assert set(np.unique(array(sample(output=["array"], image="draw"), tmp_path))) == {0, 255}


def test_image_of_a_seed_does_not_depend_on_how_many_are_drawn(
    sample: Sample, tmp_path: Path
) -> None:
    few = array(sample(output=["array"], num_images=2), tmp_path).astype(int)
    many = array(sample(output=["array"], num_images=66), tmp_path).astype(int)
    assert np.abs(few - many[:2]).max() <= 1  # a level, by rounding
    assert np.abs(many[64] - many[65]).max() > 1


def test_scales_held_fixed_are_shared_by_all_images(sample: Sample, tmp_path: Path) -> None:
    def drawn(fixed_scales: int) -> np.ndarray:
        return array(sample(output=["array"], fixed_scales=fixed_scales), tmp_path).astype(int)

    none, top, both = (drawn(fixed_scales) for fixed_scales in range(3))
    assert (both == both[:1]).all()
    assert not (top == top[:1]).all()
    assert not np.array_equal(none, top)


def test_more_fixed_scales_than_there_are_is_an_error(sample: Sample) -> None:
    with pytest.raises(InvalidRunDirectory, match=r"fixed_scales: is 3, but the model has 2"):
        sample(fixed_scales=3)


def test_re_estimated_statistics_depend_on_neither_seed_nor_number_of_images(
    sample: Sample, checkpoint: Path
) -> None:
    name = "batch_norm_temperature_0.7_draws_3.safetensors"
    first = sample(**RE_ESTIMATED, temperature=0.7)
    other = Sampler.load(checkpoint, CPU)
    assert sample(other, **RE_ESTIMATED, temperature=0.7, seed=1, num_images=1)[name] == first[name]
    assert first["grid.png"] != sample(temperature=0.7)["grid.png"]


def test_statistics_handed_in_give_the_same_pictures(
    sample: Sample, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sample(**RE_ESTIMATED, temperature=[0.7, 0.9])
    names = [name for name in files if name.startswith("batch_norm")]
    paths = [tmp_path / name for name in names]
    for name, path in zip(names, paths, strict=True):
        path.write_bytes(files[name])
    monkeypatch.setattr("nvae_core.sampling.sampler.re_estimate_batch_norm", None)
    again = sample(
        Sampler.load(checkpoint, CPU),
        **RE_ESTIMATED,
        temperature=[0.7, 0.9],
        statistics=[str(path) for path in paths],
    )
    assert again == files


@pytest.mark.parametrize(
    "change", [{"temperature": 0.8}, {"re_estimation_draws": 4}, {"batch_norm": "running"}]
)
def test_statistics_of_something_else_are_an_error(
    sample: Sample, tmp_path: Path, change: dict[str, object]
) -> None:
    wanted = RE_ESTIMATED | {"temperature": 0.7}
    name = "batch_norm_temperature_0.7_draws_3.safetensors"
    (tmp_path / name).write_bytes(sample(**wanted)[name])
    with pytest.raises(InvalidRunDirectory, match="statistics: "):
        sample(**wanted | change, statistics=[str(tmp_path / name)])


@pytest.mark.parametrize("content", [None, b"", b"no safetensors at all"])
def test_statistics_that_cannot_be_read_are_an_error(
    sample: Sample, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "statistics"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidRunDirectory, match="statistics: "):
        sample(**RE_ESTIMATED, statistics=[str(path)])


@pytest.mark.parametrize("num_answers", [0, 2])
def test_stop_leaves_only_complete_files(
    sampler: Sampler, tmp_path: Path, num_answers: int
) -> None:
    run = new_run(tmp_path / "stopped")
    answers = iter([False] * num_answers)
    config = SampleConfig(checkpoint="unused", num_images=3, temperature=(0.7, 0.8))
    result = sample_run(config, run, sampler, lambda: next(answers, True))
    assert (result.status, result.reason) == ("stopped", ExitReason.STOPPED)
    drawn = [line.name for _, line in run.read_progress() if isinstance(line, ArtifactLine)]
    assert drawn == ["grid_temperature_0.7.png"][: num_answers // 2]


def test_re_estimation_can_be_stopped_and_is_not_kept(sampler: Sampler, tmp_path: Path) -> None:
    run = new_run(tmp_path / "stopped")
    answers = iter([False] * 2)
    config = SampleConfig.model_validate({"checkpoint": "unused"} | RE_ESTIMATED)
    result = sample_run(config, run, sampler, lambda: next(answers, True))
    assert result.status == "stopped"
    assert not run.samples.exists()
    num_drawn = 0

    def count() -> bool:
        nonlocal num_drawn
        num_drawn += 1
        return False

    sampler.re_estimated(1.0, 3, should_stop=count)
    assert num_drawn == 3


def test_sampler_counts_what_it_keeps(sampler: Sampler, sample: Sample) -> None:
    before = sampler.num_bytes
    sample()
    assert sampler.num_bytes == 2 * before
    for temperature in (0.5, 0.6, 0.7, 0.8, 0.9):
        sampler.re_estimated(temperature, 1)
    assert sampler.num_bytes == 5 * before  # the oldest go
    assert MODEL_NAME in sampler.manifest.files


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"temperature": 0}, "temperature.number"),
        ({"temperature": float("nan")}, "temperature.number"),
        ({"temperature": [0.5, -1]}, "temperature.list.1"),
        ({"temperature": [0.5, 0.5]}, "temperature.list"),
        ({"temperature": [0.01 * (index + 1) for index in range(17)]}, "temperature.list"),
        ({"temperature": []}, "temperature.list"),
        ({"num_images": 1025}, "num_images"),
        ({"output": []}, "output"),
        ({"output": ["grid", "grid"]}, "output"),
        ({"re_estimation_draws": 10_001}, "re_estimation_draws"),
        ({"fixed_scales": -1}, "fixed_scales"),
    ],
)
def test_bad_fields_are_named(fields: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SampleConfig.model_validate({"checkpoint": "c"} | fields)
    assert {".".join(map(str, error["loc"])) for error in caught.value.errors()} == {field}
