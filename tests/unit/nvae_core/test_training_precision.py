"""What is float32 in every precision, and how fp16 finds its scale."""

import math
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nvae_core.config import ComputeConfig, ModelConfig, OptimizationConfig
from nvae_core.losses import balance_kl
from nvae_core.model.batch_norm import batch_norms_of
from nvae_core.seeding import draw_noise
from nvae_core.training.metrics import MAX_SKIPPED_STEPS, NonFiniteLoss, StepMetrics
from nvae_core.training.schedules import Schedule
from nvae_core.training.state import INITIAL_SCALE, TrainingState, start_training
from nvae_core.training.step import take_step

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
SCHEDULE = Schedule(learning_rate=0.01, kl_weight=0.5, spectral_weight=0.01)
HALVES = {torch.bfloat16, torch.float16}
# What may be computed in half precision: the network, but for its heads and statistics.
NETWORK = {
    "convolution",
    "convolution_backward",
    "native_batch_norm",
    "native_batch_norm_backward",
    "_native_batch_norm_legit",
    "silu",
    "silu_backward",
    "elu",
    "elu_backward",
    "upsample_nearest2d",
    "upsample_nearest2d_backward",
    "bmm",  # bilinear upsampling
    "add",
    "add_",
    "addcmul",
    "mul",
    "cat",
}
# Sums are of gradients that were broadcast, and are accumulated in float32.
GATE = {
    "sum",
    "mean",
    "addmm",
    "mm",
    "relu",
    "threshold_backward",
    "sigmoid",
    "sigmoid_backward",
    "div",
}
MOVES = {
    *("_to_copy", "clone", "expand", "slice", "slice_backward", "view", "t", "detach", "unsqueeze"),
    *("squeeze", "select", "empty_like", "copy_", "split", "split_with_sizes", "transpose"),
    *("_unsafe_view", "empty_strided", "new_empty_strided", "as_strided", "permute", "alias"),
    *("stack", "unbind"),
}


def start(
    model_config: ModelConfig, precision: str, optimization: OptimizationConfig | None = None
) -> TrainingState:
    compute = ComputeConfig.model_validate({"precision": precision})
    optimization = optimization or OptimizationConfig(epochs=1, batch_size=4, warmup_epochs=0)
    state = start_training(model_config, optimization, seed=0, device=CPU, compute=compute)
    state.model.train()
    return state


def step_once(state: TrainingState, x: torch.Tensor) -> StepMetrics:
    return take_step(
        state,
        x,
        draw_noise(state.model.noise_shapes(len(x)), torch.Generator().manual_seed(state.step)),
        schedule=SCHEDULE,
        balancing=balance_kl("multiply", state.model.hierarchy.groups),
        penalize_batch_norm=True,
        stop_requested=False,
    )


class HalfPrecisionOperations(TorchDispatchMode):
    """Notes the operations that take or return a tensor of half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = torch.utils._pytree.tree_leaves((args, kwargs, result))
        if any(isinstance(leaf, torch.Tensor) and leaf.dtype in HALVES for leaf in tensors):
            self.names.add(func.overloadpacket.__name__)
        return result


def colours(model_config: ModelConfig) -> ModelConfig:
    """With everything that has to be float32: mixtures and flows."""
    return model_config.model_copy(
        update={
            "num_colors": 3,
            "image_distribution": "logistic_mixture",
            "num_mixtures": 2,
            "num_flow_transforms": 2,
        }
    )


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_only_the_network_is_computed_in_half_precision(
    model_config: ModelConfig, padded_images: torch.Tensor, precision: str
) -> None:
    state = start(colours(model_config), precision)
    with HalfPrecisionOperations() as operations:
        step_once(state, padded_images.expand(-1, 3, -1, -1).clone())
    assert "convolution" in operations.names
    assert operations.names <= NETWORK | GATE | MOVES


def test_distributions_statistics_and_state_are_float32_under_autocast(
    model_config: ModelConfig, padded_images: torch.Tensor
) -> None:
    state = start(colours(model_config), "bf16")
    x = padded_images.expand(-1, 3, -1, -1).clone()
    noise = draw_noise(state.model.noise_shapes(len(x)), torch.Generator().manual_seed(0))
    with state.bank.applied(torch.bfloat16), torch.autocast("cpu", dtype=torch.bfloat16):
        reconstruction = state.model(x, noise)
    batches = [norm.batch_statistics for norm in batch_norms_of(state.model)]
    seen = [part for batch in batches if batch for part in (batch.mean, batch.inverse_std)]
    assert len(seen) == 2 * len(batches) > 0
    for group in reconstruction.groups:
        for normal in (group.prior, group.posterior):
            assert (normal.mean.dtype, normal.sigma.dtype) == (torch.float32, torch.float32)
        assert (group.sample.dtype, group.z.dtype) == (torch.float32, torch.float32)
    assert reconstruction.log_prob(x).dtype == torch.float32
    assert reconstruction.kl_per_channel().dtype == torch.float32
    # Not only by type: a number of bf16 has zeros where float32 goes on.
    heads = [group.posterior.mean for group in reconstruction.groups]
    for values in [reconstruction.image.logits, *heads, *seen]:
        assert values.dtype == torch.float32
        if values.count_nonzero() > 0:
            assert not torch.equal(values, values.bfloat16().float())
    gradients: list[torch.Tensor] = []
    state.bank.flat.register_hook(gradients.append)
    step_once(state, x)
    assert [gradient.dtype for gradient in gradients] == [torch.float32]
    for name, value in (state.model.state_dict() | state.training_tensors()).items():
        assert value.dtype not in HALVES, name


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_what_single_precision_does(
    model_config: ModelConfig, padded_images: torch.Tensor, precision: str
) -> None:
    exact, rounded = start(model_config, "float32"), start(model_config, precision)
    for _ in range(12):
        expected, found = step_once(exact, padded_images), step_once(rounded, padded_images)
        assert found.was_taken
        assert found.values["negative_elbo"] == pytest.approx(
            expected.values["negative_elbo"], rel=0.02
        )
        assert found.values["gradient_norm"] == pytest.approx(
            expected.values["gradient_norm"], rel=0.1
        )


def overflow(state: TrainingState, largest: float) -> None:
    """Let a gradient be infinite if it is larger than that, as if half precision ended there."""

    def limit(gradients: torch.Tensor) -> torch.Tensor:
        limited = gradients.clone()
        part = state.bank.views(limited)["decoder.top_state"]
        part.masked_fill_(part.abs() > largest, math.inf)
        return limited

    state.bank.flat.register_hook(limit)


def test_overflow_lowers_the_scale_until_the_step_is_taken(
    model_config: ModelConfig, padded_images: torch.Tensor
) -> None:
    state = start(model_config, "fp16")
    scaled: list[torch.Tensor] = []
    hook = state.bank.flat.register_hook(scaled.append)
    step_once(state, padded_images)
    hook.remove()
    largest = state.bank.views(scaled[0])["decoder.top_state"].abs().max().item()
    overflow(state, largest / 64)
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    outcomes = [step_once(state, padded_images)]
    torch.testing.assert_close(state.model.state_dict(), before, rtol=0, atol=0)
    while not outcomes[-1].was_taken and len(outcomes) < 10:
        outcomes.append(step_once(state, padded_images))
    assert [outcome.scale_was_lowered for outcome in outcomes[:-1]] == [True] * (len(outcomes) - 1)
    assert 3 <= len(outcomes) <= 9  # the gradient is smaller than it was
    assert outcomes[-1].values["gradient_scale"] == INITIAL_SCALE / 2 ** (len(outcomes) - 1)


def test_overflow_counts_once_the_scale_cannot_be_lowered(
    model_config: ModelConfig, padded_images: torch.Tensor
) -> None:
    state = start(model_config, "fp16")
    overflow(state, 0.0)
    num_trials = 2
    state.scale.load_tensors({"scale": torch.tensor(4.0), "growth": torch.tensor(0)})
    for _ in range(num_trials):
        state.metrics.add(step_once(state, padded_images))
    assert state.metrics.num_skipped_in_a_row == 0
    with pytest.raises(NonFiniteLoss):
        for _ in range(MAX_SKIPPED_STEPS):
            state.metrics.add(step_once(state, padded_images))
    assert state.step == num_trials + MAX_SKIPPED_STEPS


def test_scale_belongs_to_the_training_state(
    model_config: ModelConfig, padded_images: torch.Tensor
) -> None:
    state = start(model_config, "fp16")
    overflow(state, 0.0)
    step_once(state, padded_images)
    resumed = start(model_config, "fp16")
    resumed.load_training_tensors(state.training_tensors())
    assert resumed.scale.value.item() == INITIAL_SCALE / 2
    step_once(resumed, padded_images)
    again = start(model_config, "fp16")
    again.load_training_tensors(resumed.training_tensors())
    assert again.scale.tensors()["growth"].item() == 1
    # Another precision has no scale, and a new one begins where all do.
    plain = start(model_config, "bf16")
    plain.load_training_tensors(state.training_tensors())
    assert plain.scale.tensors() == {}
    assert "gradient_scale" not in step_once(plain, padded_images).values
    fresh = start(model_config, "fp16")
    fresh.load_training_tensors(plain.training_tensors())
    assert fresh.scale.value.item() == INITIAL_SCALE
