"""Reads a file of `torch.save` that may come from anyone: nothing in it is ever executed."""

import io
import os
from pathlib import Path

from nvae_core.interop.torch_file import stream_format, zip_format
from nvae_core.interop.torch_file.delivery import deliver
from nvae_core.interop.torch_file.refusal import Refusal, refuse_damage
from nvae_core.interop.torch_file.stream_format import StreamFormat
from nvae_core.interop.torch_file.zip_format import ZipFormat


class ForeignCheckpoint(ValueError):
    """A file cannot be read as a checkpoint; the message says which file and why."""


def read_checkpoint_file(path: Path) -> dict[str, object]:
    """Read a checkpoint that `torch.save` wrote, in the zip or the older stream format.

    It may hold dicts (`OrderedDict` comes back as `dict`), lists, tuples, numbers, strings, None,
    tensors, and `argparse.Namespace`, which comes back as a `dict` of its attributes. Tensors and
    parameters come back as tensors on the CPU that need no gradient, whatever device they were
    saved from; those that shared a storage still do. Attributes of an `OrderedDict` are dropped.

    Time and memory are bounded by the size of the file, and not by any number in it.

    Raises:
        ForeignCheckpoint: the file is missing or damaged, or it holds anything else.
    """
    try:
        if not path.is_file():  # nothing else has an end: opening a pipe would wait forever
            raise Refusal("there is no such file")
        with refuse_damage("the file"), path.open("rb") as file:
            value = _read(file)
    except Refusal as refusal:
        raise ForeignCheckpoint(f"{path}: {refusal}") from refusal
    except OSError as error:
        raise ForeignCheckpoint(f"{path}: {error.strerror or error}") from error
    return value


def _read(file: io.BufferedReader) -> dict[str, object]:
    num_file_bytes = os.fstat(file.fileno()).st_size
    value = deliver(_open(file, num_file_bytes), num_file_bytes)
    if not isinstance(value, dict):
        raise Refusal(f"it holds a {type(value).__name__}, not a dict")
    if not all(isinstance(key, str) for key in value):
        raise Refusal("not all keys of its dict are strings")
    return value


def _open(file: io.BufferedReader, num_file_bytes: int) -> ZipFormat | StreamFormat:
    signature = file.peek(len(stream_format.SIGNATURE))
    if signature.startswith(zip_format.SIGNATURE):
        return ZipFormat(file, num_file_bytes)
    if signature.startswith(stream_format.SIGNATURE):
        return StreamFormat(file, num_file_bytes)
    raise Refusal("the file is neither a zip archive nor a stream of torch.save")
