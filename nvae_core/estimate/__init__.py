"""What a model costs to train, worked out from its configuration alone; free of torch."""

from nvae_core.estimate.totals import Estimate, estimate

__all__ = ["Estimate", "estimate"]
