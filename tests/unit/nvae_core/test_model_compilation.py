"""Compiled cells compute what the others do, are compiled once per kind, and keep their names."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from joined_ranks import together
from test_model_activation_checkpointing import COLOURS, Pass, build, train_once

from nvae_core.config import ComputeConfig, ModelConfig, OptimizationConfig, TrainConfig
from nvae_core.distributed import Ranks
from nvae_core.model.cells import ResidualCell
from nvae_core.model.compilation import compile_modules
from nvae_core.model.nvae import build_model
from nvae_core.run_directory import ExitReason, RunDirectory
from nvae_core.training.state import evaluating, start_training

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # The compiler's own.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
]
TRACED = "aot_eager"  # traces as inductor does, and generates no code
# Of the 16 cells, 3 posterior heads and 6 transforms of COLOURS: by place, direction, channels
# and resolution.
NUM_CELL_KINDS = 9
NUM_KINDS = NUM_CELL_KINDS + 2 + 2


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def num_graphs() -> int:
    counters = torch._dynamo.utils.counters
    assert not counters["graph_break"]
    return int(counters["stats"]["unique_graphs"])


def assert_close(ours: Pass, theirs: Pass, *, rtol: float) -> None:
    """Compare gradients and buffers, each relative to the largest of its kind."""
    for found, expected in zip(ours, theirs, strict=True):
        scale = max(value.abs().max().item() for value in expected.values())
        for name, value in expected.items():
            torch.testing.assert_close(
                found[name], value, rtol=rtol, atol=rtol * scale, msg=f"{name} differs"
            )


@pytest.mark.processes  # tracing takes long
@pytest.mark.parametrize(
    ("recomputed", "precision", "rtol"),
    [(False, torch.float32, 1e-4), (True, torch.bfloat16, 5e-2)],
    ids=["float32", "bf16, recomputed"],
)
def test_each_kind_of_cell_is_compiled_once(
    recomputed: bool, precision: torch.dtype, rtol: float
) -> None:
    plain = build(COLOURS, recomputed=recomputed)
    compiled = build(COLOURS, recomputed=recomputed)
    compile_modules(compiled.model, backend=TRACED)
    num_before = num_graphs()
    assert sum(isinstance(module, ResidualCell) for module in compiled.model.modules()) == 16
    assert compiled.model.state_dict().keys() == plain.model.state_dict().keys()
    for _ in range(2):
        ours = train_once(compiled, precision=precision)
        assert_close(ours, train_once(plain, precision=precision), rtol=rtol)
    assert num_graphs() - num_before == NUM_KINDS


def compare_with_plain(ranks: Ranks) -> tuple[Pass, Pass, int]:
    plain, compiled = (build(COLOURS, recomputed=True) for _ in range(2))
    compile_modules(compiled.model, backend=TRACED)
    expected = train_once(plain, rank=ranks.rank)
    return train_once(compiled, rank=ranks.rank), expected, num_graphs()


@pytest.mark.processes
def test_two_ranks_normalize_their_images_together_in_one_graph(tmp_path: Path) -> None:
    for ours, theirs, graphs in together(compare_with_plain, tmp_path, world_size=2):
        assert_close(ours, theirs, rtol=1e-4)
        # One to see whether there is a compiler; cells are computed again by another graph, which
        # takes the statistics of all ranks from the first one.
        assert graphs == 1 + NUM_KINDS + NUM_CELL_KINDS


def test_evaluation_compiles_nothing(
    model_config: ModelConfig, padded_images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "nvae_core.training.state.compile_modules",
        lambda model: compile_modules(model, backend=TRACED),
    )
    few_kinds = {"num_groups_per_scale": (2,), "num_preprocess_blocks": 0}
    state = start_training(
        model_config.model_copy(update=few_kinds),
        OptimizationConfig(epochs=1, batch_size=4, warmup_epochs=0),
        seed=0,
        device=torch.device("cpu"),
        compute=ComputeConfig(compile=True),
    )
    num_before = num_graphs()
    with evaluating(state), torch.no_grad():
        state.model(padded_images, torch.Generator().manual_seed(0))
    assert num_graphs() == num_before
    state.model(padded_images, torch.Generator().manual_seed(0))
    assert num_graphs() > num_before


@pytest.mark.processes
def test_generated_code_computes_the_same() -> None:
    # Two kinds of cells: generating code takes seconds for each.
    config = ModelConfig(
        image_size=8,
        num_groups_per_scale=(2,),
        num_latents_per_group=3,
        num_encoder_channels=4,
        num_decoder_channels=4,
        num_preprocess_blocks=0,
        num_encoder_cells_per_group=1,
        num_decoder_cells_per_group=1,
    )
    plain, compiled = build_model(config, seed=0), build_model(config, seed=0)
    compile_modules(compiled)
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = []
    for model in (compiled, plain):
        reconstruction = model(x, torch.Generator().manual_seed(1))
        loss = reconstruction.kl_per_channel().sum() - reconstruction.log_prob(x).sum()
        loss.backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        found.append((gradients, dict(model.named_buffers())))
    assert_close(found[0], found[1], rtol=1e-4)


@pytest.mark.processes
def test_machine_without_a_compiler_names_the_field(
    tmp_path: Path, train_config: TrainConfig
) -> None:
    run = RunDirectory(tmp_path / "run")
    run.create(train_config.model_copy(update={"compute": ComputeConfig(compile=True)}))
    subprocess.run(
        [sys.executable, "-m", "nvae_core.cli.train", str(run.path)],
        check=False,
        capture_output=True,
        timeout=300,
        env=os.environ
        | {"CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")},
    )
    result = run.read_result()
    assert result is not None
    assert result.reason == ExitReason.INVALID_CONFIG
    assert str(result.message).startswith("compute.compile: torch.compile does not work here: ")
