"""Reads a file of `torch.save` that may come from anyone: nothing in it is executed.

`torch.load` builds the values. It believes a file: it allocates what is claimed and compares no
checksum, so the pickles and all sizes are checked before.
"""

import argparse
import io
import resource
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from nvae_core.importing.pickle_check import (
    NUMPY_SCALARS,
    NUMPY_TYPE,
    PickleCheck,
    Refusal,
    refuse_damage,
    shown,
)

ZIP_SIGNATURE = b"PK\x03\x04"
# Before torch 1.6: pickles of a magic number, the version, the machine, the value, and the keys of
# its storages; then each storage, behind the number of its values.
STREAM_SIGNATURE = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
NUM_STREAM_PICKLES = 5
STREAM_SIZE_BYTES = 8

MAX_PICKLE_BYTES = 16 * 2**20
NUMPY_NUMBERS = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"])
MEMORY_PER_FILE_BYTE = 8
MEMORY_BESIDE_FILE_BYTES = 4 * 2**30


class ForeignCheckpoint(ValueError):
    """A file cannot be read as a checkpoint; the message says which file and why."""


def read_torch_file(path: Path) -> object:
    """Read a value that `torch.save` wrote, in the zip or the older format, on the CPU.

    It may hold dicts, lists, tuples, numbers (numpy's come back as Python's), strings, None,
    tensors, `OrderedDict` and `argparse.Namespace`.

    Raises:
        ForeignCheckpoint: the file is missing or damaged, or it holds anything else.
    """
    try:
        if not path.is_file():  # nothing else has an end: opening a pipe would wait forever
            raise Refusal("there is no such file")
        with refuse_damage("the file"):
            return _read(path)
    except Refusal as refusal:
        raise ForeignCheckpoint(f"{path}: {refusal}") from refusal
    except OSError as error:
        raise ForeignCheckpoint(f"{path}: {error.strerror or error}") from error


@contextmanager
def limited_memory(path: Path) -> Iterator[None]:
    """Limit what this process may allocate in addition, by the size of the file that it reads.

    For programs that do nothing else meanwhile: the limit is of the whole process.
    """
    statm = Path("/proc/self/statm")
    if not statm.exists():  # not on Linux
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    num_pages = int(statm.read_text().split()[0])
    num_file_bytes = path.stat().st_size if path.is_file() else 0
    limit = num_pages * resource.getpagesize() + MEMORY_BESIDE_FILE_BYTES
    limit += MEMORY_PER_FILE_BYTE * num_file_bytes
    limits = [limit, *(known for known in (soft, hard) if known != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _read(path: Path) -> object:
    with path.open("rb") as file:
        signature = file.read(len(STREAM_SIGNATURE))
        is_zip = signature.startswith(ZIP_SIGNATURE)
        if is_zip:
            _check_zip(file, path)
        elif signature == STREAM_SIGNATURE:
            _check_stream(file, path.stat().st_size)
        else:
            raise Refusal("the file is neither a zip archive nor a stream of torch.save")
    scalars = [(_numpy_scalar, name) for name in NUMPY_SCALARS]
    with torch.serialization.safe_globals([argparse.Namespace, (_NumpyType, NUMPY_TYPE), *scalars]):
        if (
            is_zip
        ):  # mapped, its storages take no memory before they are used, and end where it does
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        # In memory: of a file on the disk torch.load first asks whether it is a tar archive.
        stream = io.BytesIO(path.read_bytes())
        return torch.load(stream, map_location="cpu", weights_only=True)


def _check_zip(file: BinaryIO, path: Path) -> None:
    num_file_bytes = path.stat().st_size
    with refuse_damage("the zip archive"):
        archive = zipfile.ZipFile(file)
        _check_entries(archive.infolist(), num_file_bytes)
        damaged_name = archive.testzip()
        # What torch.load itself looks entries up with: another parser could see other ones.
        reader = torch._C.PyTorchFileReader(str(path))
    if damaged_name is not None:
        raise Refusal(f"entry {shown(damaged_name)} of the zip archive is damaged")
    names = set(reader.get_all_records())
    if "data.pkl" not in names:
        raise Refusal("the zip archive has no entry <name>/data.pkl")
    if reader.get_record_size("data.pkl") > MAX_PICKLE_BYTES:
        raise Refusal(f"the pickle is larger than {MAX_PICKLE_BYTES} bytes")
    check = PickleCheck()
    check.follow(io.BytesIO(reader.get_record("data.pkl")))
    for key, storage in check.storages.items():
        if f"data/{key}" not in names:
            raise Refusal(f"storage {shown(key)} is missing")
        num_bytes = reader.get_record_size(f"data/{key}")
        if num_bytes != storage.num_bytes:
            raise Refusal(
                f"storage {shown(key)} claims {storage.num_bytes} bytes but has {num_bytes}"
            )


def _check_entries(entries: list[zipfile.ZipInfo], num_file_bytes: int) -> None:
    for entry in entries:
        name = shown(entry.filename)
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise Refusal(f"entry {name} of the zip archive is compressed")
        if entry.header_offset < 0 or entry.header_offset + entry.file_size > num_file_bytes:
            raise Refusal(f"entry {name} of the zip archive lies outside of the file")
    if sum(entry.file_size for entry in entries) > num_file_bytes:
        raise Refusal("entries of the zip archive overlap")
    # torch does not tell upper from lower case.
    if len({entry.filename.lower() for entry in entries}) < len(entries):
        raise Refusal("two entries of the zip archive have the same name")


def _check_stream(file: BinaryIO, num_file_bytes: int) -> None:
    file.seek(0)
    head = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    check = PickleCheck()
    values = [check.follow(head) for _ in range(NUM_STREAM_PICKLES)]
    keys, storages = values[-1], check.storages
    # torch.load leaves a storage that is not listed as the memory happens to be.
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Refusal("the list of storages is not a list of strings")
    if len(keys) != len(storages) or set(keys) != storages.keys():
        raise Refusal("the list of storages does not match the storages of the tensors")
    claimed = sum(STREAM_SIZE_BYTES + storage.num_bytes for storage in storages.values())
    if head.tell() + claimed > num_file_bytes:
        raise Refusal(f"its storages claim {claimed} bytes but the file is shorter")


class _NumpyType:
    """Stands for the type of a numpy scalar: numpy's own believes any state that a pickle names."""

    def __init__(self, name: object, *_: object) -> None:
        if not isinstance(name, str) or name not in NUMPY_NUMBERS:
            raise Refusal("a numpy scalar is of a type that is not one of numbers")
        self.name = name

    def __setstate__(self, state: tuple[object, ...]) -> None:
        if state[1] not in ("<", "|"):
            raise Refusal("a numpy scalar is not little-endian")


def _numpy_scalar(kind: _NumpyType, content: bytes) -> object:
    (value,) = np.frombuffer(content, kind.name).tolist()
    return value
