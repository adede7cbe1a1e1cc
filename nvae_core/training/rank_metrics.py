"""What the ranks measured about themselves, brought together for one report."""

import resource

import torch

from nvae_core.distributed import Ranks, sum_over_ranks
from nvae_core.training.phase_clock import Window


def gather_rank_metrics(
    window: Window, ranks: Ranks, *, global_batch_size: int
) -> dict[str, float]:
    """Return speed, memory, and what slows training down; a collective of all ranks."""
    num_steps = max(window.num_steps, 1)
    total_seconds = max(window.total_seconds, 1e-9)
    own = [
        total_seconds,
        window.busy_seconds / num_steps,
        window.data_seconds / total_seconds,
        float(peak_memory_bytes(ranks.device)),
    ]
    table = torch.zeros(ranks.world_size, len(own), dtype=torch.float64, device=ranks.device)
    table[ranks.rank] = torch.tensor(own, dtype=torch.float64)
    seconds, busy, data_share, memory = sum_over_ranks(table).unbind(dim=1)
    return {
        "images_per_second": global_batch_size * window.num_steps / seconds.max().item(),
        "step_seconds/slowest_rank": busy.max().item(),
        "step_seconds/fastest_rank": busy.min().item(),
        "data_wait_share": data_share.max().item(),
        "peak_memory_bytes": memory.max().item(),
    }


def peak_memory_bytes(device: torch.device) -> int:
    """Return the most memory this rank has used: of its GPU, or of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
