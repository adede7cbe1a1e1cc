"""The zip format of `torch.save`: `<name>/data.pkl`, and a storage in each `<name>/data/<key>`."""

import io
import zipfile

from nvae_core.interop.torch_file.refusal import Refusal, refuse_damage, shown
from nvae_core.interop.torch_file.restricted_pickle import Unpickled, read_pickle
from nvae_core.interop.torch_file.tensor_records import StorageRecord

SIGNATURE = b"PK\x03\x04"
MAX_PICKLE_BYTES = 16 * 2**20
MAX_DIRECTORY_BYTES = 8 * 2**20
CHUNK_BYTES = 2**20
# A data descriptor behind the entry, and a name in UTF-8; anything else changes the content.
HARMLESS_FLAGS = 0x808


class ZipFormat:
    """An open checkpoint, all of whose sizes agree.

    Raises:
        Refusal: the file is damaged, or its pickle is not allowed.
    """

    def __init__(self, file: io.BufferedReader, num_file_bytes: int) -> None:
        with refuse_damage("the zip archive"):
            self._archive = zipfile.ZipFile(_BoundedReader(file))
        self._entries = _check_entries(self._archive.infolist(), num_file_bytes)
        self._root = _find_root(self._entries)
        self.unpickled = self._read_pickle()
        self._check_byte_order()
        for storage in self.unpickled.storages.values():
            self._check_size(storage)

    def read_storage(self, storage: StorageRecord, into: memoryview) -> None:
        """Fill a buffer of the storage's size.

        Raises:
            Refusal: the bytes do not match their checksum.
        """
        self._read_entry(f"data/{storage.key}", into)

    def _read_pickle(self) -> Unpickled:
        num_bytes = self._entries[f"{self._root}/data.pkl"].file_size
        if num_bytes > MAX_PICKLE_BYTES:
            raise Refusal(f"the pickle is larger than {MAX_PICKLE_BYTES} bytes")
        content = bytearray(num_bytes)
        self._read_entry("data.pkl", memoryview(content))
        return read_pickle(io.BytesIO(content))

    def _check_byte_order(self) -> None:
        entry = self._entries.get(f"{self._root}/byteorder")
        if entry is None:  # written since torch 2.1
            return
        content = bytearray(min(entry.file_size, len(b"little") + 1))
        self._read_entry("byteorder", memoryview(content))
        if content != b"little":
            raise Refusal("the byte order is not little-endian")

    def _check_size(self, storage: StorageRecord) -> None:
        entry = self._entries.get(f"{self._root}/data/{storage.key}")
        if entry is None:
            raise Refusal(f"storage {shown(storage.key)} is missing")
        if entry.file_size != storage.num_bytes:
            raise Refusal(
                f"storage {shown(storage.key)} claims {storage.num_bytes} bytes "
                f"but has {entry.file_size}"
            )

    def _read_entry(self, name: str, into: memoryview) -> None:
        with (
            refuse_damage(f"entry {shown(name)} of the zip archive"),
            self._archive.open(self._entries[f"{self._root}/{name}"]) as entry,
        ):
            for start in range(0, len(into), CHUNK_BYTES):
                chunk = into[start : start + CHUNK_BYTES]
                chunk[:] = entry.read(len(chunk))  # the last one compares the checksum


class _BoundedReader:
    """A file of which only so much is read at once: `zipfile` believes sizes in the file."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, num_bytes: int = -1) -> bytes:
        if num_bytes > MAX_DIRECTORY_BYTES:
            raise Refusal(f"the directory of the zip archive is over {MAX_DIRECTORY_BYTES} bytes")
        return self._file.read(num_bytes if num_bytes >= 0 else MAX_DIRECTORY_BYTES)


def _check_entries(
    entries: list[zipfile.ZipInfo], num_file_bytes: int
) -> dict[str, zipfile.ZipInfo]:
    for entry in entries:
        name = shown(entry.filename)
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise Refusal(f"entry {name} of the zip archive is compressed")
        if entry.flag_bits & ~HARMLESS_FLAGS:
            raise Refusal(f"entry {name} of the zip archive is encrypted or patched")
        if entry.header_offset < 0 or entry.header_offset + entry.file_size > num_file_bytes:
            raise Refusal(f"entry {name} of the zip archive lies outside of the file")
    if sum(entry.file_size for entry in entries) > num_file_bytes:
        raise Refusal("entries of the zip archive overlap")
    by_name = {entry.filename: entry for entry in entries}
    if len(by_name) < len(entries):
        raise Refusal("two entries of the zip archive have the same name")
    return by_name


def _find_root(names: dict[str, zipfile.ZipInfo]) -> str:
    roots = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl")]
    roots = [root for root in roots if "/" not in root]
    if len(roots) != 1:
        raise Refusal(f"the zip archive has {len(roots)} entries <name>/data.pkl, not one")
    return roots[0]
