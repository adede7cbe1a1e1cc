"""The figures of a step, and what of them a later report or the result still needs."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from nvae_core.evaluation.estimates import ACTIVE_CHANNEL_KL
from nvae_core.evaluation.likelihood import name_groups

MAX_SKIPPED_STEPS = 20
FINAL_WINDOW = 50  # steps that the result's negative ELBO is a mean of
REPORTED = (
    "loss",
    "negative_elbo",
    "reconstruction_loss",
    "kl",
    "weighted_kl",
    "spectral_norm_sum",
    "batch_norm_penalty",
    "gradient_norm",
)
NAMES = (*REPORTED, "gradient_scale", "was_taken", "scale_was_lowered", "stop")


class NonFiniteLoss(ArithmeticError):
    """Many steps in a row were skipped."""


@dataclass(frozen=True)
class StepMetrics:
    """What one step measured: means over the images of all ranks, the same on each rank.

    They are on the device; the first look at a scalar waits for the step, and reads all.
    """

    scalars: Tensor  # those of NAMES; the scale is 0 where there is none
    kl_per_channel: Tensor  # (G, Z), nats

    @cached_property
    def values(self) -> dict[str, float]:
        """What is reported, by name."""
        names = [*REPORTED, *(["gradient_scale"] if self._all["gradient_scale"] else [])]
        return {name: self._all[name] for name in names}

    @property
    def was_taken(self) -> bool:
        """Whether it changed anything: it was finite, and its gradient not too large."""
        return self._all["was_taken"] > 0

    @property
    def scale_was_lowered(self) -> bool:
        """Whether the gradient overflowed: the next step scales it by less."""
        return self._all["scale_was_lowered"] > 0

    @property
    def stop_agreed(self) -> bool:
        """Whether any rank was asked to stop."""
        return self._all["stop"] > 0

    @cached_property
    def _all(self) -> dict[str, float]:
        return dict(zip(NAMES, self.scalars.tolist(), strict=True))


@dataclass
class Tally:
    """Sums over the steps since the last report; steps that were skipped do not count."""

    sums: dict[str, float] = field(default_factory=dict)
    kl_per_channel: Tensor | None = None  # sum over the steps, (G, Z) nats
    num_steps: int = 0
    num_taken_steps: int = 0

    def add(self, step: StepMetrics) -> None:
        """Count one step in."""
        self.num_steps += 1
        if not step.was_taken:
            return
        self.num_taken_steps += 1
        for name, value in step.values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        kl, earlier = step.kl_per_channel, self.kl_per_channel
        self.kl_per_channel = kl if earlier is None else earlier.to(kl.device) + kl

    def means(self) -> dict[str, float]:
        """Return the means by name, and how many latent channels are active by them."""
        if self.kl_per_channel is None:
            return {}
        kl = (self.kl_per_channel / self.num_taken_steps).cpu()
        active = (kl > ACTIVE_CHANNEL_KL).sum(dim=1)
        return {
            **{name: value / self.num_taken_steps for name, value in self.sums.items()},
            **name_groups("kl", kl.sum(dim=1)),
            **name_groups("active_channels", active),
            "active_channels": float(active.sum()),
        }


@dataclass
class RunningMetrics:
    """Part of the training state, so that a resumed run reports what the run would have."""

    tally: Tally = field(default_factory=Tally)
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=FINAL_WINDOW))
    num_skipped_in_a_row: int = 0

    def add(self, step: StepMetrics) -> None:
        """Count one step in.

        Raises:
            NonFiniteLoss: many steps in a row had to be skipped.
        """
        self.tally.add(step)
        if step.was_taken:
            self.num_skipped_in_a_row = 0
            self.recent.append(step.values["negative_elbo"])
            return
        if step.scale_was_lowered:
            return  # fp16 finding its scale; it ends when the scale cannot be lowered any more
        self.num_skipped_in_a_row += 1
        if self.num_skipped_in_a_row >= MAX_SKIPPED_STEPS:
            raise NonFiniteLoss(
                "the loss or its gradient was not finite, or the gradient above its bound, "
                f"for {MAX_SKIPPED_STEPS} steps in a row"
            )

    def take_tally(self) -> Tally:
        """Return the sums since they were last taken, and begin anew."""
        tally, self.tally = self.tally, Tally()
        return tally

    def negative_elbo(self) -> float | None:
        """Return the mean negative ELBO of the last steps, None before the first."""
        return sum(self.recent) / len(self.recent) if self.recent else None

    def tensors(self) -> dict[str, Tensor]:
        """Return everything by name, without loss of precision."""
        tally = self.tally
        counts = [tally.num_steps, tally.num_taken_steps, self.num_skipped_in_a_row]
        tensors = {
            "counts": torch.tensor(counts),
            "recent": torch.tensor(list(self.recent), dtype=torch.float64),
        }
        for name, value in tally.sums.items():
            tensors[f"sums/{name}"] = torch.tensor(value, dtype=torch.float64)
        if tally.kl_per_channel is not None:
            tensors["kl_per_channel"] = tally.kl_per_channel
        return tensors

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` returned.

        Raises:
            KeyError, ValueError: a tensor is missing, or not of its shape.
        """
        num_steps, num_taken_steps, self.num_skipped_in_a_row = tensors["counts"].tolist()
        self.recent = deque(tensors["recent"].tolist(), maxlen=FINAL_WINDOW)
        prefix = "sums/"
        self.tally = Tally(
            {
                name.removeprefix(prefix): value.item()
                for name, value in tensors.items()
                if name.startswith(prefix)
            },
            tensors.get("kl_per_channel"),
            num_steps,
            num_taken_steps,
        )


def mean_of(parts: Sequence[Tensor]) -> Tensor:
    """Return the mean of tensors of equal shape."""
    return parts[0] if len(parts) == 1 else torch.stack(list(parts)).mean(dim=0)
