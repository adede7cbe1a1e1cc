from pathlib import Path
from typing import Any

import pytest
import torch
from published_files import MODEL, published_content, save_published

from nvae_core.importing.arguments import groups_per_scale
from nvae_core.importing.published import read_published
from nvae_core.importing.torch_file import ForeignCheckpoint
from nvae_core.model.nvae import NVAE, build_model
from nvae_core.presets import find_preset


@pytest.fixture
def published_model() -> NVAE:
    return build_model(MODEL, seed=5)


def test_configuration_comes_from_the_arguments(tmp_path: Path, published_model: NVAE) -> None:
    checkpoint = read_published(save_published(tmp_path / "c.pt", published_model))
    assert checkpoint.state.model.config == MODEL
    assert checkpoint.state.step == 3
    assert checkpoint.seed == 7
    optimization = checkpoint.optimization
    assert (optimization.learning_rate, optimization.kl_balancing) == (0.008, "divide")
    assert (optimization.initial_spectral_weight, optimization.spectral_weight) == (1.0, 0.1)


def test_flow_is_negated_with_its_moments_and_all_else_is_the_same(
    tmp_path: Path, published_model: NVAE
) -> None:
    state = read_published(save_published(tmp_path / "c.pt", published_model)).state
    ours, theirs = state.model.state_dict(), published_model.state_dict()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    moments = state.training_tensors()
    for name, parameter in state.model.named_parameters():
        assert moments[f"optimizer/step/{name}"].item() == 3
        assert torch.equal(moments[f"optimizer/exp_avg/{name}"], parameter.detach() / 2)
        assert torch.equal(moments[f"optimizer/exp_inf/{name}"], parameter.detach().abs())


def test_file_can_hold_a_single_group(tmp_path: Path) -> None:
    config = MODEL.model_copy(update={"num_groups_per_scale": (1,)})
    model = build_model(config, seed=0)
    changes = {"num_latent_scales": 1, "num_groups_per_scale": 1}
    content = published_content(model, **changes)
    content["state_dict"]["prior_ftr0"] = torch.zeros(12, 8, 8)
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(ForeignCheckpoint, match="single group"):
        read_published(tmp_path / "c.pt")


def test_older_files_lack_some_arguments(tmp_path: Path, published_model: NVAE) -> None:
    config = MODEL.model_copy(update={"num_groups_per_scale": (2, 2), "num_mixtures": 10})
    content = published_content(build_model(config, seed=0))
    for name in ("ada_groups", "min_groups_per_scale", "num_mixture_dec"):
        delattr(content["args"], name)
    torch.save(content, tmp_path / "c.pt")
    assert read_published(tmp_path / "c.pt").state.model.config == config


def test_optimizer_state_can_be_absent(tmp_path: Path, published_model: NVAE) -> None:
    content = published_content(published_model)
    content["optimizer"] = None
    torch.save(content, tmp_path / "c.pt")
    optimizer = read_published(tmp_path / "c.pt").state.optimizer
    assert optimizer.count == 0
    assert not optimizer.mean.any()
    assert not optimizer.norm.any()


def test_count_of_steps_can_be_a_tensor(tmp_path: Path, published_model: NVAE) -> None:
    content = published_content(published_model)
    for entry in content["optimizer"]["state"].values():
        entry["step"] = torch.tensor(3.0)
    torch.save(content, tmp_path / "c.pt")
    state = read_published(tmp_path / "c.pt").state
    assert state.optimizer.count == 3


def test_counts_of_steps_that_differ_are_refused(tmp_path: Path, published_model: NVAE) -> None:
    content = published_content(published_model)
    content["optimizer"]["state"][1]["step"] = 4
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(ForeignCheckpoint, match=r"parameters have been updated \[3, 4\] times"):
        read_published(tmp_path / "c.pt")


def _without(part: str, name: str) -> Any:
    def change(content: dict[str, Any]) -> None:
        del content[part][name]

    return change


def _with(part: str, name: str, value: object) -> Any:
    def change(content: dict[str, Any]) -> None:
        content[part][name] = value

    return change


def _set_argument(name: str, value: object) -> Any:
    return lambda content: setattr(content["args"], name, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("args"), "args is missing"),
        (lambda content: content.pop("state_dict"), "state_dict is missing"),
        (_without("state_dict", "stem.weight"), "a model of .* parameters, but state_dict has"),
        (
            _without("state_dict", "enc_tower.0._ops.0.bn_act.running_mean"),
            r"lacks enc_tower.0._ops.0.bn_act.running_mean \(1 tensors\)",
        ),
        (_with("state_dict", "odd.running_mean", torch.zeros(1)), "has unknown odd.running_mean"),
        (_with("state_dict", "stem.weight", "no tensor"), "stem.weight is not a tensor"),
        (
            _with("state_dict", "stem.weight", torch.zeros(3, 4, 3, 3)),
            r"stem.weight has the shape \(3, 4, 3, 3\), not \(4, 3, 3, 3\)",
        ),
        (_set_argument("num_channels_enc", 4096), "args describe a model of"),
        (_set_argument("num_channels_enc", 10**12), "args: num_channels_enc"),
        (_set_argument("num_channels_dec", "six"), "args: num_channels_dec"),
        (_set_argument("arch_instance", "res_mbconv9"), "args: arch_instance"),
        (_set_argument("num_mixture_dec", 1), "normally distributed pixels are not supported"),
        (_set_argument("num_x_bits", 12), "bit_depth"),
        (_set_argument("num_preprocess_blocks", 4000), "args: num_preprocess_blocks"),
        (_set_argument("num_latent_scales", 9), "args: num_latent_scales"),
        (_with("optimizer", "state", {}), "entry 0, of prior_ftr0, is missing"),
        (
            lambda content: content["optimizer"]["state"][0].pop("exp_inf"),
            "exp_inf of prior_ftr0 is missing",
        ),
        (lambda content: content.update(global_step="many"), "global_step is not a number"),
        (lambda content: content.update(global_step=True), "global_step is not a number"),
        (lambda content: content.update(global_step=10**30), "global_step is not a number"),
        (
            _with("state_dict", "stem.bias", torch.full((4,), torch.nan)),
            "stem.bias has values that are not finite",
        ),
        (
            _with("state_dict", "stem.bias", torch.zeros(4, dtype=torch.int64)),
            "stem.bias has values that are not finite",
        ),
        (
            _with("state_dict", "enc_tower.0._ops.0.bn_act.running_var", torch.full((8,), -1.0)),
            "running_var has negative values",
        ),
        (
            lambda content: content["optimizer"]["state"][0]["exp_inf"].neg_(),
            "exp_inf of prior_ftr0 has negative values",
        ),
        (_set_argument("kl_const_portion", 0.2), "kl_const_portion is not 0.0001"),
    ],
)
def test_file_that_is_no_published_model_is_refused(
    tmp_path: Path, published_model: NVAE, change: Any, message: str
) -> None:
    content = published_content(published_model)
    change(content)
    path = tmp_path / "c.pt"
    torch.save(content, path)
    with pytest.raises(ForeignCheckpoint, match=message) as raised:
        read_published(path)
    assert str(raised.value).startswith(str(path))


@pytest.mark.parametrize(
    ("preset", "num_scales", "num_groups", "adaptive", "minimum"),
    [
        ("mnist", 2, 10, True, 1),
        ("cifar10", 1, 30, False, 1),
        ("celeba64", 3, 20, True, 1),
        ("celeba_hq_256", 5, 16, True, 4),
    ],
)
def test_published_flags_give_the_lists_of_table_6(
    preset: str, num_scales: int, num_groups: int, adaptive: bool, minimum: int
) -> None:
    ours = groups_per_scale(
        num_scales=num_scales, num_groups=num_groups, adaptive=adaptive, minimum=minimum
    )
    assert ours == find_preset(preset).model.num_groups_per_scale
