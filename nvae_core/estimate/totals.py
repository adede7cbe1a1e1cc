"""The estimate of a configuration: parameters, bytes and floating-point operations."""

from dataclasses import dataclass

from nvae_core.config import ModelConfig
from nvae_core.estimate.cost import FLOAT_BYTES, Cost
from nvae_core.estimate.network import network

NUM_MOMENTS = 2  # of AdaMax, per parameter
ALLOWANCE_BYTES = 2**29  # torch and its CUDA context, before the first tensor


@dataclass(frozen=True)
class Estimate:
    """What a model costs on one rank in float32.

    Floating-point operations are two per multiply-add of the convolutions and linear layers,
    for one image; all else is left out, and so is the spectral term, whose work does not
    depend on the batch.
    """

    num_parameters: int
    activation_bytes_per_image: int  # kept for the backward pass, without images and noise
    flops_per_image: int  # of the forward pass with posterior
    training_flops_per_image: int  # of forward and backward pass
    state_bytes: int  # of all that training holds whatever the batch size
    checkpoint_bytes: int  # without headers, and the optimizer's count of steps

    @property
    def parameter_bytes(self) -> int:
        """Bytes of the parameters."""
        return FLOAT_BYTES * self.num_parameters

    def training_bytes(self, batch_size: int) -> int:
        """Return about how much memory a rank needs to train at this batch size per rank.

        That is the state, the activations of the batch and an allowance for an idle process.
        Memory is fullest as the backward pass begins: there are no gradients yet, and their
        share, which is counted, makes room for what is alive for a moment only. Left out are
        images, noise and latents (some 1 % of the activations), fragments in the allocator,
        workspaces of cuDNN, buffers of NCCL, and the data set.
        """
        activations = batch_size * self.activation_bytes_per_image
        return self.state_bytes + activations + ALLOWANCE_BYTES


def estimate(config: ModelConfig) -> Estimate:
    """Return what the model of a configuration costs, in some milliseconds.

    It counts what the operations of `nvae_core.model` and `nvae_core.losses` keep and
    compute; a change of those is a change of the costs here.
    """
    cost = network(config)
    return Estimate(
        num_parameters=cost.num_parameters,
        activation_bytes_per_image=cost.kept_bytes,
        flops_per_image=2 * cost.forward_multiply_adds,
        training_flops_per_image=2 * (cost.forward_multiply_adds + cost.backward_multiply_adds),
        state_bytes=_count_state_bytes(cost),
        checkpoint_bytes=_count_checkpoint_bytes(cost),
    )


def _count_state_bytes(cost: Cost) -> int:
    """Return the bytes of a checkpoint's tensors, the gradients and the effective weights."""
    num_held = cost.num_parameters + cost.num_derived_weights
    return _count_checkpoint_bytes(cost) + FLOAT_BYTES * num_held


def _count_checkpoint_bytes(cost: Cost) -> int:
    """Return the bytes of parameters, moments, batch-norm statistics and singular vectors."""
    num_trained = cost.num_parameters * (1 + NUM_MOMENTS)
    return FLOAT_BYTES * (num_trained + cost.num_statistics + cost.num_singular_elements)
