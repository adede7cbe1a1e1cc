"""A training step as one CUDA graph: recorded once, and launched with the inputs of each step.

`compute.cuda_graph` is off unless it is asked for: it has been run on no GPU yet.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nvae_core.losses import KLBalancing
from nvae_core.training.metrics import StepMetrics
from nvae_core.training.schedules import Schedule
from nvae_core.training.state import TrainingState
from nvae_core.training.step import StepInputs, compute_step, step_inputs

WARM_UP_STEPS = 3  # that are computed as they are; libraries choose their kernels in them


class StepGraph:
    """Steps of one state, whose images and noise keep their shapes."""

    def __init__(
        self,
        state: TrainingState,
        *,
        balancing: KLBalancing,
        penalize_batch_norm: bool,
        max_gradient_norm: float | None,
    ) -> None:
        self._state = state
        self._balancing = balancing
        self._penalize_batch_norm = penalize_batch_norm
        self._max_gradient_norm = math.inf if max_gradient_norm is None else max_gradient_norm
        self._num_steps = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[Tensor, list[Tensor], StepInputs] | None = None
        self._metrics: StepMetrics | None = None

    def take_step(
        self, x: Tensor, noise: Sequence[Tensor], *, schedule: Schedule, stop_requested: bool
    ) -> StepMetrics:
        """Do what `training.step.take_step` does; the figures of a step are copies."""
        inputs = step_inputs(schedule, stop=stop_requested, device=x.device)
        is_regularized = schedule.spectral_weight > 0
        self._num_steps += 1
        self._state.step += 1
        if self._num_steps <= WARM_UP_STEPS:
            # Beside the default stream, as recording will be.
            stream = torch.cuda.Stream(x.device)  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream(x.device))
            with torch.cuda.stream(stream):
                metrics = self._compute(x, noise, inputs, is_regularized=is_regularized)
            torch.cuda.current_stream(x.device).wait_stream(stream)
            return metrics
        if self._graph is None:
            self._record(x, noise, inputs, is_regularized=is_regularized)
        assert self._graph is not None
        assert self._metrics is not None
        self._fill(x, noise, inputs)
        self._graph.replay()
        return StepMetrics(self._metrics.scalars.clone(), self._metrics.kl_per_channel.clone())

    def _record(
        self, x: Tensor, noise: Sequence[Tensor], inputs: StepInputs, *, is_regularized: bool
    ) -> None:
        static_inputs = StepInputs(*(value.clone() for value in inputs))
        self._inputs = x.clone(), [group.clone() for group in noise], static_inputs
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._metrics = self._compute(*self._inputs, is_regularized=is_regularized)

    def _fill(self, x: Tensor, noise: Sequence[Tensor], inputs: StepInputs) -> None:
        assert self._inputs is not None
        static_x, static_noise, static_inputs = self._inputs
        static_x.copy_(x)
        torch._foreach_copy_(static_noise, list(noise))
        torch._foreach_copy_(list(static_inputs), list(inputs))

    def _compute(
        self, x: Tensor, noise: Sequence[Tensor], inputs: StepInputs, *, is_regularized: bool
    ) -> StepMetrics:
        return compute_step(
            self._state,
            x,
            noise,
            inputs,
            balancing=self._balancing,
            is_regularized=is_regularized,
            penalize_batch_norm=self._penalize_batch_norm,
            max_gradient_norm=self._max_gradient_norm,
        )
