from nvae_core.config import ModelConfig
from nvae_core.model.hierarchy import latent_groups, latent_shape
from nvae_core.presets import find_preset


def test_mnist_column_of_table_6_has_5_groups_of_4x4_and_10_of_8x8() -> None:
    config = find_preset("mnist").model
    shapes = [latent_shape(group, config) for group in latent_groups(config)]
    assert shapes == [(20, 4, 4)] * 5 + [(20, 8, 8)] * 10


def test_channels_double_with_each_halving() -> None:
    config = ModelConfig(image_size=256, num_groups_per_scale=(1, 2, 3), num_preprocess_blocks=2)
    groups = latent_groups(config)
    assert [group.width_multiplier for group in groups] == [16, 8, 8, 4, 4, 4]
    assert [group.resolution for group in groups] == [16, 32, 32, 64, 64, 64]


def test_only_first_groups_of_finer_scales_follow_an_upsampling() -> None:
    config = ModelConfig(image_size=32, num_groups_per_scale=(2, 3))
    assert [group.starts_finer_scale for group in latent_groups(config)] == [
        False,
        False,
        True,
        False,
        False,
    ]
