"""Programs that work on one run directory."""

from nvae_core.runtime import PARENT_AT_START

__all__ = ["PARENT_AT_START"]  # read when the first of the programs is imported
