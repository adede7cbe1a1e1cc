"""The format of `torch.save` before torch 1.6: five pickles, then each storage behind its size."""

import io

from nvae_core.interop.torch_file.refusal import Refusal, shown
from nvae_core.interop.torch_file.restricted_pickle import read_pickle
from nvae_core.interop.torch_file.tensor_records import StorageRecord

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
SIGNATURE = b"\x80\x02\x8a\x0a" + MAGIC_NUMBER.to_bytes(10, "little") + b"."
MAX_PICKLES_BYTES = 16 * 2**20
SIZE_BYTES = 8


class StreamFormat:
    """An open checkpoint, all of whose sizes agree.

    Raises:
        Refusal: the file is damaged, or its pickles are not allowed.
    """

    def __init__(self, file: io.BufferedReader, num_file_bytes: int) -> None:
        self._file = file
        self._num_file_bytes = num_file_bytes
        file.seek(0)
        head = io.BytesIO(file.read(min(num_file_bytes, MAX_PICKLES_BYTES)))
        _check_header(head)
        self.unpickled = read_pickle(head)
        self._starts = self._locate_storages(read_pickle(head).value, position=head.tell())

    def read_storage(self, storage: StorageRecord, into: memoryview) -> None:
        """Fill a buffer of the storage's size; the format has no checksums.

        Raises:
            Refusal: the file has become shorter.
        """
        self._file.seek(self._starts[storage.key])
        if self._file.readinto(into) != len(into):
            raise Refusal("the file is cut off")

    def _locate_storages(self, keys: object, *, position: int) -> dict[str, int]:
        storages = self.unpickled.storages
        if type(keys) is not list or not all(type(key) is str for key in keys):
            raise Refusal("the list of storages is not a list of strings")
        if len(keys) != len(storages) or set(keys) != storages.keys():
            raise Refusal("the list of storages does not match the storages of the tensors")
        starts = {}
        for key in keys:
            starts[key] = position + SIZE_BYTES
            self._check_size(storages[key], position)
            position = starts[key] + storages[key].num_bytes
        return starts

    def _check_size(self, storage: StorageRecord, position: int) -> None:
        if position + SIZE_BYTES + storage.num_bytes > self._num_file_bytes:
            raise Refusal(
                f"storage {shown(storage.key)} claims {storage.num_bytes} bytes "
                "but the file is shorter"
            )
        self._file.seek(position)
        numel = int.from_bytes(self._file.read(SIZE_BYTES), "little")
        if numel != storage.numel:
            raise Refusal(
                f"storage {shown(storage.key)} claims {storage.numel} values but has {numel}"
            )


def _check_header(head: io.BytesIO) -> None:
    magic_number, version, system = (read_pickle(head).value for _ in range(3))
    if magic_number != MAGIC_NUMBER or version != PROTOCOL_VERSION:
        raise Refusal("the header is not of a version that can be read")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Refusal("the byte order is not little-endian")
