"""Activation checkpointing: the same bits, less memory, no collective twice."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from joined_ranks import together

from nvae_core.config import ComputeConfig, ModelConfig, OptimizationConfig
from nvae_core.distributed import Ranks
from nvae_core.model.activation_checkpointing import CheckpointedSequential
from nvae_core.seeding import draw_noise
from nvae_core.training.state import TrainingState, start_training

pytestmark = pytest.mark.usefixtures("one_thread")
COLOURS = ModelConfig(
    image_size=16,
    num_colors=3,
    image_distribution="logistic_mixture",
    num_mixtures=2,
    num_groups_per_scale=(1, 2),
    num_latents_per_group=3,
    num_flow_transforms=2,
    num_encoder_channels=4,
    num_decoder_channels=4,
)
Pass = tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]


def build(config: ModelConfig, *, recomputed: bool) -> TrainingState:
    state = start_training(
        config,
        OptimizationConfig(epochs=1, batch_size=2, warmup_epochs=0),
        seed=0,
        device=torch.device("cpu"),
        compute=ComputeConfig(activation_checkpointing=recomputed),
    )
    state.model.train()
    return state


def train_once(
    state: TrainingState, *, precision: torch.dtype = torch.float32, rank: int = 0
) -> Pass:
    """Return the gradients and the buffers after one step's passes."""
    model, flat = state.model, state.bank.flat
    flat.grad = None
    generator = torch.Generator().manual_seed(rank)
    x = torch.rand(2, 3, 16, 16, generator=generator).contiguous(memory_format=torch.channels_last)
    noise = draw_noise(model.noise_shapes(2), generator)
    with state.bank.applied(precision):
        with torch.autocast("cpu", dtype=precision, enabled=precision != torch.float32):
            reconstruction = model(x, noise)
        kl = reconstruction.kl_per_channel().sum(dim=(1, 2)).mean()
        (kl - reconstruction.log_prob(x).mean()).backward()
    state.running_statistics.follow([state.running_statistics.take_batch()])
    assert flat.grad is not None
    return state.bank.views(flat.grad), dict(model.named_buffers())


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", ["res_mbconv", "res_elu"])
def test_gradients_and_running_statistics_have_the_same_bits(
    precision: torch.dtype, architecture: str
) -> None:
    config = COLOURS.model_copy(update={"cell_architecture": architecture})
    plain, recomputed = (
        train_once(build(config, recomputed=recomputed), precision=precision)
        for recomputed in (False, True)
    )
    for ours, theirs in zip(recomputed, plain, strict=True):
        assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []


def kept_bytes(state: TrainingState, x: torch.Tensor) -> int:
    """Bytes kept from the forward pass for the backward pass, each tensor once, no weights."""
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    def keep_input(_module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        keep(inputs[0])

    cells = [
        cell
        for cells in state.model.modules()
        if isinstance(cells, CheckpointedSequential) and cells.is_checkpointed
        for cell in cells
    ]
    # The inputs of cells that are computed again are kept without hooks.
    hooks = [cell.register_forward_pre_hook(keep_input) for cell in cells]
    with state.bank.applied() as applied:
        normalized = [matrices.values for matrices in applied.matrices]
        weights = [*state.model.state_dict().values(), *normalized]
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            state.model(x, torch.Generator().manual_seed(0))
    for hook in hooks:
        hook.remove()
    for weight in weights:
        kept.pop(weight.untyped_storage().data_ptr(), None)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def test_of_the_cells_only_their_inputs_are_kept() -> None:
    config = COLOURS.model_copy(update={"num_encoder_channels": 16, "num_decoder_channels": 16})
    x = torch.rand(8, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    everything, inputs = (
        kept_bytes(build(config, recomputed=recomputed), x) for recomputed in (False, True)
    )
    assert inputs < everything / 4


def test_evaluation_and_sampling_are_not_recomputed() -> None:
    model = build(COLOURS, recomputed=True).model
    with torch.no_grad():
        model.generate(torch.Generator().manual_seed(0), batch_size=2)
    assert model.eval().encode(torch.rand(1, 3, 16, 16))[0].grad_fn is not None


def count_collectives(ranks: Ranks) -> dict[bool, tuple[Pass, int]]:
    """Return the pass of this rank and its number of collectives, without and with recomputing."""
    found = {}
    for recomputed in (False, True):
        calls: list[str] = []
        originals = {name: getattr(dist, name) for name in ("all_reduce",)}
        for name, original in originals.items():
            setattr(dist, name, _counting(original, name, calls))
        result = train_once(build(COLOURS, recomputed=recomputed), rank=ranks.rank)
        for name, original in originals.items():
            setattr(dist, name, original)
        found[recomputed] = (result, len(calls))
    return found


def _counting(
    original: Callable[..., object], name: str, calls: list[str]
) -> Callable[..., object]:
    def count(*args: object, **kwargs: object) -> object:
        calls.append(name)
        return original(*args, **kwargs)

    return count


@pytest.mark.processes
def test_collectives_are_not_repeated(tmp_path: Path) -> None:
    for found in together(count_collectives, tmp_path, world_size=2):
        (plain, num_plain), (recomputed, num_recomputed) = found[False], found[True]
        assert num_plain == num_recomputed > 0
        for ours, theirs in zip(recomputed, plain, strict=True):
            assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
