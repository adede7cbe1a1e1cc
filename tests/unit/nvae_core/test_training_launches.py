"""What a GPU would be asked to do in a step: how many launches, no waits, in which layout.

Counted on a CPU: a launch is an operation that is no view, by narrow models of the same modules.
"""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nvae_core.config import ComputeConfig, ModelConfig
from nvae_core.losses import balance_kl, compute_objective
from nvae_core.model.nvae import NVAE
from nvae_core.presets import PRESETS
from nvae_core.seeding import draw_noise
from nvae_core.training.adamax import Adamax
from nvae_core.training.metrics import StepMetrics
from nvae_core.training.schedules import Schedule
from nvae_core.training.state import TrainingState, start_training
from nvae_core.training.step import compute_step, step_inputs

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
SCHEDULE = Schedule(learning_rate=1e-3, kl_weight=0.5, spectral_weight=0.01)
# They return a view or memory that nothing is written to yet.
NO_LAUNCH = {
    *("view", "_unsafe_view", "reshape", "permute", "transpose", "t", "expand", "slice", "select"),
    *("unbind", "split", "split_with_sizes", "chunk", "detach", "alias", "as_strided", "movedim"),
    *("unsqueeze", "squeeze", "unflatten", "flatten", "empty", "empty_like", "new_empty", "set_"),
    *("empty_strided", "new_empty_strided", "lift_fresh", "resize_"),
}
WAITS = {"_local_scalar_dense", "item", "nonzero", "masked_select", "is_nonzero", "equal"}
TENSORS_OF_A_LAUNCH = 64  # about, of operations on lists of tensors


class Operations(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, _types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = function.overloadpacket.__name__
        tensors = args[0] if args and isinstance(args[0], list | tuple) else ()
        self.counts[name] += 1 + len(tensors) // TENSORS_OF_A_LAUNCH
        return function(*args, **(kwargs or {}))

    def num_launches(self) -> int:
        return sum(count for name, count in self.counts.items() if name not in NO_LAUNCH)

    def waits(self) -> dict[str, int]:
        return {name: count for name, count in self.counts.items() if name in WAITS}


class Layouts(TorchDispatchMode):
    """Names the convolutions that have a tensor whose channels do not lie side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.num_convolutions = 0
        self.others: list[str] = []

    def __torch_dispatch__(
        self, function: Any, _types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = function.overloadpacket.__name__
        if name in {"convolution", "convolution_backward"}:
            self.num_convolutions += 1
            num_tensors = 2 if name == "convolution" else 3
            for position, tensor in enumerate(args[:num_tensors]):
                if not tensor.is_contiguous(memory_format=torch.channels_last):
                    self.others.append(f"{name} {position}: {tuple(tensor.shape)}")
        return function(*args, **(kwargs or {}))


def narrow(name: str) -> ModelConfig:
    """The model of a preset with few channels, on small images: with as many modules."""
    model = PRESETS[name].model
    size = 64 if model.image_size == 256 else model.image_size
    changes = {"num_encoder_channels": 16, "num_decoder_channels": 16, "image_size": size}
    return model.model_copy(update=changes)


def start(config: ModelConfig, **compute: Any) -> TrainingState:
    state = start_training(
        config,
        PRESETS["cifar10-released"].optimization,
        seed=0,
        device=CPU,
        compute=ComputeConfig(precision="bf16", **compute),
    )
    state.model.train()
    return state


def images_and_noise(state: TrainingState, seed: int = 0) -> tuple[Tensor, tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(seed)
    config = state.model.config
    shape = (2, config.num_colors, config.resolution, config.resolution)
    x = torch.rand(shape, generator=generator).contiguous(memory_format=torch.channels_last)
    return x, draw_noise(state.model.noise_shapes(2), generator)


def step_once(state: TrainingState, seed: int = 0) -> StepMetrics:
    x, noise = images_and_noise(state, seed)
    return compute_step(
        state,
        x,
        noise,
        step_inputs(SCHEDULE, stop=False, device=CPU),
        balancing=balance_kl("divide", state.model.hierarchy.groups),
        is_regularized=True,
        penalize_batch_norm=True,
        max_gradient_norm=1e9,
    )


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The optimizer updates by flags, as it does where nothing may wait for the device."""
    monkeypatch.setattr("nvae_core.training.adamax.waits_for_nothing", lambda _device: True)


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.budget(60)
@pytest.mark.parametrize(
    ("preset", "budget"),
    [("cifar10-released", 9_300), ("celeba_hq_256-released", 15_400), ("mnist-released", 6_300)],
)
def test_launches_of_a_step_are_within_budget(preset: str, budget: int) -> None:
    state = start(narrow(preset))
    step_once(state)  # the first iterates longer
    with Operations() as operations:
        step_once(state)
    assert operations.num_launches() <= budget


@pytest.mark.usefixtures("as_on_a_gpu")
def test_nothing_in_a_step_waits_for_the_device_and_reading_it_waits_once() -> None:
    state = start(narrow("mnist-released"))
    step_once(state)
    with Operations() as operations:
        metrics = step_once(state)
    assert operations.waits() == {}
    reads = []
    to_list = Tensor.tolist

    def count(tensor: Tensor) -> Any:
        reads.append(tensor)
        return to_list(tensor)

    with pytest.MonkeyPatch.context() as patch, Operations() as operations:
        patch.setattr(Tensor, "tolist", count)
        assert metrics.was_taken
        assert metrics.values["loss"] > 0
        assert not metrics.stop_agreed
    assert len(reads) == 1


def test_every_convolution_has_its_channels_side_by_side() -> None:
    state = start(narrow("cifar10-released").model_copy(update={"num_groups_per_scale": (2, 2)}))
    with Layouts() as layouts:
        step_once(state)
    assert layouts.num_convolutions > 100
    assert layouts.others == []


def test_model_and_objective_stay_on_their_device() -> None:
    config = narrow("celeba64-released")
    with torch.device("meta"):
        model = NVAE(config)
    x = torch.empty(2, 3, 64, 64, device="meta")
    noise = [torch.empty(shape, device="meta") for shape in model.noise_shapes(2)]
    objective = compute_objective(
        model(x, noise),
        x,
        kl_weight=torch.empty((), device="meta"),
        balancing=balance_kl("divide", model.hierarchy.groups, torch.device("meta")),
        weight_penalty=torch.empty((), device="meta"),
    )
    assert objective.loss.device.type == "meta"
    objective.loss.backward()
    assert {p.grad.device.type for p in model.parameters() if p.grad is not None} == {"meta"}


def test_flagged_update_is_the_other_and_nothing_where_the_flag_is_0(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(0)
    start_values = torch.randn(1000, generator=generator)
    gradients = [torch.randn(1000, generator=generator) for _ in range(3)]
    results = []
    for is_flagged in (False, True):
        monkeypatch.setattr(
            "nvae_core.training.adamax.waits_for_nothing", lambda _device, flag=is_flagged: flag
        )
        optimizer = Adamax(start_values.clone(), weight_decay=3e-4)
        for gradient in gradients:
            optimizer.update(gradient.clone(), torch.tensor(0.01), torch.tensor(1.0))
        before = [optimizer.parameters.clone(), optimizer.mean.clone(), optimizer.norm.clone()]
        nothing = torch.full((1000,), torch.nan)
        optimizer.update(nothing, torch.tensor(0.01), torch.tensor(0.0))
        after = [optimizer.parameters, optimizer.mean, optimizer.norm]
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(after, before, strict=True))
        assert optimizer.count == 3
        results.append(after)
    torch.testing.assert_close(results[0], results[1], rtol=1e-6, atol=1e-7)
