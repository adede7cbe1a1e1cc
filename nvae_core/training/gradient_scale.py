"""The factor that keeps gradients in the range of float16; the other precisions have none."""

import torch
from torch import Tensor

from nvae_core.config import ComputeConfig

INITIAL_SCALE = 1024.0
MIN_SCALE = 1.0


class GradientScale:
    """Scales the loss up and the gradients down; adapts to what overflows.

    It only sees gradients that are averaged over the ranks, so it is the same on all of them.
    """

    def __init__(self, compute: ComputeConfig, device: torch.device) -> None:
        is_needed = compute.precision == "fp16"
        self._scaler = torch.amp.GradScaler(
            device.type, init_scale=INITIAL_SCALE, enabled=is_needed
        )

    def scale(self, loss: Tensor) -> Tensor:
        """Return the loss to take the gradient of."""
        scaled: Tensor = self._scaler.scale(loss)
        return scaled

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the gradients by what the loss was multiplied by."""
        self._scaler.unscale_(optimizer)

    def adapt(self) -> bool:
        """Lower the scale if the last gradients overflowed, raise it after many that did not.

        Returns:
            Whether it was lowered: then the step may succeed when it is tried again.
        """
        if not self._scaler.is_enabled():
            return False
        before = self._scaler.get_scale()
        self._scaler.update()
        if self._scaler.get_scale() < MIN_SCALE:
            self._scaler.update(MIN_SCALE)
        return self._scaler.get_scale() < before

    def values(self) -> dict[str, float]:
        """Return the scale by the name it is reported under, if there is one."""
        return {"gradient_scale": self._scaler.get_scale()} if self._scaler.is_enabled() else {}

    def tensors(self) -> dict[str, Tensor]:
        """Return everything by name, without loss of precision; nothing where there is no scale."""
        state = self._scaler.state_dict()
        return {
            name: torch.tensor(state[key], dtype=torch.float64)
            for name, key in (("scale", "scale"), ("growth", "_growth_tracker"))
            if key in state
        }

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `tensors` returned; without any, as from another precision, begin anew."""
        if not tensors or not self._scaler.is_enabled():
            return
        self._scaler.load_state_dict(
            self._scaler.state_dict()
            | {
                "scale": tensors["scale"].item(),
                "_growth_tracker": int(tensors["growth"].item()),
            }
        )
