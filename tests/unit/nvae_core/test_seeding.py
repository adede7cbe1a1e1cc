import pytest
import torch

from nvae_core.seeding import Stream, derive_seed, draw_noise, seeded_generator, take_noise

SEEDS = (0, 1, 5, 2**31, 2**32 - 1, 2**32, 2**32 + 5, 2**63 - 1)
SHAPES = [(2, 3, 4, 4), (2, 3, 8, 8)]


def test_streams_and_keys_are_all_different() -> None:
    keys = [
        *((seed,) for seed in SEEDS),
        *((seed, rank) for seed in SEEDS for rank in range(3)),
        *((seed, rank, step) for seed in SEEDS for rank in range(3) for step in range(3)),
    ]
    streams = [stream for stream in Stream if stream != Stream.SPLIT]
    seeds = {derive_seed(stream, *key) for stream in streams for key in keys}
    assert len(seeds) == len(streams) * len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((0,), (0, 0)),
        ((0, 0), (0, 0, 0)),
        ((5, 1), (2**32 + 5, 0)),  # the same words, were they not counted
        ((5, 1, 0), (2**32 + 5, 0)),
        ((2**32 + 5, 0), (5, 1)),
        ((2**32, 7), (0, 7)),
        ((1, 2), (2, 1)),
    ],
)
def test_keys_that_look_alike_are_unrelated(
    first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    generators = [
        seeded_generator(torch.device("cpu"), Stream.LATENTS, *key) for key in (first, second)
    ]
    a, b = (torch.randn(10_000, generator=generator) for generator in generators)
    # Five standard deviations of the correlation of independent numbers.
    assert abs((a * b).mean().item()) < 0.05


def test_streams_of_equal_seeds_are_unrelated() -> None:
    drawn = torch.stack(
        [
            torch.randn(10_000, generator=seeded_generator(torch.device("cpu"), stream, 3))
            for stream in Stream
        ]
    )
    correlations = drawn @ drawn.T / 10_000 - torch.eye(len(drawn))
    assert (correlations - correlations.diag().diag()).abs().max() < 0.05


def test_seed_is_a_function_of_stream_and_key_alone() -> None:
    assert derive_seed(Stream.PIXELS, 3, 1, 2) == derive_seed(Stream.PIXELS, 3, 1, 2)


def test_split_of_a_source_is_what_it_has_always_been() -> None:
    # Prepared data sets are compared by their content: a new split would be another data set.
    assert {seed: derive_seed(Stream.SPLIT, seed) for seed in (0, 1, 3, 2**32 + 5)} == {
        0: 6315739163131927091,
        1: 8998383282213416150,
        3: 4032576983210384345,
        2**32 + 5: 1227781848250902872,
    }


def test_noise_of_a_generator_is_drawn_in_order() -> None:
    drawn = take_noise(torch.Generator().manual_seed(0), SHAPES)
    again = draw_noise(SHAPES, torch.Generator().manual_seed(0))
    assert [tuple(noise.shape) for noise in drawn] == SHAPES
    for ours, theirs in zip(drawn, again, strict=True):
        assert torch.equal(ours, theirs)
    given = take_noise(drawn, SHAPES)
    assert all(ours is theirs for ours, theirs in zip(given, drawn, strict=True))


def test_noise_of_other_shapes_is_refused() -> None:
    drawn = draw_noise(SHAPES, torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"the noise has the shapes \[\(2, 3, 4, 4\)\], not"):
        take_noise(drawn[:1], SHAPES)
