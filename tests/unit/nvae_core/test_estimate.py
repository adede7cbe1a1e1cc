"""What is estimated is what a model, its autograd graph and a training state really hold."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from nvae_core.architecture import CELL_TABLES
from nvae_core.config import ModelConfig, OptimizationConfig
from nvae_core.estimate import ALLOWANCE_BYTES, Estimate, estimate
from nvae_core.losses import balance_kl, compute_objective
from nvae_core.model.convolutions import MaskedConv2d, WeightNormConv2d, hold_weights
from nvae_core.model.nvae import NVAE, build_model, count_parameters
from nvae_core.presets import PRESETS
from nvae_core.training.schedules import Schedule
from nvae_core.training.state import TrainingState, start_training
from nvae_core.training.step import take_step

SMALL = ModelConfig(
    image_size=12,
    num_groups_per_scale=(1, 2),
    num_latents_per_group=3,
    num_encoder_channels=4,
    num_decoder_channels=4,
    num_preprocess_cells=1,
    num_postprocess_cells=1,
    num_encoder_cells_per_group=1,
    num_decoder_cells_per_group=1,
)
COLORS = {"num_colors": 3, "image_distribution": "logistic_mixture", "num_mixtures": 2}


def change(**changes: object) -> ModelConfig:
    return ModelConfig.model_validate(SMALL.model_dump() | changes)


CONFIGS = {
    "bernoulli": SMALL,
    "padding": change(image_padding=2),
    "three colours": change(**COLORS),
    "three colours, published bins, padding": change(
        **COLORS, logistic_bins="published", image_padding=2
    ),
    "one colour, exact bins": change(image_distribution="logistic_mixture", image_padding=2),
    "one colour, published bins": change(
        image_distribution="logistic_mixture", logistic_bins="published"
    ),
    "flows": change(num_flow_transforms=4),
    "no squeeze-excitation": change(squeeze_excitation=False),
    "absolute posteriors": change(residual_posterior=False),
    "unequal towers": change(
        num_encoder_channels=3,
        num_decoder_channels=6,
        num_encoder_cells_per_group=2,
        num_decoder_cells_per_group=3,
        num_preprocess_cells=3,
        num_postprocess_cells=2,
    ),
    "three scales": change(image_size=16, num_groups_per_scale=(2, 1, 2), num_preprocess_blocks=2),
    "no preprocess blocks": change(num_preprocess_blocks=0),
    "one group": change(num_groups_per_scale=(1,)),
    "one group, flows, no preprocess blocks": change(
        num_groups_per_scale=(1,), num_flow_transforms=2, num_preprocess_blocks=0, **COLORS
    ),
    "wide": change(
        **COLORS | {"num_mixtures": 10},
        image_size=16,
        num_encoder_channels=32,
        num_decoder_channels=48,
        num_latents_per_group=20,
    ),
} | {
    architecture: change(
        cell_architecture=architecture, num_encoder_channels=8, num_decoder_channels=8
    )
    for architecture in CELL_TABLES
}
IN_BF16 = ("unequal towers", "wide", "one group, flows, no preprocess blocks", "mbconv_sep")
each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
each_preset = pytest.mark.parametrize("name", PRESETS)


@pytest.fixture(autouse=True)
def _one_thread():
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@dataclass(frozen=True)
class Measured:
    """Of a batch, or by difference of one image; memory in the precision asked for."""

    kept_bytes: int
    flops: int
    training_flops: int


@cache
def measure_per_image(config: ModelConfig, dtype: torch.dtype = torch.float32) -> Measured:
    model = build_model(config, seed=0)
    more, fewer = measure(model, 3, dtype), measure(model, 2, dtype)
    return Measured(
        more.kept_bytes - fewer.kept_bytes,
        more.flops - fewer.flops,
        more.training_flops - fewer.training_flops,
    )


def measure(model: NVAE, batch_size: int, dtype: torch.dtype) -> Measured:
    x = random_images(model.config, batch_size)
    noise = [torch.randn(shape) for shape in model.noise_shapes(batch_size)]
    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.convolution_backward: count_backward_flops}
    )
    autocast = torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32)
    with hold_weights(model), counter, autocast:
        given = [x, *noise, *model.parameters(), *model.buffers(), *held_weights(model)]
        kept = KeptTensors(given)
        with torch.autograd.graph.saved_tensors_hooks(kept.add, lambda tensor: tensor):
            reconstruction = model(x, noise)
            flops = counter.get_total_flops()
            objective = compute_objective(
                reconstruction,
                x,
                kl_weight=torch.tensor(0.5),
                balancing=balance_kl("multiply", model.hierarchy.groups),
                weight_penalty=torch.zeros(()),
            )
        objective.loss.backward()
    return Measured(kept.num_bytes(), flops, counter.get_total_flops())


def random_images(config: ModelConfig, batch_size: int) -> Tensor:
    return torch.rand(batch_size, config.num_colors, config.resolution, config.resolution)


class KeptTensors:
    """The storages that autograd keeps, but for those it is given."""

    def __init__(self, given: Sequence[Tensor]) -> None:
        self._given = {tensor.untyped_storage().data_ptr() for tensor in given}
        self._kept: list[Tensor] = []  # alive, so that no address is used twice

    def add(self, tensor: Tensor) -> Tensor:
        self._kept.append(tensor)
        return tensor

    def num_bytes(self) -> int:
        storages = [tensor.untyped_storage() for tensor in self._kept]
        sizes = {storage.data_ptr(): storage.nbytes() for storage in storages}
        return sum(size for address, size in sizes.items() if address not in self._given)


def held_weights(model: NVAE) -> list[Tensor]:
    convolutions = [module for module in model.modules() if isinstance(module, WeightNormConv2d)]
    return [conv.held_weight for conv in convolutions if conv.held_weight is not None]


def count_backward_flops(
    grad_shape, x_shape, w_shape, _b, _s, _p, _d, _t, _o, _groups, output_mask, **_
):
    """The gradients of input and weight cost a forward pass each.

    torch's own formula takes the weight of a grouped convolution for a dense one.
    """
    return conv_flop_count(x_shape, w_shape, grad_shape) * sum(output_mask[:2])


@each_preset
def test_preset_has_the_estimated_number_of_parameters(name):
    config = PRESETS[name].model
    assert estimate(config).num_parameters == count_without_memory(config)


@cache  # some presets differ in their optimization alone
def count_without_memory(config: ModelConfig) -> int:
    with torch.device("meta"):
        return count_parameters(NVAE(config))


@pytest.mark.parametrize(
    ("name", "num_parameters"),
    [
        ("mnist-released", 33363134),
        ("cifar10-released", 130852480),
        ("celeba64-released", 153281364),
        ("imagenet32-released", 268509444),
        ("celeba_hq_256-released", 330798664),
    ],
)
def test_released_model_has_its_known_number_of_parameters(name, num_parameters):
    assert estimate(PRESETS[name].model).num_parameters == num_parameters


@each_config
def test_parameters_are_counted_exactly(config):
    estimated = estimate(config)
    assert estimated.num_parameters == count_parameters(build_model(config, seed=0))
    assert estimated.parameter_bytes == 4 * estimated.num_parameters


@each_config
def test_activations_are_those_that_autograd_keeps(config):
    kept_bytes = measure_per_image(config).kept_bytes
    assert estimate(config).activation_bytes_per_image == pytest.approx(kept_bytes, rel=0.03)


@pytest.mark.parametrize("name", IN_BF16)
def test_activations_in_bf16_are_those_that_autograd_keeps(name):
    kept_bytes = measure_per_image(CONFIGS[name], torch.bfloat16).kept_bytes
    assert estimate(CONFIGS[name]).activation_bytes("bf16") == pytest.approx(kept_bytes, rel=0.03)


@each_config
def test_operations_are_those_that_torch_counts(config):
    estimated, measured = estimate(config), measure_per_image(config)
    assert estimated.flops_per_image == measured.flops
    assert estimated.training_flops_per_image == measured.training_flops


@pytest.fixture(params=["flows", "three scales"])
def config(request) -> ModelConfig:
    return CONFIGS[request.param]


@pytest.fixture
def trained(config: ModelConfig) -> TrainingState:
    """The state after one step, with its gradients."""
    state = start_training(
        config,
        OptimizationConfig(epochs=1, batch_size=2, warmup_epochs=0),
        seed=0,
        device=torch.device("cpu"),
    )
    take_step(
        state,
        random_images(config, batch_size=2),
        [torch.randn(shape) for shape in state.model.noise_shapes(2)],
        schedule=Schedule(learning_rate=0.01, kl_weight=0.5, spectral_weight=0.0),
        balancing=balance_kl("off", state.model.hierarchy.groups),
        penalize_batch_norm=False,
        stop_requested=False,
    )
    return state


def num_bytes(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors if tensor.dim() > 0)


def checkpoint_tensors(state: TrainingState) -> list[Tensor]:
    return [*state.model.state_dict().values(), *state.training_tensors().values()]


def test_checkpoint_is_as_large_as_estimated(config, trained):
    assert estimate(config).checkpoint_bytes == num_bytes(checkpoint_tensors(trained))


def test_state_is_checkpoint_gradients_and_effective_weights(config, trained):
    gradients = list(trained.model.parameters())  # as large as these
    masked = [module for module in trained.model.modules() if isinstance(module, MaskedConv2d)]
    masks = [tensor for module in masked for tensor in (module.mask, module.direction())]
    with hold_weights(trained.model):
        effective = held_weights(trained.model)
    held = [*checkpoint_tensors(trained), *gradients, *masks, *effective]
    assert estimate(config).state_bytes == num_bytes(held)


def test_training_takes_its_state_its_batch_and_an_allowance():
    estimated = Estimate(
        num_parameters=10,
        activation_bytes_per_image=200,
        flops_per_image=1,
        training_flops_per_image=3,
        state_bytes=5000,
        checkpoint_bytes=120,
        num_network_activations_per_image=40,
        num_network_weights=9,
    )
    assert estimated.training_bytes(8) == 5000 + 8 * 200 + ALLOWANCE_BYTES
    in_bf16 = 5000 + 2 * 9 + 8 * (200 - 2 * 40) + ALLOWANCE_BYTES
    assert estimated.training_bytes(8, "bf16") == estimated.training_bytes(8, "fp16") == in_bf16


@pytest.mark.parametrize(("name", "gigabytes"), [("cifar10", 0.31), ("celeba_hq_256", 5.2)])
def test_activations_of_an_image_are_about_half_as_large_in_bf16(name, gigabytes):
    estimated = estimate(PRESETS[name].model)
    assert estimated.activation_bytes("bf16") / 1e9 == pytest.approx(gigabytes, rel=0.05)


@each_preset
def test_estimate_of_a_preset_takes_less_than_50_ms(name):
    assert shortest_seconds(PRESETS[name].model) < 0.05


def test_estimate_of_the_deepest_tower_is_no_slower():
    """Someone may ask for it: what follows from a number of cells must not loop over them."""
    deep = change(
        num_groups_per_scale=(256,),
        num_encoder_cells_per_group=256,
        num_decoder_cells_per_group=256,
    )
    assert shortest_seconds(deep) < 0.2


def shortest_seconds(config: ModelConfig) -> float:
    """CPU time of the fastest of some calls: what others do on this machine is left out."""
    durations = []
    for _ in range(5):
        start = time.process_time()
        estimate(config)
        durations.append(time.process_time() - start)
    return min(durations)
