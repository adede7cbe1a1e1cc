"""The bank's weights and gradients are those of the modules on their own."""

import copy

import pytest
import torch
from torch import Tensor, nn

from nvae_core.config import ModelConfig
from nvae_core.model.batch_norm import BatchNorm
from nvae_core.model.convolutions import Conv2d, MaskedConv2d, WeightNormConv2d
from nvae_core.model.nvae import NVAE, build_model
from nvae_core.model.weight_bank import WeightBank
from nvae_core.seeding import draw_noise

pytestmark = pytest.mark.usefixtures("one_thread")


def convolutions() -> nn.ModuleDict:
    """Several of one shape, of the same shape but another kind, and of shapes of their own."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.ModuleDict(
            {
                "first": WeightNormConv2d(4, 4, 3),
                "plain": Conv2d(4, 4, 3, bias=False),
                "second": WeightNormConv2d(4, 4, 3, bias=False),
                "strict": MaskedConv2d(4, 4, 3, strict=True, mirrored=False),
                "mirrored": MaskedConv2d(4, 4, 3, strict=False, mirrored=True),
                "depthwise": MaskedConv2d(4, 4, 3, strict=False, mirrored=False, groups=4),
                "pointwise": WeightNormConv2d(4, 6, 1),
                "third": WeightNormConv2d(4, 4, 3, dilation=2),
                "norm": BatchNorm(6, "swish"),
            }
        )


def normalized(modules: nn.ModuleDict) -> dict[str, WeightNormConv2d]:
    return {name: m for name, m in modules.items() if isinstance(m, WeightNormConv2d)}


def targets(modules: nn.ModuleDict) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(module.weight.shape, generator=generator)
        for name, module in normalized(modules).items()
    }


def gradients_on_their_own(modules: nn.ModuleDict) -> dict[str, Tensor]:
    """Return what torch derives of the sum of weights times targets, by name."""
    loss = sum(
        (module.normalize_weight() * targets(modules)[name]).sum()
        for name, module in normalized(modules).items()
    )
    assert isinstance(loss, Tensor)
    loss.backward()
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in modules.named_parameters()
    }


def gradients_in_the_bank(modules: nn.ModuleDict, bank: WeightBank) -> dict[str, Tensor]:
    bank.flat.grad = None
    with bank.applied():
        loss = sum(
            (module.effective_weight() * targets(modules)[name]).sum()
            for name, module in normalized(modules).items()
        )
    assert isinstance(loss, Tensor)
    loss.backward()
    assert bank.flat.grad is not None
    return bank.views(bank.flat.grad)


def test_weights_are_those_of_the_modules_on_their_own() -> None:
    modules = convolutions()
    expected = {n: m.normalize_weight().detach() for n, m in normalized(modules).items()}
    with WeightBank(modules).applied():
        for name, module in normalized(modules).items():
            torch.testing.assert_close(module.effective_weight().detach(), expected[name])
    for name, module in normalized(modules).items():
        torch.testing.assert_close(module.effective_weight().detach(), expected[name])


def test_gradients_are_those_of_the_modules_on_their_own() -> None:
    modules = convolutions()
    expected = gradients_on_their_own(copy.deepcopy(modules))
    found = gradients_in_the_bank(modules, WeightBank(modules))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    # What a mask hides has none.
    mask = modules["strict"].mask
    assert found["strict.weight"][mask == 0].abs().max() == 0


def test_terms_on_the_weights_add_to_the_gradients_of_the_pass() -> None:
    modules = convolutions()
    twin = copy.deepcopy(modules)
    bank = WeightBank(modules)
    with bank.applied() as weights:
        term = sum((part.values**3).sum() for part in weights.matrices)
        term = term + sum((scale**2).sum() for scale in weights.norm_scales)
        loss = sum(
            (module.effective_weight() * targets(modules)[name]).sum()
            for name, module in normalized(modules).items()
        )
    (loss + term).backward()
    expected_term = sum(
        (module.effective_weight() ** 3).sum()
        for module in twin.values()
        if isinstance(module, Conv2d)
    )
    (expected_term + (twin["norm"].weight ** 2).sum()).backward()
    gradients_on_their_own(twin)  # adds to what is there
    expected = {n: p.grad for n, p in twin.named_parameters() if p.grad is not None}
    assert bank.flat.grad is not None
    views = bank.views(bank.flat.grad)
    found = {name: views[name] for name in expected}
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_matrices_are_the_weights_by_the_names_of_their_convolutions() -> None:
    modules = convolutions()
    named = {n: m for n, m in modules.items() if isinstance(m, Conv2d)}
    found: list[str] = []
    with WeightBank(modules).applied() as weights:
        for part in weights.matrices:
            for name, matrix in zip(part.convolutions, part.values, strict=True):
                found.append(name)
                weight = named[name].effective_weight().movedim(1, -1)
                assert torch.equal(matrix.detach(), weight.flatten(1).detach())
    assert sorted(found) == sorted(named)


def test_weight_of_zeros_has_a_finite_gradient() -> None:
    modules = convolutions()
    with torch.no_grad():
        modules["first"].weight.zero_()
        modules["second"].weight[1].zero_()
    bank = WeightBank(modules)
    for value in gradients_in_the_bank(modules, bank).values():
        assert value.isfinite().all()


def test_views_by_name_cover_every_parameter_once(model_config: ModelConfig) -> None:
    config = model_config.model_copy(update={"num_flow_transforms": 2})
    model = build_model(config, seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    bank = WeightBank(model)
    assert list(bank.views(bank.flat)) == [name for name, _ in model.named_parameters()]
    assert bank.size == sum(parameter.numel() for parameter in model.parameters())
    seen = torch.zeros(bank.size)
    for name, view in bank.views(seen).items():
        assert view.shape == model.get_parameter(name).shape
        view.add_(1)
    assert torch.equal(seen, torch.ones(bank.size))
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_state_of_a_model_is_loaded_into_the_bank(model_config: ModelConfig) -> None:
    model, other = build_model(model_config, seed=0), build_model(model_config, seed=1)
    bank = WeightBank(model)
    assert model.state_dict().keys() == other.state_dict().keys()
    model.load_state_dict(other.state_dict())
    torch.testing.assert_close(model.state_dict(), other.state_dict(), rtol=0, atol=0)
    for name, view in bank.views(bank.flat.data).items():
        assert torch.equal(view, other.get_parameter(name))
    with torch.no_grad():
        bank.flat.zero_()
    assert all(parameter.count_nonzero() == 0 for parameter in model.parameters())
    other.load_state_dict(model.state_dict())
    assert all(parameter.count_nonzero() == 0 for parameter in other.parameters())


def loss_of(model: NVAE, x: Tensor) -> Tensor:
    noise = draw_noise(model.noise_shapes(len(x)), torch.Generator().manual_seed(0))
    output = model(x, noise)
    return (output.kl_per_channel().sum(dim=(1, 2)) - output.log_prob(x)).mean()


@pytest.mark.parametrize(
    "options",
    [
        {"num_flow_transforms": 2},
        {"cell_architecture": "res_elu", "squeeze_excitation": False},
        {"cell_architecture": "mbconv_den", "num_groups_per_scale": (3,)},
    ],
    ids=repr,
)
def test_gradients_of_a_model_are_those_without_a_bank(
    model_config: ModelConfig, padded_images: Tensor, options: dict[str, object]
) -> None:
    config = ModelConfig.model_validate(
        model_config.model_dump() | {"num_encoder_channels": 8, "num_decoder_channels": 8} | options
    )
    plain, model = build_model(config, seed=0), build_model(config, seed=0)
    expected = loss_of(plain, padded_images)
    expected.backward()
    bank = WeightBank(model)
    with bank.applied():
        loss = loss_of(model, padded_images)
        loss.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    assert bank.flat.grad is not None
    largest = bank.flat.grad.abs().max().item()
    for name, gradient in bank.views(bank.flat.grad).items():
        torch.testing.assert_close(
            gradient,
            plain.get_parameter(name).grad,
            rtol=1e-3,
            atol=1e-6 * largest,
            msg=lambda text, name=name: f"{name}: {text}",
        )
    assert all(parameter.grad is None for parameter in model.parameters())


def test_after_the_block_a_model_has_parameters_of_its_own_again(
    model: NVAE, padded_images: Tensor
) -> None:
    bank = WeightBank(model)
    with pytest.raises(ZeroDivisionError), bank.applied():
        raise ZeroDivisionError
    loss_of(model, padded_images).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert bank.flat.grad is None
    assert all(
        module.held_weight is None
        for module in model.modules()
        if isinstance(module, WeightNormConv2d)
    )


def test_gradients_add_up_over_passes(model: NVAE, padded_images: Tensor) -> None:
    bank = WeightBank(model)
    for _ in range(2):
        with bank.applied():
            loss_of(model, padded_images).backward()
    assert bank.flat.grad is not None
    twice = bank.flat.grad
    bank.flat.grad = None
    with bank.applied():
        loss_of(model, padded_images).backward()
    assert torch.equal(twice, 2 * bank.flat.grad)


def test_pass_of_bf16_gives_gradients_of_single_precision(
    model_config: ModelConfig, padded_images: Tensor
) -> None:
    model = build_model(model_config.model_copy(update={"num_flow_transforms": 2}), seed=0)
    bank = WeightBank(model)
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        bank.flat.grad = None
        with bank.applied(dtype) as weights:
            assert all(part.values.dtype == torch.float32 for part in weights.matrices)
            for module in model.modules():
                if isinstance(module, WeightNormConv2d):
                    expected = torch.float32 if module.in_float32 else dtype
                    assert module.effective_weight().dtype == expected
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                loss = loss_of(model, padded_images)
            loss.backward()
        assert bank.flat.grad is not None
        gradients.append(bank.flat.grad)
    exact, rounded = gradients
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    cosine = torch.nn.functional.cosine_similarity(rounded, exact, dim=0)
    assert cosine > 0.98
