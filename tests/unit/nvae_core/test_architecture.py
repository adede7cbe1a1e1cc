from itertools import pairwise

import pytest

from nvae_core.architecture import InvertedResidual, TwoConvolutions, build_hierarchy
from nvae_core.config import ModelConfig
from nvae_core.presets import find_preset


@pytest.mark.parametrize(
    ("preset", "sizes"),
    [
        ("mnist", [4] * 5 + [8] * 10),
        ("cifar10", [16] * 30),
        ("imagenet32", [16] * 28),
        ("celeba64", [8] * 5 + [16] * 10 + [32] * 20),
        ("celeba_hq_256", [8] * 4 + [16] * 4 + [32] * 4 + [64] * 8 + [128] * 16),
        ("ffhq_256", [8] * 4 + [16] * 4 + [32] * 4 + [64] * 8 + [128] * 16),
    ],
)
def test_latent_sizes_are_those_of_table_6(preset: str, sizes: list[int]) -> None:
    groups = build_hierarchy(find_preset(preset).model).groups
    assert [group.resolution for group in groups] == sizes
    assert [group.index for group in groups] == list(range(len(sizes)))


def test_channels_double_with_each_halving_and_are_mirrored_in_the_decoder() -> None:
    config = ModelConfig(
        image_size=256,
        num_groups_per_scale=(1, 2, 3),
        num_preprocess_blocks=2,
        num_encoder_channels=4,
        num_decoder_channels=6,
    )
    groups = build_hierarchy(config).groups
    assert [group.encoder_channels for group in groups] == [64, 32, 32, 16, 16, 16]
    assert [group.decoder_channels for group in groups] == [96, 48, 48, 24, 24, 24]


def test_resolution_changes_between_scales_only() -> None:
    groups = build_hierarchy(ModelConfig(image_size=32, num_groups_per_scale=(2, 3))).groups
    up = [[cell.direction for cell in group.decoder_cells] for group in groups]
    same = ["same", "same"]
    assert up == [[], same, ["up", *same], same, same]
    down = [[cell.direction for cell in group.encoder_cells] for group in groups]
    assert down == [same, ["down", *same], same, same, same]


def test_each_cell_begins_where_the_one_before_it_ends() -> None:
    hierarchy = build_hierarchy(find_preset("celeba_hq_256").model)
    bottom_up = [
        *hierarchy.preprocess,
        *(cell for group in reversed(hierarchy.groups) for cell in group.encoder_cells),
    ]
    top_down = [
        *(cell for group in hierarchy.groups for cell in group.decoder_cells),
        *hierarchy.postprocess,
    ]
    for cells in (bottom_up, top_down):
        for before, after in pairwise(cells):
            assert before.out_channels == after.in_channels
            assert before.out_resolution == after.in_resolution
    assert (top_down[-1].out_channels, top_down[-1].out_resolution) == (30, 256)


def test_papers_cells_expand_by_six_in_the_tower_and_by_three_after_it() -> None:
    hierarchy = build_hierarchy(find_preset("mnist").model)
    assert hierarchy.groups[1].decoder_cells[0].kind == InvertedResidual(expansion=6)
    assert hierarchy.postprocess[0].kind == InvertedResidual(expansion=3)
    assert hierarchy.preprocess[0].kind == TwoConvolutions()


def test_single_group_is_a_vae_without_towers() -> None:
    hierarchy = build_hierarchy(ModelConfig(image_size=32, num_groups_per_scale=(1,)))
    assert not hierarchy.has_towers
    assert hierarchy.top.encoder_cells == hierarchy.top.decoder_cells == ()


@pytest.mark.parametrize(
    ("options", "channels"),
    [
        ({}, 1),
        ({"image_distribution": "logistic_mixture", "num_colors": 3}, 100),
        ({"image_distribution": "logistic_mixture", "num_colors": 3, "num_mixtures": 5}, 50),
        ({"image_distribution": "logistic_mixture", "num_mixtures": 4}, 12),
    ],
)
def test_image_head_gives_all_parameters_of_a_pixel(
    options: dict[str, object], channels: int
) -> None:
    config = ModelConfig.model_validate({"image_size": 32, "num_groups_per_scale": (2,)} | options)
    assert build_hierarchy(config).image_head_channels == channels
