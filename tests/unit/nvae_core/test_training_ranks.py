"""Several ranks train one model: equal bits on each, and the gradient of all their images."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from joined_ranks import together

from nvae_core import distributed
from nvae_core.config import ComputeConfig, ModelConfig, OptimizationConfig
from nvae_core.distributed import Ranks
from nvae_core.losses import balance_kl
from nvae_core.model.batch_norm import BatchNorm, normalize_over
from nvae_core.seeding import draw_noise
from nvae_core.training.metrics import StepMetrics
from nvae_core.training.schedules import Schedule
from nvae_core.training.state import TrainingState, start_training
from nvae_core.training.step import take_step

pytestmark = pytest.mark.usefixtures("one_thread")
SCHEDULE = Schedule(learning_rate=0.01, kl_weight=1.0, spectral_weight=0.01)
NUM_IMAGES = 8  # on all ranks
NUM_STEPS = 3
BUCKETS = (20_000, 4_444, 2**24)  # bytes: many, many that are not full, and one
MODEL = ModelConfig(
    image_size=12,
    image_padding=2,
    num_groups_per_scale=(1, 2),
    num_latents_per_group=3,
    num_encoder_channels=4,
    num_decoder_channels=4,
    num_preprocess_cells=1,
    num_postprocess_cells=1,
    num_encoder_cells_per_group=1,
    num_decoder_cells_per_group=1,
)
COMPUTE: dict[str, dict[str, object]] = {
    "default": {},
    "accumulated": {"gradient_accumulation": 2},
    "per node": {"batch_norm_statistics": "per_node"},
    "local": {"batch_norm_statistics": "local"},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16"},
}


@dataclass
class Trained:
    """State after each step, what the steps measured, and the gradients of the last one."""

    states: list[dict[str, torch.Tensor]] = field(default_factory=list)
    outcomes: list[StepMetrics] = field(default_factory=list)
    gradients: dict[str, torch.Tensor] = field(default_factory=dict)


def start(compute: dict[str, object], *, model: ModelConfig = MODEL) -> TrainingState:
    optimization = OptimizationConfig(epochs=1, batch_size=4, warmup_epochs=0)
    state = start_training(
        model,
        optimization,
        seed=0,
        device=torch.device("cpu"),
        compute=ComputeConfig.model_validate(compute),
    )
    state.model.train()
    return state


def step_once(state: TrainingState, part: slice, *, stop_requested: bool = False) -> StepMetrics:
    generator = torch.Generator().manual_seed(state.step)
    x = (torch.rand(NUM_IMAGES, 1, 16, 16, generator=generator) < 0.3).float()
    noise = draw_noise(state.model.noise_shapes(NUM_IMAGES), generator)
    return take_step(
        state,
        x[part].contiguous(memory_format=torch.channels_last),
        [group[part] for group in noise],
        schedule=SCHEDULE,
        balancing=balance_kl("off", state.model.hierarchy.groups),
        penalize_batch_norm=True,
        stop_requested=stop_requested,
    )


def own_part(ranks: Ranks) -> slice:
    size = NUM_IMAGES // ranks.world_size
    return slice(ranks.rank * size, (ranks.rank + 1) * size)


def train(state: TrainingState, part: slice, *, asks_to_stop: bool = False) -> Trained:
    trained = Trained()
    update = state.optimizer.update

    def note(gradients: torch.Tensor, *args: torch.Tensor) -> None:
        trained.gradients = state.bank.views(gradients.clone())
        update(gradients, *args)

    state.optimizer.update = note  # type: ignore[method-assign]
    for step in range(NUM_STEPS):
        stop_requested = asks_to_stop and step == NUM_STEPS - 1
        trained.outcomes.append(step_once(state, part, stop_requested=stop_requested))
        tensors = state.model.state_dict() | state.training_tensors()
        trained.states.append({name: value.clone() for name, value in tensors.items()})
    return trained


def train_all(ranks: Ranks) -> dict[str, Trained]:
    return {
        name: train(start(compute), own_part(ranks), asks_to_stop=ranks.rank == 1)
        for name, compute in COMPUTE.items()
    }


def overflow_on_one(ranks: Ranks) -> list[StepMetrics]:
    state = start({"precision": "fp16"})
    if ranks.rank == 1:
        state.bank.flat.register_hook(lambda gradient: gradient * torch.inf)
    return [step_once(state, own_part(ranks)) for _ in range(2)]


def normalize_in_nodes(ranks: Ranks) -> dict[str, torch.Tensor]:
    found = {}
    for scope in ("all_ranks", "per_node", "local"):
        layer = BatchNorm(3, "swish")
        normalize_over(layer, scope)
        found[scope] = layer(images()[own_part(ranks)]).detach()
    return found


def images() -> torch.Tensor:
    return torch.randn(NUM_IMAGES, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 + 5


def train_by_buckets(ranks: Ranks) -> dict[int, Trained]:
    """Return what is trained with gradients summed so many bytes at a time."""
    trained = {}
    for num_bytes in BUCKETS:
        distributed.BUCKET_BYTES = num_bytes
        trained[num_bytes] = train(start({}), own_part(ranks))
    return trained


def take_own_statistics(ranks: Ranks) -> dict[str, torch.Tensor]:
    """Return running statistics around a step, and those of this rank's batch in it."""
    state = start({"batch_norm_statistics": "local"})
    running, batches = state.running_statistics, []
    before, take_batch = running.values.clone(), running.take_batch

    def note() -> torch.Tensor:
        batches.append(take_batch())
        return batches[-1].clone()

    running.take_batch = note  # type: ignore[method-assign]
    step_once(state, own_part(ranks))
    return {"before": before, "batch": batches[0], "after": running.values}


def work(ranks: Ranks) -> dict[str, Any]:
    distributed.BUCKET_BYTES = BUCKETS[0]
    return {
        "trained": train_all(ranks),
        "by buckets": train_by_buckets(ranks),
        "own statistics": take_own_statistics(ranks),
        "overflow": overflow_on_one(ranks),
        "normalized": normalize_in_nodes(ranks),
    }


@pytest.fixture(scope="module", params=[2, 4])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What each of two ranks found, or of four on two nodes."""
    folder: Path = tmp_path_factory.mktemp("ranks")
    return together(work, folder, world_size=request.param, num_nodes=2)


@pytest.mark.processes
@pytest.mark.parametrize("name", list(COMPUTE))
def test_state_is_equal_on_all_ranks_after_every_step(results: list[Any], name: str) -> None:
    first, *others = [result["trained"][name] for result in results]
    for other in others:
        assert_same_bits(first, other)
    assert first.outcomes[-1].was_taken


@pytest.mark.processes
@pytest.mark.parametrize("num_bytes", BUCKETS)
def test_gradients_have_equal_bits_on_all_ranks_whatever_the_size_of_the_buckets(
    results: list[Any], num_bytes: int
) -> None:
    first, *others = [result["by buckets"][num_bytes] for result in results]
    num_values = sum(gradient.numel() for gradient in first.gradients.values())
    num_buckets = math.ceil(4 * num_values / num_bytes)
    assert num_buckets == 1 if num_bytes == BUCKETS[-1] else num_buckets > 3
    for other in others:
        assert_same_bits(first, other)
        for name, gradient in first.gradients.items():
            assert torch.equal(gradient, other.gradients[name]), name


def assert_same_bits(first: Trained, other: Trained) -> None:
    for ours, theirs in zip(first.states, other.states, strict=True):
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []
    for ours, theirs in zip(first.outcomes, other.outcomes, strict=True):
        assert ours.values == theirs.values


@pytest.mark.processes
@pytest.mark.parametrize("num_bytes", BUCKETS)
def test_gradient_is_that_of_all_images_on_one_rank(results: list[Any], num_bytes: int) -> None:
    alone = train(start({}), slice(None))
    trained = results[0]["by buckets"][num_bytes]
    norm = alone.outcomes[-1].values["gradient_norm"]
    for name, gradient in trained.gradients.items():
        torch.testing.assert_close(
            gradient, alone.gradients[name], rtol=1e-3, atol=1e-4 * norm, msg=name
        )
    for ours, theirs in zip(trained.outcomes, alone.outcomes, strict=True):
        assert ours.values == pytest.approx(theirs.values, rel=1e-3)


@pytest.mark.processes
@pytest.mark.parametrize("name", list(COMPUTE))
def test_request_of_one_rank_stops_all_at_the_same_step(results: list[Any], name: str) -> None:
    for result in results:
        agreed = [outcome.stop_agreed for outcome in result["trained"][name].outcomes]
        assert agreed == [False] * (NUM_STEPS - 1) + [True]


@pytest.mark.processes
def test_local_statistics_are_averaged(results: list[Any]) -> None:
    parts = [result["own statistics"] for result in results]
    before, after = parts[0]["before"], parts[0]["after"]
    mean = torch.stack([part["batch"] for part in parts]).mean(dim=0)
    assert not torch.equal(parts[0]["batch"], parts[1]["batch"])
    torch.testing.assert_close(after, before + 0.05 * (mean - before), rtol=1e-4, atol=1e-6)


@pytest.mark.processes
def test_overflow_on_one_rank_lowers_the_scale_of_all(results: list[Any]) -> None:
    for result in results:
        first, second = result["overflow"]
        assert (first.was_taken, first.scale_was_lowered) == (False, True)
        assert second.values["gradient_scale"] == first.values["gradient_scale"] / 2


@pytest.mark.processes
@pytest.mark.parametrize(
    ("scope", "num_parts"), [("all_ranks", 1), ("per_node", 2), ("local", None)]
)
def test_batch_norm_sees_the_images_of_its_scope(
    results: list[Any], scope: str, num_parts: int | None
) -> None:
    found = torch.cat([result["normalized"][scope] for result in results])
    parts = images().chunk(num_parts or len(results))
    expected = torch.cat([BatchNorm(3, "swish")(part) for part in parts])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_micro_batches_add_up_to_the_gradient_of_the_batch() -> None:
    # With batch norm the parts of a batch are not independent of each other.
    model = MODEL.model_copy(update={"cell_architecture": "res_elu"})
    outcomes = {
        parts: step_once(start({"gradient_accumulation": parts}, model=model), slice(None))
        for parts in (1, 4)
    }
    for name in ("loss", "kl", "spectral_norm_sum", "gradient_norm"):
        assert outcomes[4].values[name] == pytest.approx(outcomes[1].values[name], rel=1e-4)
