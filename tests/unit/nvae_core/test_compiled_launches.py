"""How many kernels a step has when cells, flows and heads are compiled, each kind once."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from unittest import mock

import pytest
import torch
from test_training_launches import Operations, images_and_noise, narrow, start, step_once
from torch import Tensor, nn
from torch._inductor.graph import GraphLowering

from nvae_core.config import ModelConfig
from nvae_core.model.cells import InvertedResidualBranch, ResidualCell
from nvae_core.model.compilation import COMPILED
from nvae_core.training.state import TrainingState

pytestmark = [
    pytest.mark.processes,  # the compiler starts some, and takes long
    pytest.mark.budget(300),
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore"),  # the compiler's own
]
# What generated code calls: kernels that inductor wrote, and those of libraries.
CALL = re.compile(r"^\s+(?:\w+ = )?(?:cpp_fused\w*|extern_kernels\.\w+|torch\.ops\.[\w.]+)\(", re.M)
RESAMPLING = "resampling"  # cells that change the resolution: few, and not compiled here
ALL_KINDS = ModelConfig(
    image_size=16,
    num_colors=3,
    image_distribution="logistic_mixture",
    num_mixtures=2,
    num_groups_per_scale=(1, 2),
    num_latents_per_group=3,
    num_flow_transforms=2,
    num_encoder_channels=16,
    num_decoder_channels=16,
)


def kind_of(module: nn.Module) -> str:
    if not isinstance(module, ResidualCell):
        return type(module).__name__
    if not isinstance(module.skip, nn.Identity):
        return RESAMPLING
    is_inverted = isinstance(module.branch, InvertedResidualBranch)
    return "inverted residual" if is_inverted else "two convolutions"


def parts_of(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, COMPILED)]


def run_alone(state: TrainingState, module: nn.Module, call: Callable[..., Tensor]) -> int:
    """Run a module forward and backward on inputs like those it has in the model.

    Returns the number of launches, which means something where nothing is compiled.
    """
    seen: list[Any] = []
    hook = module.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs))
    autocast = torch.autocast("cpu", torch.bfloat16)
    with state.bank.applied(torch.bfloat16), autocast:
        state.model(*images_and_noise(state))
    hook.remove()
    inputs = [value.detach().clone().requires_grad_() for value in seen]
    with state.bank.applied(torch.bfloat16):
        read = [value for part in module.modules() for value in vars(part).values()]
        weights = [value for value in read if isinstance(value, Tensor) and value.requires_grad]
        with Operations() if call is module else nullcontext(Operations()) as operations:
            with autocast:
                y = call(*inputs)
            # To the weights that it reads, and no further.
            torch.autograd.grad(y, [*inputs, *weights], torch.ones_like(y), allow_unused=True)
    return operations.num_launches()


def count_compiled(state: TrainingState, module: nn.Module) -> int:
    torch._dynamo.reset()
    codes: list[str] = []
    compiled = torch.compile(module, dynamic=False, fullgraph=True)
    with (
        mock.patch.object(GraphLowering, "save_output_code", codes.append),
        torch._inductor.config.patch(force_disable_caches=True),
    ):
        run_alone(state, module, compiled)
    assert len(codes) == 2  # forward and backward
    return sum(len(CALL.findall(code[code.index("def call") :])) for code in codes)


def test_launches_of_a_compiled_step_are_within_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nvae_core.training.adamax.waits_for_nothing", lambda _device: True)
    state = start(ALL_KINDS)
    kernels: dict[str, int] = {}
    launches: dict[str, int] = {}
    for module in parts_of(state.model):
        kind = kind_of(module)
        launches[kind] = max(launches.get(kind, 0), run_alone(state, module, module))
        if kind not in kernels and kind != RESAMPLING:
            kernels[kind] = count_compiled(state, module)
    kernels[RESAMPLING] = launches[RESAMPLING]  # at most
    assert kernels["two convolutions"] <= 22
    assert kernels["inverted residual"] <= 26
    assert kernels["AutoregressiveTransform"] <= 15
    figures = {}
    for preset, budget in (("cifar10-released", 6_800), ("celeba_hq_256-released", 12_000)):
        state = start(narrow(preset))
        step_once(state)
        with Operations() as operations:
            step_once(state)
        total = operations.num_launches()
        for module in parts_of(state.model):
            total += kernels[kind_of(module)] - launches[kind_of(module)]
        figures[preset] = total, budget
    assert all(total <= budget for total, budget in figures.values()), (figures, launches)
