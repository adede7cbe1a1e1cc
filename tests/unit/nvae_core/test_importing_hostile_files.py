"""Published checkpoints from anyone: refused with a reason, or read; nothing in them is run."""

import argparse
import functools
import os
import pickle
import random
import struct
import subprocess
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_files import MODEL, published_content
from torch import nn

from nvae_core.importing import pickle_check, torch_file
from nvae_core.importing.published import PublishedCheckpoint, read_published
from nvae_core.importing.torch_file import ForeignCheckpoint
from nvae_core.model.nvae import build_model

HEADER = b"\x80\x02"
EMPTY_ORDERED_DICT = b"ccollections\nOrderedDict\n)R"

Write = Callable[[Path, object], Path]


def write_zip(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


def write_stream(path: Path, value: object) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=False)
    return path


def write_pickle(path: Path, content: bytes, **storages: bytes) -> Path:
    """A zip checkpoint of a pickle written by hand."""
    entries = {f"data/{key}": value for key, value in storages.items()}
    return write_entries(path, {"data.pkl": content, "version": b"3\n"} | entries)


def write_entries(path: Path, entries: dict[str, bytes], *, compression: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(f"archive/{name}", content)
    return path


def read_entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}


def one_item(value: bytes) -> bytes:
    """The pickle of `{"a": value}`."""
    return HEADER + b"}" + text("a") + value + b"s."


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integer(value: int) -> bytes:
    content = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def storage(numel: int = 6, key: str = "0", kind: str = "FloatStorage") -> bytes:
    location = text("cuda:0")
    return (
        b"("
        + text("storage")
        + f"ctorch\n{kind}\n".encode()
        + text(key)
        + location
        + (integer(numel) + b"tQ")
    )


def tensor(
    shape: tuple[int, ...] = (2, 3),
    stride: tuple[int, ...] = (3, 1),
    *,
    offset: int = 0,
    values: bytes | None = None,
) -> bytes:
    sizes = b"".join(b"(" + b"".join(map(integer, sizes)) + b"t" for sizes in (shape, stride))
    start = b"ctorch._utils\n_rebuild_tensor_v2\n(" + (values or storage())
    return start + integer(offset) + sizes + b"\x89" + EMPTY_ORDERED_DICT + b"tR"


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    """What the published code would save."""
    return published_content(build_model(MODEL, seed=5))


def refuse(path: Path, reason: str | None = None) -> None:
    """Fail unless the file is refused, before its content is looked at, with its name."""
    with pytest.raises(ForeignCheckpoint, match=reason) as raised:
        read_published(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "args is missing" not in str(raised.value), "all of it was read"


def refuse_content(path: Path) -> None:
    """Fail unless all of a file is read, and then refused for what it holds or lacks."""
    with pytest.raises(ForeignCheckpoint, match=r"missing, or not a table|args: |not a tensor"):
        read_published(path)


def assert_read_whole(path: Path) -> None:
    """Fail unless all of a file could be read that is no published checkpoint otherwise."""
    with pytest.raises(ForeignCheckpoint, match="args is missing, or not a table"):
        read_published(path)


def assert_same(ours: PublishedCheckpoint, theirs: PublishedCheckpoint) -> None:
    assert (ours.seed, ours.optimization) == (theirs.seed, theirs.optimization)
    assert ours.state.step == theirs.state.step
    torch.testing.assert_close(
        ours.state.model.state_dict(), theirs.state.model.state_dict(), rtol=0, atol=0
    )
    torch.testing.assert_close(
        ours.state.training_tensors(),
        theirs.state.training_tensors(),
        rtol=0,
        atol=0,
    )


@pytest.mark.parametrize("write", [write_zip, write_stream])
def test_both_formats_are_read_whatever_else_they_hold(
    tmp_path: Path, content: dict[str, Any], write: Write
) -> None:
    expected = read_published(write(tmp_path / "plain.pt", content))
    weight = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    arguments = {
        "seed": np.int64(7),
        "learning_rate": np.float64(0.008),
        "use_se": np.bool_(False),
        "root": "/tmp/é",
        "nothing": None,
        "nested": argparse.Namespace(x=[1]),
    }
    path = write(
        tmp_path / "full.pt",
        content
        | {
            "args": argparse.Namespace(**(vars(content["args"]) | arguments)),
            "state_dict": OrderedDict(content["state_dict"]),
            "tied": OrderedDict(weight=weight, tied=weight, row=weight[1], column=weight[:, 2]),
            "layer": nn.Linear(3, 2).state_dict(),  # has attributes, which are pickled
            "parameter": nn.Linear(3, 2).weight,
            "every_type": [torch.tensor([0, 1]).to(dtype) for dtype in (torch.int8, torch.bool)],
            "empty": [torch.zeros(0, 512), torch.zeros(3, 10)[:1, :4].clone()],
            "scheduler": {"base_lrs": [0.01], "T_max": 4.0, "last_epoch": 3, 140234567891011: ()},
            "type": torch.float32,
            "plain": [None, True, -1, 70_000, 2**80, 0.5, "text", (), (1,), (1, 2), (1, 2, 3)],
            "long": list(range(3000)),
        },
    )
    assert_same(read_published(path), expected)


def test_tensors_saved_from_a_gpu_come_to_the_cpu(tmp_path: Path, content: dict[str, Any]) -> None:
    path = write_zip(tmp_path / "x.pt", content)
    expected = read_published(path)
    entries = read_entries(path)
    entries["data.pkl"] = entries["data.pkl"].replace(text("cpu"), text("cuda:0"))
    assert_same(read_published(write_entries(path, entries)), expected)


class Call:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._call


class Custom:
    """Pickles as an object with state."""

    def __init__(self) -> None:
        self.x = 1


@pytest.mark.parametrize("write", [write_zip, write_stream])
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Call(os.system, "touch executed"), "posix.system"),
        (Call(eval, "open('executed', 'w')"), "__builtin__.eval"),
        (Call(subprocess.Popen, "touch executed"), "commands.Popen"),
        (Call(getattr, Call(__import__, "os"), "system"), "__builtin__.getattr"),
        (functools.partial(os.system, "touch executed"), "functools.partial"),
        (Call(torch.storage._load_from_bytes, b"x"), "torch.storage._load_from_bytes"),
        (torch.eye(2).to_sparse(), "torch._utils._rebuild_sparse_tensor"),
        (torch.zeros(2, dtype=torch.complex64), "torch.ComplexFloatStorage"),
        (Custom(), f"{__name__}.Custom"),
        (nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        ({1, 2}, "__builtin__.set"),
        (np.zeros(2), r"numpy\S+_reconstruct"),
    ],
)
def test_other_classes_are_refused_by_name_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write, value: object, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "x.pt", {"a": value})
    refuse(path, f"class {name} is not allowed")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02(S'touch executed'\nios\nsystem\n.",
        b"\x80\x02(cos\nsystem\nS'touch executed'\no.",
        b"\x80\x02\x82\x01.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"\x80\x02" + one_item(b"N"),
        one_item(b"\x96" + struct.pack("<Q", 2**62)),
        one_item(b"\x8b" + struct.pack("<i", 2**31 - 1)),
        one_item(b"X" + struct.pack("<I", 2**32 - 1)),
        one_item(b"X" + struct.pack("<I", 3) + b"\xed\xa0\x80"),
        one_item(b"cos\\x2e\nsystem\n"),
        one_item(b"c\xff\nsystem\n"),
        one_item(EMPTY_ORDERED_DICT + b"]b"),
        one_item(b"}}b"),
        one_item(b"]}b"),
        one_item(b"K\x01)R"),
        one_item(b"K\x01)\x81"),
        one_item(b"cargparse\nNamespace\n(K\x01t\x81"),
        one_item(b"cargparse\nNamespace\n)\x81}b" + text("b") + b"Ns"),
        one_item(b"cargparse\nNamespace\n}R"),
        one_item(b"ccollections\nOrderedDict\n]\x85R"),
        one_item(b"ctorch\nFloatStorage\n)R"),
        one_item(b"ctorch._utils\n_rebuild_parameter\n)R"),
        one_item(b"ctorch._utils\n_rebuild_tensor_v2\n)R"),
        one_item(text("storage") + b"Q"),
        one_item(b"}" + b")" + b"Ns"),
        one_item(b"}]Ns"),
        one_item(b"}Ns"),
        one_item(b"}" + b"\x8a\xff" + b"\x01" * 255 + b"Ns"),
        one_item(b"}(" + text("b") + b"u"),
        one_item(b"](K\x01K\x02u"),
        one_item(b"}Na"),
        one_item(b"h\x09"),
        one_item(b"\x87"),
        one_item(b"e"),
        HEADER + b"].",
        HEADER + b".",
        HEADER + b"}",
        HEADER,
        b"",
        b"}.",
    ],
)
def test_a_pickle_of_anything_unusual_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_pickle(tmp_path / "x.pt", content, **{"0": bytes(24)})
    refuse(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tensor((10**12,), (0,)), "tensor 1 claims 1000000000000 values but its storage has 6"),
        (tensor((10**6, 10**6), (0, 0)), "claims 1000000000000 values"),
        (tensor((2**62,) * 30, (2**62,) * 30), "tensor 1 claims"),
        (tensor((2,), (2**62,)), "claims 4611686018427387905 values"),
        (tensor((2, 3), (4, 1)), "tensor 1 claims 7 values but its storage has 6"),
        (tensor(offset=1), "tensor 1 claims 7 values"),
        (tensor(offset=2**62), "tensor 1 claims"),
        (tensor((-1,), (1,)), "not at most 32 sizes"),
        (tensor((2,), (-1,)), "not at most 32 sizes"),
        (tensor((2**63,), (0,)), "not at most 32 sizes"),
        (tensor(offset=-1), "not at most 32 sizes"),
        (tensor((1,) * 33, (1,) * 33), "not at most 32 sizes"),
        (tensor((2, 3), (1,)), "unequal size length"),
        (tensor(values=b"N"), "tensor 1 has no storage"),
        (tensor(values=storage(5)), "claims 6 values but its storage has 5"),
        (tensor(values=storage(7)), "storage 0 claims 28 bytes but has 24"),
        (tensor(values=storage(2**60)), "storage 0 claims 4611686018427387904 bytes but has 24"),
        (tensor(values=storage(-1)), "the size of a storage is not a size"),
        (tensor(values=storage(6, kind="HalfStorage")), "storage 0 claims 12 bytes but has 24"),
        (tensor(values=storage(6, key="../../x")), "storage ../../x is missing"),
        (b"(" + tensor() + tensor(values=storage(7)) + b"t", "storage 0 is described in two ways"),
    ],
)
def test_a_tensor_outside_of_its_storage_is_refused(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = write_pickle(tmp_path / "x.pt", one_item(content), **{"0": bytes(24)})
    refuse(path, reason)


@pytest.mark.parametrize(
    "value",
    [
        b"]q\x01h\x01a",
        b"}q\x01" + text("b") + b"h\x01s",
        b"]q\x01((h\x01\x85h\x01te",
        b"cargparse\nNamespace\n)\x81q\x01}" + text("b") + b"h\x01sb",
        b"]" + b"\x85" * 100_000,
        b"](Nq\x01" + b"h\x01\x85q\x01" * 200 + b"e",
        b"(N" + (b"q\x00(" + b"h\x00" * 9 + b"t") * 30 + b"t",
        b"(" + text("x" * 64_000) + b"q\x00" + b"h\x00" * 10_000 + b"t",
        b"]r\xff\xff\xff\xff",
        tensor((0, 10**12), (1, 1), values=storage(key="empty")),
        EMPTY_ORDERED_DICT + b"}" + text("items") + b"ccollections\nOrderedDict\nsb",
    ],
    ids=[
        *("list in itself", "dict in itself", "tuple in itself", "namespace in itself", "deep"),
        *("deep by the memo", "repeated", "repeated text", "huge index of the memo", "empty"),
        "attribute in the place of a method",
    ],
)
def test_a_value_of_any_shape_that_nothing_needs_costs_nothing(
    tmp_path: Path, content: dict[str, Any], value: bytes
) -> None:
    path = write_pickle(tmp_path / "x.pt", one_item(value), empty=bytes(24))
    assert_read_whole(path)
    for name in ("args", "state_dict", "optimizer"):
        saved = HEADER + b"}" + text(name) + value + b"s."
        write_pickle(path, saved, empty=bytes(24))
        refuse_content(path)
    entries = read_entries(write_zip(path, content))
    before, _, after = entries["data.pkl"].partition(text("cifar10"))
    changed = {"data.pkl": before + value + after, "data/empty": bytes(24)}
    write_entries(path, entries | changed)
    with pytest.raises(ForeignCheckpoint, match="args: dataset"):
        read_published(path)


def test_attributes_in_the_place_of_methods_are_not_called(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    expected = read_published(write_zip(tmp_path / "x.pt", content))
    entry = OrderedDict(content["optimizer"]["state"][0])
    tensors = OrderedDict(content["state_dict"])
    for table in (entry, tensors):
        vars(table).update(xget=np.dtype, xitems=np.dtype, xkeys=np.dtype)
    optimizer = {"state": content["optimizer"]["state"] | {0: entry}}
    changed = content | {"state_dict": tensors, "optimizer": optimizer}
    entries = read_entries(write_zip(tmp_path / "x.pt", changed))
    for name in ("get", "items", "keys"):
        assert text(f"x{name}") in entries["data.pkl"]
        entries["data.pkl"] = entries["data.pkl"].replace(text(f"x{name}"), text(name))
    assert_same(read_published(write_entries(tmp_path / "x.pt", entries)), expected)


def test_a_deep_key_is_refused(tmp_path: Path) -> None:
    deep = b")" + b"\x85" * 300_000
    path = write_pickle(tmp_path / "x.pt", one_item(b"}" + deep + b"Ns"))
    refuse(path, "a key of a dict is neither a string nor a 64-bit integer")


def test_tensors_that_repeat_a_storage_are_refused_before_a_model_is_built(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    repeated = dict.fromkeys((f"tensor_{index}" for index in range(40)), torch.zeros(12, 4, 4))
    path = write_zip(tmp_path / "x.pt", content | {"state_dict": repeated})
    refuse(path, "repeat the same storages too often")


@pytest.mark.parametrize("value", [np.datetime64(1, "s"), np.str_("x"), np.complex64(1)])
def test_numpy_scalars_that_are_no_numbers_are_refused(tmp_path: Path, value: object) -> None:
    refuse(write_zip(tmp_path / "x.pt", {"a": value}), "a numpy scalar is of a type that is not")


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_a_file_that_takes_too_much_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: dict[str, Any], error: Exception
) -> None:
    def load(*_: object, **__: object) -> None:
        raise error

    path = write_zip(tmp_path / "x.pt", content)
    monkeypatch.setattr(torch, "load", load)
    refuse(path, "the file takes more memory than a file of its size may")


def test_pickles_of_too_many_parts_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickle_check, "MAX_OPCODES", 500)
    monkeypatch.setattr(torch_file, "MAX_PICKLE_BYTES", 2000)
    path = tmp_path / "x.pt"
    for content, reason in (
        (b"N" * 600, "more than 500 opcodes"),
        (text("x" * 2000), "larger than 2000 bytes"),
    ):
        write_pickle(path, one_item(content), **{"0": bytes(24)})
        refuse(path, reason)


@pytest.mark.parametrize("write", [write_zip, write_stream])
def test_a_file_cut_off_anywhere_is_refused(
    tmp_path: Path, content: dict[str, Any], write: Write
) -> None:
    path = write(tmp_path / "checkpoint.pt", content)
    saved = path.read_bytes()
    for position in [*range(0, len(saved), len(saved) // 20), len(saved) - 1]:
        path.write_bytes(saved[:position])
        refuse(path)


@pytest.mark.parametrize(("write", "times"), [(write_zip, 100), (write_stream, 20)])
def test_a_flipped_bit_is_refused_or_changes_no_more_than_a_value(
    tmp_path: Path, content: dict[str, Any], write: Write, times: int
) -> None:
    path = write(tmp_path / "checkpoint.pt", content)
    expected, saved = read_published(path), path.read_bytes()
    generator = random.Random(0)
    for _ in range(times):
        damaged = bytearray(saved)
        damaged[generator.randrange(len(saved))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            loaded = read_published(path)
        except ForeignCheckpoint:
            continue
        if write is write_zip:  # the checksums leave nothing that could have changed
            assert_same(loaded, expected)


def test_damage_of_any_kind_to_a_header_is_refused_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    for write in (write_zip, write_stream):
        content = write(path, {"a": torch.zeros(3), "b": argparse.Namespace(c=1)}).read_bytes()
        generator = random.Random(1)
        for _ in range(200):
            damaged = bytearray(content)
            start = generator.randrange(len(content))
            num_bytes = generator.choice([1, 2, 4, 8])
            damaged[start : start + num_bytes] = generator.choice([b"\xff", b"\x00"]) * num_bytes
            path.write_bytes(damaged)
            with pytest.raises(ForeignCheckpoint):
                read_published(path)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({}, "no entry <name>/data.pkl"),
        ({"data.pkl": one_item(b"N"), "byteorder": b"little" * 1000}, "Unknown endianness"),
        ({"data.pkl": one_item(tensor())}, "storage 0 is missing"),
    ],
)
def test_an_archive_of_other_entries_is_refused(
    tmp_path: Path, entries: dict[str, bytes], reason: str
) -> None:
    path = write_entries(tmp_path / "x.pt", {"version": b"3\n"} | entries)
    refuse(path, reason)


def test_compressed_entries_are_refused(tmp_path: Path) -> None:
    entries = {"data.pkl": one_item(tensor()), "data/0": bytes(10**6)}
    path = write_entries(tmp_path / "x.pt", entries, compression=zipfile.ZIP_DEFLATED)
    refuse(path, "of the zip archive is compressed")


def test_entries_of_one_name_and_encrypted_and_overlapping_ones_are_refused(tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "x.pt", one_item(tensor()), **{"0": bytes(24), "1": bytes(24)})
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")
    second = content.index(b"PK\x01\x02", directory + 1)

    def refused(change: Callable[[bytearray], None], reason: str) -> None:
        damaged = bytearray(content)
        change(damaged)
        path.write_bytes(damaged)
        refuse(path, reason)

    refused(lambda damaged: damaged.__setitem__(second + 8, 1), "is encrypted")
    refused(
        lambda damaged: struct.pack_into("<L", damaged, second + 42, 10**9), "outside of the file"
    )
    sizes = struct.pack("<LL", len(content), len(content))
    refused(
        lambda damaged: damaged.__setitem__(slice(directory + 20, directory + 28), sizes),
        "overlap",
    )
    name = content.index(b"archive/data/1", second)
    refused(lambda damaged: damaged.__setitem__(name + 13, ord("0")), "the same name")
    refused(
        lambda damaged: struct.pack_into("<L", damaged, len(damaged) - 10, 2**31),
        "damaged or cut off",
    )


def test_a_directory_of_any_size_is_not_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    num_bytes = 8 * 2**20 + 1
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, num_bytes, 4, 0)
    path.write_bytes(b"PK\x03\x04" + bytes(num_bytes) + end)
    refuse(path, "the zip archive is damaged or cut off")


def test_a_changed_byte_of_a_storage_is_found(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.pt", {"a": torch.full((5,), 1.5)})
    content = path.read_bytes()
    path.write_bytes(
        content.replace(struct.pack("<5f", *[1.5] * 5), struct.pack("<5f", *[2.5] * 5))
    )
    refuse(path, "entry x/data/0 of the zip archive is damaged")


def stream(content: bytes, *, keys: object = ("0",), storages: bytes = b"") -> bytes:
    header = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    parts = [pickle.dumps(value, 2) for value in header]
    keys = list(keys) if isinstance(keys, tuple) else keys
    content = content.replace(b"tQ", b"NtQ")  # what describes a storage has one value more
    return b"".join([*parts, content, pickle.dumps(keys, 2), storages])


SIX_VALUES = struct.pack("<Q", 6) + bytes(24)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (stream(one_item(tensor())), "claim 32 bytes but the file is shorter"),
        (stream(one_item(tensor()), storages=SIX_VALUES[:-1]), "the file is shorter"),
        (
            stream(one_item(tensor(values=storage(2**60))), storages=SIX_VALUES),
            "claim 4611686018427387912 bytes but the file is shorter",
        ),
        (
            stream(one_item(tensor()), storages=struct.pack("<Q", 2**63) + bytes(24)),
            "wrong byte size",
        ),
        (stream(one_item(tensor()), keys=()), "does not match the storages"),
        (stream(one_item(tensor()), keys=("0", "0"), storages=SIX_VALUES * 2), "does not match"),
        (stream(one_item(tensor()), keys=("1",), storages=SIX_VALUES), "does not match"),
        (stream(one_item(tensor()), keys=7), "not a list of strings"),
        (stream(one_item(tensor()), keys=([],)), "not a list of strings"),
        (stream(one_item(b"N"), keys=()).replace(b"M\xe9\x03", b"M\xea\x03"), "version: 1002"),
    ],
)
def test_a_stream_whose_parts_disagree_is_refused(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(stream(one_item(tensor()), storages=SIX_VALUES))
    assert_read_whole(path)
    path.write_bytes(content)
    refuse(path, reason)


def test_what_is_no_file_of_torch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    refuse(path, "there is no such file")
    refuse(tmp_path, "there is no such file")
    for content in (b"", b"PK", b"{}", pickle.dumps({}, 2)):
        path.write_bytes(content)
        refuse(path, "neither a zip archive nor a stream")
    os.mkfifo(tmp_path / "pipe")
    refuse(tmp_path / "pipe", "there is no such file")
