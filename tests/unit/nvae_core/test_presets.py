import pytest

from nvae_core.presets import PRESETS, UnknownPreset, apply_overrides, find_preset

PAPER = ("mnist", "cifar10", "imagenet32", "celeba64", "celeba_hq_256", "ffhq_256")


@pytest.mark.parametrize(
    ("name", "epochs", "batch_size", "num_ranks", "spectral_weight", "initial"),
    [
        ("mnist", 400, 200, 2, 0.01, None),
        ("cifar10", 400, 32, 8, 0.1, None),
        ("imagenet32", 45, 24, 24, 0.01, None),
        ("celeba64", 90, 16, 8, 0.1, None),
        ("celeba_hq_256", 300, 4, 24, 0.01, 10),
        ("ffhq_256", 200, 4, 24, 0.1, 10),
        ("cifar10-released", 400, 32, 8, 0.01, None),
        ("imagenet32-released", 45, 24, 24, 0.01, 1),
        ("celeba_hq_256-released", 300, 4, 24, 0.01, 1),
        ("ffhq_256-released", 200, 4, 24, 0.1, 1),
        ("celeba_hq_256-small", 300, 6, 8, 0.01, 10),
    ],
)
def test_presets_train_as_table_6_says(
    name: str,
    epochs: int,
    batch_size: int,
    num_ranks: int,
    spectral_weight: float,
    initial: float | None,
) -> None:
    preset = find_preset(name)
    optimization = preset.optimization
    assert (optimization.epochs, optimization.batch_size, preset.num_ranks) == (
        epochs,
        batch_size,
        num_ranks,
    )
    assert optimization.spectral_weight == spectral_weight
    assert optimization.initial_spectral_weight == initial


def test_every_column_has_a_released_variant_that_computes_as_published() -> None:
    for name in PAPER:
        paper, released = find_preset(name), find_preset(f"{name}-released")
        assert paper.optimization.kl_balancing == "multiply"
        assert released.optimization.kl_balancing == "divide"
        assert paper.model.logistic_bins == "exact"
        assert (released.model.logistic_bins == "published") == (name != "mnist")


def test_faces_have_five_bits_and_four_flow_transforms() -> None:
    for name in ("celeba_hq_256", "ffhq_256"):
        model = find_preset(name).model
        assert (model.bit_depth, model.num_flow_transforms) == (5, 4)


def test_unknown_preset_is_refused_with_the_list_of_those_there_are() -> None:
    with pytest.raises(UnknownPreset, match="unknown preset 'cifar'; there are mnist, cifar10"):
        find_preset("cifar")


def test_overrides_replace_fields_by_dotted_name() -> None:
    changed = apply_overrides(PRESETS["mnist"], {"optimization.epochs": 7, "model.image_size": 60})
    assert changed.optimization.epochs == 7
    assert changed.model.image_size == 60
    assert changed.name == "mnist"
