"""Reads files of `torch.save` that may come from anyone."""

from nvae_core.interop.torch_file.reader import ForeignCheckpoint, read_checkpoint_file

__all__ = ["ForeignCheckpoint", "read_checkpoint_file"]
