import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nvae_core.checkpoint import MODEL_NAME, load_model
from nvae_core.config import ModelConfig, OptimizationConfig, SampleConfig
from nvae_core.model.decoder import Decoder
from nvae_core.model.fuse import fuse
from nvae_core.model.nvae import NVAE
from nvae_core.run_directory import (
    ArtifactLine,
    InvalidRunDirectory,
    Phase,
    RankFile,
    Result,
    RunDirectory,
    StartedLine,
)
from nvae_core.sampling.batch_norm_statistics import (
    StatisticsKey,
    copy_statistics,
    encode_statistics,
    re_estimate_batch_norm,
)
from nvae_core.sampling.draw import MAX_PIXELS, draw_images, images_per_pass
from nvae_core.sampling.grids import SEPARATOR_COLOR, arrange_grid, report_grid
from nvae_core.sampling.run import sample_run
from nvae_core.sampling.sampler import Sampler
from nvae_core.training.checkpointer import save_checkpoint
from nvae_core.training.state import start_training

CPU = torch.device("cpu")
FORMS = [("grid", "png"), ("images", "npz")]


def draw(model: NVAE, *, seed: int = 0, temperature: float = 1.0, shared: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return draw_images(
        fuse(model.decoder),
        3,
        temperature=temperature,
        generator=generator,
        num_shared_groups=shared,
    )


def test_samples_depend_on_the_seed_and_the_temperature_alone(model: NVAE) -> None:
    model.eval()
    first = draw(model)
    assert first.shape == (3, 1, 12, 12)
    assert torch.equal(first, draw(model))
    assert not torch.equal(first, draw(model, seed=1))
    assert not torch.equal(first, draw(model, temperature=0.5))


def test_more_images_than_one_batch_can_be_drawn(model: NVAE) -> None:
    decoder = fuse(model.eval().decoder)
    images = draw_images(decoder, 70, temperature=1.0, generator=torch.Generator())
    assert images.shape == (70, 1, 12, 12)


@pytest.mark.parametrize("shared", [0, 1])
def test_how_many_images_a_pass_takes_changes_no_latent(
    model: NVAE, monkeypatch: pytest.MonkeyPatch, shared: int
) -> None:
    model.eval()
    expected = draw(model, shared=shared)
    passes: list[int] = []
    generate = Decoder.generate

    def generate_and_count(self: Decoder, noise: Sequence[torch.Tensor], **options: Any):
        passes.append(len(noise[0]))
        return generate(self, noise, **options)

    monkeypatch.setattr(Decoder, "generate", generate_and_count)
    monkeypatch.setitem(MAX_PIXELS, "cpu", 2 * 16 * 16)
    torch.testing.assert_close(draw(model, shared=shared), expected)
    monkeypatch.setitem(MAX_PIXELS, "cpu", 1)
    torch.testing.assert_close(draw(model, shared=shared), expected)
    assert passes == [2, 1, 1, 1, 1]


def test_passes_are_bounded_by_pixels_on_each_device() -> None:
    cuda, meta = torch.device("cuda", 0), torch.device("meta")
    assert [images_per_pass(CPU, size) for size in (32, 64, 256, 1024)] == [64, 16, 1, 1]
    assert [images_per_pass(cuda, size) for size in (32, 256, 1024, 2048)] == [1024, 16, 1, 1]
    assert images_per_pass(meta, 32) == 64


def test_first_image_is_the_same_whatever_is_shared_and_all_are_where_everything_is(
    model: NVAE,
) -> None:
    model.eval()
    free, all_shared = draw(model), draw(model, shared=len(model.hierarchy.groups))
    assert torch.equal(draw(model, shared=1)[0], free[0])
    assert not torch.equal(draw(model, shared=1)[1], free[1])
    assert torch.equal(all_shared, free[:1].expand(3, -1, -1, -1))


def test_re_estimation_moves_the_decoders_statistics_only(model: NVAE) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.eval()
    re_estimate_batch_norm(
        model, temperature=0.7, generator=torch.Generator().manual_seed(0), num_draws=2
    )
    assert not model.training
    moved = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert moved
    assert all(name.startswith("decoder.") and ".running_" in name for name in moved)


def test_grid_is_the_squarest_with_two_light_pixels_between() -> None:
    images = torch.zeros(5, 1, 3, 4)
    images[4] = 1
    grid = arrange_grid(images)
    assert grid.shape == (2 * 5 + 2, 3 * 6 + 2, 1)
    assert (grid[2:5, 2:6] == 0).all()
    assert (grid[7:10, 8:12] == 255).all()
    assert (grid[:2] == SEPARATOR_COLOR).all()
    assert (grid[5:7] == SEPARATOR_COLOR).all()


def test_grid_is_saved_as_png(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    report_grid(run, "grid.png", torch.rand(4, 1, 8, 8), step=3)
    ((_, line),) = run.read_progress()
    assert isinstance(line, ArtifactLine)
    assert (line.name, line.step, line.content_type) == ("grid.png", 3, "image/png")
    with Image.open(tmp_path / line.path) as image:
        assert image.size == (22, 22)
        assert image.mode == "L"


@pytest.fixture
def checkpoint(tmp_path: Path, model_config: ModelConfig) -> Path:
    """A checkpoint's folder."""
    optimization = OptimizationConfig(epochs=1, batch_size=4, warmup_epochs=0)
    state = start_training(model_config, optimization, seed=0, device=CPU)
    return save_checkpoint(tmp_path, state, optimization=optimization, seed=0)


class Runs:
    """Sample runs of one sampler."""

    def __init__(self, folder: Path, checkpoint: Path) -> None:
        self.folder = folder
        self.checkpoint = checkpoint
        self.sampler = Sampler.load(checkpoint, CPU)

    def run(self, name: str, *, stop: bool = False, **fields: object) -> tuple[Result, Path]:
        run = RunDirectory(self.folder / name)
        run.path.mkdir()
        given = {"num_images": 3, "re_estimation_draws": 3, "checkpoint": str(self.checkpoint)}
        config = SampleConfig.model_validate(given | fields)
        return sample_run(config, run, self.sampler, should_stop=lambda: stop), run.path


@pytest.fixture
def runs(tmp_path: Path, checkpoint: Path) -> Runs:
    return Runs(tmp_path, checkpoint)


def files(path: Path) -> dict[str, bytes]:
    samples = path / "samples"
    return {
        str(file.relative_to(samples)): file.read_bytes()
        for file in sorted(samples.rglob("*"))
        if file.is_file()
    }


def reported(path: Path) -> Sequence[str]:
    lines = [line for _, line in RunDirectory(path).read_progress()]
    assert isinstance(lines[0], StartedLine)
    assert (lines[0].device, lines[0].torch, lines[0].cuda) == ("cpu", torch.__version__, None)
    return sorted(line.name for line in lines if isinstance(line, ArtifactLine))


def test_all_forms_hold_the_same_images(runs: Runs) -> None:
    result, path = runs.run("a", output=["grid", "images", "array"], seed=3)
    assert (result.status, result.values) == ("succeeded", {"num_images": 3})
    found = files(path)
    images = [f"images/000{i}.png" for i in range(3)]
    assert [*found] == ["grid.png", *images, "images.npz", "samples.json"]
    assert reported(path) == sorted(found)
    array = np.load(path / "samples" / "images.npz")["images"]
    assert (array.shape, array.dtype) == ((3, 12, 12, 1), np.uint8)
    for index in range(3):
        with Image.open(path / "samples" / f"images/000{index}.png") as image:
            assert np.array_equal(np.asarray(image), array[index, :, :, 0])


def test_record_beside_the_files_says_what_they_were_made_from(runs: Runs) -> None:
    _, path = runs.run("a", temperature=[0.5, 1.0], output=["grid", "array"], seed=3)
    text = (path / "samples" / "samples.json").read_text()
    assert str(runs.folder) not in text
    record = json.loads(text)
    assert record["inputs"]["seed"] == 3
    manifest = runs.sampler.manifest
    assert record["checkpoint"] == {
        "name": runs.checkpoint.name,
        "step": manifest.step,
        "seed": 0,
        "model_sha256": hashlib.sha256((runs.checkpoint / MODEL_NAME).read_bytes()).hexdigest(),
    }
    assert record["temperatures"] == [
        {"temperature": t, "files": [f"{n}_temperature_{t:g}.{e}" for n, e in FORMS]}
        for t in (0.5, 1.0)
    ]


def test_bytes_do_not_depend_on_what_was_drawn_before(runs: Runs, tmp_path: Path) -> None:
    asked = {"temperature": 0.7, "output": ["grid", "array"], "image": "draw"}
    _, first = runs.run("first", **asked)
    runs.run("other", temperature=[0.3, 1.2], batch_norm="re-estimate", fixed_scales=1)
    _, again = runs.run("again", **asked)
    _, cold = Runs(tmp_path, runs.checkpoint).run("cold", **asked)
    assert files(first) == files(again) == files(cold)
    _, mean = runs.run("mean", temperature=0.7)
    assert files(mean)["grid.png"] != files(first)["grid.png"]


def test_re_estimated_statistics_are_kept_and_taken_again(runs: Runs, tmp_path: Path) -> None:
    asked = {"temperature": [0.5, 0.9], "batch_norm": "re-estimate"}
    _, first = runs.run("first", **asked)
    kept = [name for name in files(first) if name.endswith(".safetensors")]
    assert kept == [f"batch_norm_temperature_{t}_draws_3.safetensors" for t in (0.5, 0.9)]
    paths = [str(first / "samples" / name) for name in kept]
    other = Runs(tmp_path, runs.checkpoint)
    _, reused = other.run("reused", statistics=paths, **asked)
    assert files(reused) == {k: v for k, v in files(first).items() if k not in kept}
    _, running = runs.run("running", temperature=[0.5, 0.9])
    assert files(running).keys() == files(reused).keys()
    assert files(running) != files(reused)
    _, held = runs.run("held", **asked)  # in memory, and of a run that may have left no file
    assert files(held) == files(first)
    before, _ = load_model(runs.checkpoint, CPU)
    after = runs.sampler.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.state_dict().items())


def test_equal_statistics_are_equal_bytes(model: NVAE) -> None:
    key = StatisticsKey("0" * 64, 0.7, 500)
    assert len({encode_statistics(copy_statistics(model), key) for _ in range(20)}) == 1


def test_statistics_of_another_checkpoint_are_refused(runs: Runs, tmp_path: Path) -> None:
    _, first = runs.run("first", batch_norm="re-estimate")
    [name] = [name for name in files(first) if name.endswith(".safetensors")]
    manifest = runs.checkpoint / "checkpoint.json"
    other = Runs(tmp_path, runs.checkpoint)
    record = other.sampler.manifest.files["model.safetensors"]
    files_of_other = {"model.safetensors": record.model_copy(update={"sha256": "0" * 64})}
    other.sampler.manifest = other.sampler.manifest.model_copy(update={"files": files_of_other})
    with pytest.raises(InvalidRunDirectory, match=r"statistics: .* is of another checkpoint"):
        other.run("other", batch_norm="re-estimate", statistics=[str(first / "samples" / name)])
    with pytest.raises(InvalidRunDirectory, match=r"statistics: checkpoint.json cannot be read"):
        runs.run("damaged", batch_norm="re-estimate", statistics=[str(manifest)])


def test_scale_that_does_not_exist_is_refused(runs: Runs) -> None:
    with pytest.raises(InvalidRunDirectory, match="fixed_scales: is 16, and the model has"):
        runs.run("a", fixed_scales=16)


def test_sampling_says_that_it_is_alive(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[tuple[Phase, int]] = []
    monkeypatch.setattr(RankFile, "enter", lambda self, phase, step: entered.append((phase, step)))
    runs.run("a", temperature=[0.5, 0.9], batch_norm="re-estimate")
    draws = 3 + 1  # of the statistics, and a batch of images
    signs = [(Phase.SAMPLE, 0)] * draws + [(Phase.SAMPLE, 3)] * draws
    assert entered == [*signs, (Phase.END, 6)]


def test_sampling_stops_where_it_is_asked_to(runs: Runs) -> None:
    result, path = runs.run("a", stop=True, batch_norm="re-estimate")
    assert (result.status, result.reason) == ("stopped", "stopped")
    assert files(path) == {}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"temperature": 0}, "temperature"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"temperature": []}, "temperature"),
        ({"temperature": [0.7, 0.7]}, "temperature"),
        ({"temperature": [0.7, -0.1]}, "temperature"),
        ({"num_images": 0}, "num_images"),
        ({"num_images": 1025}, "num_images"),
        ({"output": []}, "output"),
        ({"output": ["tiff"]}, "output"),
        ({"re_estimation_draws": 0}, "re_estimation_draws"),
        ({"fixed_scales": -1}, "fixed_scales"),
    ],
)
def test_bad_options_are_refused_by_name(fields: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        SampleConfig.model_validate({"checkpoint": "c"} | fields)
