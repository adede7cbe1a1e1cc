"""Estimates per image, their means, and the file that keeps them."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from nvae_core.evaluation.likelihood import ImageLikelihoods, name_groups

ACTIVE_CHANNEL_KL = 0.1  # nats, above which a latent channel counts as active (Fig. 10)
PER_IMAGE = ("negative_elbo", "importance_weighted_nll", "kl_per_group")


class InvalidEstimates(ValueError):
    """A file of estimates is damaged, or of another evaluation; the message says which."""


@dataclass(frozen=True)
class BatchEstimates(ImageLikelihoods):
    """Of the images of one batch, on the CPU."""

    kl_per_channel: Tensor  # (G, Z), sum over the images, by one sample


@dataclass
class Estimates:
    """Of all batches so far, in the order of the images, whoever computed them."""

    num_dimensions: int
    batches: list[BatchEstimates] = field(default_factory=list)

    @property
    def num_images(self) -> int:
        """Number of images so far."""
        return sum(len(batch.negative_elbo) for batch in self.batches)

    def values(self) -> dict[str, float]:
        """Return the means by name; bits per dimension are of the importance-weighted estimate."""
        if not self.batches:
            return {}
        negative_elbo = self._all("negative_elbo")
        nll = self._all("importance_weighted_nll")
        kl = self._all("kl_per_group").mean(dim=0)
        channels = torch.stack([batch.kl_per_channel for batch in self.batches]).sum(dim=0)
        active = (channels / self.num_images > ACTIVE_CHANNEL_KL).sum(dim=1)
        nats_per_bit = math.log(2) * self.num_dimensions
        return {
            **_summarize("negative_elbo", negative_elbo),
            **_summarize("negative_elbo_bits_per_dim", negative_elbo / nats_per_bit),
            **_summarize("importance_weighted_nll", nll),
            **_summarize("bits_per_dim", nll / nats_per_bit),
            "num_images": float(self.num_images),
            "kl": kl.sum().item(),
            **name_groups("kl", kl),
            "active_channels": float(active.sum()),
            **name_groups("active_channels", active),
        }

    def encode(self, identity: Mapping[str, object]) -> bytes:
        """Return the content of a file that keeps them, and says what they are of."""
        tensors = {name: self._all(name) for name in PER_IMAGE}
        tensors["kl_per_channel"] = torch.stack([batch.kl_per_channel for batch in self.batches])
        tensors["batch_sizes"] = torch.tensor([len(b.negative_elbo) for b in self.batches])
        return save(tensors, metadata={"evaluation": json.dumps(identity, sort_keys=True)})

    def _all(self, name: str) -> Tensor:
        return torch.cat([getattr(batch, name) for batch in self.batches])


def read_estimates(path: Path, identity: Mapping[str, object], num_dimensions: int) -> Estimates:
    """Read what an earlier run of the same evaluation left.

    Raises:
        InvalidEstimates: it cannot be read, or is of another evaluation.
    """
    try:
        with safe_open(path, framework="pt") as file:
            saved = json.loads((file.metadata() or {})["evaluation"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        sizes = tensors["batch_sizes"].tolist()
        parts = [torch.split(tensors[name], sizes) for name in PER_IMAGE]
        channels = tensors["kl_per_channel"].unbind()
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise InvalidEstimates(f"resume_from: {path.name} cannot be read: {error}") from error
    different = sorted(name for name in identity if saved.get(name) != identity[name])
    if different:
        names = ", ".join(different)
        raise InvalidEstimates(f"resume_from: {path.name} is of another evaluation: {names} differ")
    batches = zip(*parts, channels, strict=True)
    return Estimates(num_dimensions, [BatchEstimates(*batch) for batch in batches])


def _summarize(name: str, per_image: Tensor) -> dict[str, float]:
    """Return the mean over the images and its standard error, which one image alone has not."""
    summary = {name: per_image.mean().item()}
    if len(per_image) > 1:
        summary[f"{name}_standard_error"] = per_image.std().item() / math.sqrt(len(per_image))
    return summary
