"""Nearest images: what is compared, and that the search is exact whatever the blocks."""

import numpy as np
import pytest

from nvae_core.analysis import nearest
from nvae_core.analysis.nearest import NearestSearch, blocks_of, compared_region, features_of


def random_images(count: int, size: int = 12, colors: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, colors), np.uint8)


def search(queries: np.ndarray, images: np.ndarray, count: int) -> nearest.Neighbours:
    found = NearestSearch(features_of(queries), count)
    for first, block in blocks_of(images):
        found.add(features_of(block), first)
    return found.result()


@pytest.mark.parametrize(
    ("size", "start", "stop"),
    [(256, 64, 192), (64, 16, 48), (32, 0, 32), (28, 0, 28), (30, 1, 29), (66, 17, 49)],
)
def test_large_images_are_compared_at_their_centre(size: int, start: int, stop: int) -> None:
    assert compared_region(size) == slice(start, stop)


def test_what_is_compared_are_sums_of_four_by_four_pixels() -> None:
    image = np.zeros((1, 8, 8, 3), np.uint8)
    image[0, :4, 4:, 2] = 255
    expected = np.zeros((2, 2, 3))
    expected[0, 1, 2] = 16 * 255
    assert np.array_equal(features_of(image)[0], expected.ravel())


@pytest.mark.parametrize("colors", [1, 3])
@pytest.mark.parametrize("block_images", [1, 7, 1000])
def test_neighbours_are_those_of_the_whole_table_of_distances(
    colors: int, block_images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, images = random_images(5, colors=colors, seed=1), random_images(40, colors=colors)
    monkeypatch.setattr(nearest, "BLOCK_BYTES", block_images * images[0].nbytes)
    means = [
        batch.reshape(-1, 3, 4, 3, 4, colors).mean(axis=(2, 4)).reshape(len(batch), -1) / 255
        for batch in (queries, images)
    ]
    table = np.sqrt(np.square(means[0][:, None] - means[1]).sum(axis=2))
    found = search(queries, images, 4)
    assert np.array_equal(found.indices, table.argsort(axis=1)[:, :4])
    assert np.allclose(found.distances, np.sort(table, axis=1)[:, :4])


def test_image_of_the_set_has_distance_zero_and_of_equal_ones_the_first_counts() -> None:
    images = random_images(20)
    images[[3, 11, 15]] = images[7]
    found = search(images[7:8], images, 5)
    assert found.indices[0, :4].tolist() == [3, 7, 11, 15]
    assert (found.distances[0, :4] == 0).all()
    assert found.distances[0, 4] > 0
    assert search(images[7:8], images, 1).indices.tolist() == [[3]]


def test_fewer_images_than_neighbours_give_all_of_them() -> None:
    assert search(random_images(2), random_images(3), 5).indices.shape == (2, 3)
