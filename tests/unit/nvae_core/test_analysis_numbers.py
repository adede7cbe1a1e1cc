import math
from pathlib import Path

import numpy as np
import pytest
import torch

from nvae_core.analysis.context import as_model_sees
from nvae_core.analysis.posterior import interpolate, posterior_means, reconstruct
from nvae_core.analysis.series import Series, read_run, summarize
from nvae_core.analysis.similarity import Measure, NearestSearch
from nvae_core.analysis.spread import pixel_spread
from nvae_core.config import ModelConfig
from nvae_core.model.nvae import NVAE
from nvae_core.run_directory import MetricsLine, RunDirectory


@pytest.mark.parametrize(
    ("image_size", "area_size", "crop_size"),
    [(256, 4, 128), (64, 4, 32), (32, 4, 32), (28, 4, 28), (30, 4, 28), (2, 2, 2)],
)
def test_large_images_are_compared_by_their_middle_and_small_ones_whole(
    image_size: int, area_size: int, crop_size: int
) -> None:
    measure = Measure(image_size)
    assert (measure.area_size, measure.crop_size) == (area_size, crop_size)


def test_distance_is_that_of_area_means_within_the_crop() -> None:
    measure = Measure(64)
    images = np.zeros((4, 64, 64, 1), np.uint8)
    images[1, :16] = 255  # outside of the crop
    images[2, 16:20, 16:20] = 255  # one area
    images[3, 16:20, 16:18] = 255  # half an area
    first, *others = measure.features(images)
    squared = np.array([np.square(other - first).sum() for other in others])
    assert measure.distances(squared).tolist() == [0, 1, 0.5]


def test_search_in_blocks_finds_what_a_plain_search_finds() -> None:
    generator = np.random.default_rng(0)
    features = generator.integers(0, 4081, (57, 48)).astype(np.float64)
    queries = generator.integers(0, 4081, (3, 48)).astype(np.float64)
    search = NearestSearch(queries, num_neighbours=5)
    for start in range(0, 57, 4):  # blocks smaller than the number of neighbours
        search.add(features[start : start + 4])
    squared = np.square(queries[:, None] - features).sum(axis=2)
    expected = np.argsort(squared, axis=1, kind="stable")[:, :5]
    found = search.result()
    assert (found.indices == expected).all()
    assert (found.squared == np.take_along_axis(squared, expected, axis=1)).all()


def test_of_equally_near_images_the_first_ones_are_found_in_order() -> None:
    search = NearestSearch(np.zeros((1, 2)), num_neighbours=3)
    for _ in range(3):
        search.add(np.ones((2, 2)))
    assert search.result().indices.tolist() == [[0, 1, 2]]


def test_levels_are_those_that_the_bit_depth_leaves() -> None:
    model = ModelConfig(
        image_size=4,
        num_colors=3,
        bit_depth=1,
        image_distribution="logistic_mixture",
        num_groups_per_scale=(1,),
    )
    images = np.full((1, 4, 4, 3), 127, np.uint8)
    images[0, 0] = 128
    seen = as_model_sees(images, model)
    assert (seen[0, 0] == 255).all()
    assert (seen[0, 1:] == 0).all()


def test_spread_is_the_mean_of_the_pixels_standard_deviations() -> None:
    images = torch.zeros(2, 1, 1, 2)
    images[1, 0, 0, 0] = 1
    assert pixel_spread(images) == 0.25
    assert pixel_spread(images[:1].expand(3, -1, -1, -1)) == 0


def test_reconstruction_has_the_negative_elbo_of_its_sample(
    model: NVAE, padded_images: torch.Tensor
) -> None:
    model.eval()
    x = padded_images.repeat(5, 1, 1, 1)  # more than are passed through together
    noise = [torch.randn(shape) for shape in model.noise_shapes(len(x))]
    found = reconstruct(model, x, noise)
    with torch.no_grad():
        expected = model(x, noise)
    elbo = expected.log_prob(x) - expected.kl_per_channel().sum(dim=(1, 2))
    torch.testing.assert_close(found.bits_per_dim(), -elbo / (math.log(2) * 144))
    torch.testing.assert_close(found.images, expected.image.mean())


def test_interpolation_ends_at_both_reconstructions_and_is_linear_in_the_latents(
    model: NVAE, padded_images: torch.Tensor
) -> None:
    model.eval()
    pair = padded_images[:2]
    latents = posterior_means(model, pair)
    found = interpolate(model, latents, num_steps=5)
    zeros = [torch.zeros(shape) for shape in model.noise_shapes(2)]
    reconstructed = reconstruct(model, pair, zeros).images
    torch.testing.assert_close(found.images[[0, -1]], reconstructed)
    middle = {index: z.mean(dim=0, keepdim=True) for index, z in enumerate(latents)}
    noise = [torch.zeros(shape) for shape in model.noise_shapes(1)]
    with torch.no_grad():
        expected = model.generate(noise, batch_size=1, fixed=middle).image.mean()
    torch.testing.assert_close(found.images[2:3], expected)


def test_prior_of_an_interpolation_is_that_of_its_latents(
    model: NVAE, padded_images: torch.Tensor
) -> None:
    model.eval()
    pair = padded_images[:2]
    zeros = [torch.zeros(shape) for shape in model.noise_shapes(2)]
    with torch.no_grad():
        groups = model(pair, zeros).groups
    expected = sum(group.log_prior().sum(dim=(1, 2, 3)) for group in groups)
    found = interpolate(model, posterior_means(model, pair), num_steps=3)
    torch.testing.assert_close(found.log_prior[[0, 2]], expected)


def report(path: Path, *points: tuple[int, dict[str, float]]) -> Path:
    run = RunDirectory(path)
    path.mkdir()
    for step, values in points:
        run.append(MetricsLine(at=0, step=step, values=values))
    return path


def test_series_are_read_from_a_run_directory_or_its_progress(tmp_path: Path) -> None:
    path = report(
        tmp_path / "run",
        (2, {"loss": 5.0, "kl": 1.0}),
        (4, {"loss": 3.0, "kl/group_00": 0.5}),
        (2, {"loss": 6.0}),  # by a run that was resumed
    )
    found = read_run(path, ["loss"], prefix="kl/")
    assert found == {
        "loss": Series((2, 4), (6.0, 3.0)),
        "kl/group_00": Series((4,), (0.5,)),
    }
    assert read_run(path / "progress.jsonl", ["loss"])["loss"] == found["loss"]


@pytest.mark.parametrize("name", ["nowhere", "run"])
def test_run_without_the_metric_is_refused(tmp_path: Path, name: str) -> None:
    report(tmp_path / "run", (1, {"negative_elbo": 1.0}))
    with pytest.raises(ValueError, match=r"is not there|has no metric 'loss'"):
        read_run(tmp_path / name, ["loss"])


def test_summary_leaves_out_what_is_not_finite() -> None:
    series = Series((1, 2, 3, 4, 5), (2.0, math.inf, 7.0, 2.0, math.nan))
    found = summarize(series)
    assert (found.num_points, found.num_not_finite) == (5, 2)
    assert (found.lowest, found.lowest_step) == (2.0, 1)
    assert (found.highest, found.highest_step) == (7.0, 3)
    assert (found.last, found.last_step) == (2.0, 5)
    assert summarize(Series((1,), (math.nan,))).lowest is None
