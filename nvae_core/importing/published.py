"""Reads a checkpoint of the published NVAE code into our model and optimizer."""

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from nvae_core.config import ModelConfig, OptimizationConfig
from nvae_core.estimate import estimate
from nvae_core.importing.arguments import PublishedArguments, model_config, optimization_config
from nvae_core.importing.names import STATISTICS, paired_parameters, paired_statistics
from nvae_core.importing.torch_file import ForeignCheckpoint, read_torch_file
from nvae_core.run_directory import describe_errors
from nvae_core.training.state import TrainingState, start_training

# Twins of other entries, and counters that nothing reads.
IGNORED = ("weight_normalized", "num_batches_tracked")
# Tied weights repeat a storage a few times; a file could repeat it a million times.
MAX_USES_OF_STORAGE = 16


@dataclass(frozen=True)
class PublishedCheckpoint:
    """A published model in our terms: all that goes into a checkpoint of ours."""

    state: TrainingState  # with new singular vectors: the published file has none
    optimization: OptimizationConfig
    seed: int


def read_published(path: Path) -> PublishedCheckpoint:
    """Read a published checkpoint file; nothing in it is executed.

    Raises:
        ForeignCheckpoint: it is missing, damaged, hostile, or not of a model that we compute.
    """
    content = read_torch_file(path)
    try:
        return _convert(_table(content, "its content"))
    except ValidationError as error:
        raise ForeignCheckpoint(f"{path}: args: {describe_errors(error)}") from error
    except (ValueError, TypeError) as error:
        raise ForeignCheckpoint(f"{path}: {error}") from error


def _convert(content: Mapping[Any, object]) -> PublishedCheckpoint:
    arguments = PublishedArguments.model_validate(_arguments(content.get("args")))
    tensors = _tensors(_table(content.get("state_dict"), "state_dict"))
    config = model_config(arguments, resolution=_resolution(tensors, arguments))
    _check_size(config, tensors)
    optimization = optimization_config(arguments)
    device = torch.device("cpu")
    state = start_training(config, optimization, seed=arguments.seed, device=device)
    _load_model(state, tensors)
    if content.get("optimizer") is not None:
        optimizer = _table(content["optimizer"], "optimizer")
        _load_optimizer(state, _table(optimizer.get("state"), "optimizer.state"))
    state.step = _num_steps(content.get("global_step", 0), "global_step")
    return PublishedCheckpoint(state, optimization, arguments.seed)


def _table(value: object, name: str) -> dict[Any, object]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is missing, or not a table: not an NVAE checkpoint")
    # Not by its own methods: a pickle can give an OrderedDict attributes of the same names.
    return dict(dict.items(value))


def _arguments(value: object) -> dict[str, object]:
    """Return the arguments that are numbers or text; only those can be ones that matter to us."""
    attributes = vars(value) if isinstance(value, argparse.Namespace) else value
    return {
        name: argument if isinstance(argument, str | int | float) else None
        for name, argument in _table(attributes, "args").items()
    }


def _tensors(part: Mapping[Any, object]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    num_bytes, storages = 0, dict[int, int]()
    for name, value in part.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"state_dict: {name} is not a tensor")
        if not str(name).endswith(IGNORED):
            tensors[str(name)] = value
            num_bytes += value.nbytes
            storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
    if num_bytes > MAX_USES_OF_STORAGE * sum(storages.values()):
        raise ValueError("state_dict: its tensors repeat the same storages too often")
    return tensors


def _resolution(tensors: Mapping[str, Tensor], arguments: PublishedArguments) -> int:
    """Return the height and width of the padded images, from those of the top latents."""
    num_halvings = arguments.num_preprocess_blocks + arguments.num_latent_scales - 1
    top_state = tensors.get("prior_ftr0")
    if top_state is None or top_state.dim() != 3:
        raise ValueError("state_dict: prior_ftr0, of (channels, height, width), is missing")
    return int(top_state.shape[-1]) << num_halvings


def _check_size(config: ModelConfig, tensors: Mapping[str, Tensor]) -> None:
    """Refuse arguments of a model of another size than the file's, before it is built."""
    expected = estimate(config).num_parameters
    found = sum(tensor.numel() for name, tensor in tensors.items() if not name.endswith(STATISTICS))
    if found != expected:
        raise ValueError(
            f"args describe a model of {expected} parameters, but state_dict has {found}"
        )


def _load_model(state: TrainingState, tensors: Mapping[str, Tensor]) -> None:
    pairs = [*paired_parameters(state.model), *paired_statistics(state.model)]
    names = {pair.published for pair in pairs}
    _refuse("lacks", names - tensors.keys())
    _refuse("has unknown", tensors.keys() - names)
    for pair in pairs:
        source = tensors[pair.published]
        _copy(source, pair.tensor, pair.published, negate=pair.is_negated)


def _load_optimizer(state: TrainingState, states: Mapping[object, object]) -> None:
    """Take the moments, which the published file numbers in the order of the parameters."""
    names = {id(parameter): name for name, parameter in state.model.named_parameters()}
    moments = {
        "exp_avg": state.bank.views(state.optimizer.mean),
        "exp_inf": state.bank.views(state.optimizer.norm),
    }
    steps: set[int] = set()
    for index, pair in enumerate(paired_parameters(state.model)):
        entry = _table(states.get(index), f"optimizer.state: entry {index}, of {pair.published},")
        steps.add(_num_steps(entry.get("step"), f"optimizer.state: step of {pair.published}"))
        for name, views in moments.items():
            moment = entry.get(name)
            if not isinstance(moment, Tensor):
                raise ValueError(f"optimizer.state: {name} of {pair.published} is missing")
            target = views[names[id(pair.tensor)]]
            sign_follows = pair.is_negated and name == "exp_avg"
            _copy(moment, target, f"{name} of {pair.published}", negate=sign_follows)
            if name == "exp_inf" and moment.min() < 0:
                raise ValueError(f"exp_inf of {pair.published} has negative values")
    if len(steps) > 1:
        raise ValueError(f"optimizer.state: parameters have been updated {sorted(steps)} times")
    state.optimizer.count.fill_(steps.pop())


@torch.no_grad()
def _copy(source: Tensor, target: Tensor, name: str, *, negate: bool) -> None:
    if target.shape != source.shape:
        raise ValueError(f"{name} has the shape {tuple(source.shape)}, not {tuple(target.shape)}")
    if not source.is_floating_point() or not source.isfinite().all():
        raise ValueError(f"{name} has values that are not finite numbers")
    if name.endswith("running_var") and source.min() < 0:
        raise ValueError(f"{name} has negative values")
    target.copy_(-source if negate else source)


def _num_steps(value: object, name: str) -> int:
    """Return a number of steps, which newer optimizers keep as a tensor."""
    number = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"{name} is not a number of steps")
    if not 0 <= number < 2**53 or number != int(number):
        raise ValueError(f"{name} is not a number of steps")
    return int(number)


def _refuse(problem: str, names: Iterable[str]) -> None:
    found = sorted(names)
    if found:
        raise ValueError(f"state_dict {problem} {', '.join(found[:3])} ({len(found)} tensors)")
