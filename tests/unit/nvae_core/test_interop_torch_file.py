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

import pytest
import torch
from torch import Tensor, nn

from nvae_core.interop.torch_file import (
    ForeignCheckpoint,
    pickle_opcodes,
    read_checkpoint_file,
    restricted_pickle,
    zip_format,
)

REPOSITORY = Path(__file__).resolve().parents[3]
FIXTURES = Path(
    os.environ.get("NVAE_REFERENCE_FIXTURES", REPOSITORY.parent / "shared" / "fixtures" / "nvae")
)
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool]
DTYPES += [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
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
    return write_entries(path, {"data.pkl": content} | entries)


def write_entries(path: Path, entries: dict[str, bytes], *, compression: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(f"archive/{name}", content)
    return path


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


def checkpoint() -> dict[str, object]:
    weight = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    layer = nn.Linear(3, 2)
    return {
        "state_dict": OrderedDict(weight=weight, tied=weight, row=weight[1], column=weight[:, 2]),
        "layer": layer.state_dict(),
        "parameter": layer.weight,
        "every_type": {str(dtype): torch.tensor([0, 1, 2]).to(dtype) for dtype in DTYPES},
        "empty": [torch.zeros(0), torch.zeros(0, 512), torch.zeros(3, 10)[:1, :4].clone()],
        "scalar": torch.tensor(2.5),
        "optimizer": {"state": {0: {"step": 3}, 140234567891011: {"step": 4}}},
        "args": argparse.Namespace(root="/tmp/é", seed=1, nested=argparse.Namespace(x=[1])),
        "plain": [None, True, False, -1, 70_000, 2**80, 0.5, "text", (), (1,), (1, 2), (1, 2, 3)],
        "long": list(range(3000)),
    }


def assert_same(ours: object, theirs: object) -> None:
    """Compare what we read with what `torch.load` reads."""
    if isinstance(theirs, Tensor):
        assert type(ours) is Tensor
        assert ours.device.type == "cpu"
        assert not ours.requires_grad
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)
        return
    if isinstance(theirs, argparse.Namespace):
        theirs = vars(theirs)
    if isinstance(theirs, OrderedDict):
        theirs = dict(theirs)
    assert type(ours) is type(theirs)
    if isinstance(theirs, dict):
        assert isinstance(ours, dict)
        assert list(ours) == list(theirs)
        ours, theirs = list(ours.values()), list(theirs.values())
    if isinstance(theirs, list | tuple):
        assert isinstance(ours, list | tuple)
        for mine, other in zip(ours, theirs, strict=True):
            assert_same(mine, other)
    else:
        assert ours == theirs


@pytest.mark.skipif(
    not FIXTURES.is_dir(),
    reason="the reference fixtures are absent; NVAE_REFERENCE_FIXTURES names their folder",
)
@pytest.mark.parametrize("name", ["mnist_bernoulli_2scale", "cifar_dmol_2flow_1scale"])
def test_published_checkpoints_come_back_as_torch_reads_them(name: str) -> None:
    path = FIXTURES / f"{name}.pt"
    assert_same(read_checkpoint_file(path), torch.load(path, weights_only=False))


@pytest.mark.parametrize("write", [write_zip, write_stream])
def test_everything_a_checkpoint_may_hold_comes_back(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "checkpoint.pt", checkpoint())
    assert_same(read_checkpoint_file(path), torch.load(path, weights_only=False))


@pytest.mark.parametrize("write", [write_zip, write_stream])
def test_tensors_of_one_storage_still_share_it(tmp_path: Path, write: Write) -> None:
    shared = torch.zeros(4, 6)
    path = write(tmp_path / "checkpoint.pt", {"whole": shared, "row": shared[1]})
    loaded = read_checkpoint_file(path)
    loaded["row"].fill_(1.0)  # type: ignore[attr-defined]
    assert loaded["whole"].sum() == 6  # type: ignore[attr-defined]


def test_tensors_saved_from_a_gpu_come_to_the_cpu(tmp_path: Path) -> None:
    values = torch.arange(6.0)
    path = write_pickle(tmp_path / "x.pt", one_item(tensor()), **{"0": values.numpy().tobytes()})
    assert_same(read_checkpoint_file(path), {"a": values.reshape(2, 3)})


def test_booleans_of_any_byte_become_true_or_false(tmp_path: Path) -> None:
    values = tensor((3,), (1,), values=storage(3, kind="BoolStorage"))
    path = write_pickle(tmp_path / "x.pt", one_item(values), **{"0": b"\x00\x01\xff"})
    loaded = read_checkpoint_file(path)["a"]
    assert isinstance(loaded, Tensor)
    assert loaded.view(torch.uint8).tolist() == [0, 1, 1]


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
        (OrderedDict, None),
    ],
)
def test_other_classes_are_refused_by_name_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write, value: object, name: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "x.pt", {"a": value})
    expected = f"class {name} is not allowed" if name else "it holds a class"
    with pytest.raises(ForeignCheckpoint, match=expected) as raised:
        read_checkpoint_file(path)
    assert str(raised.value).startswith(f"{path}: ")
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
        one_item(b"ccollections\nOrderedDict\n"),
        one_item(b"ctorch\nFloatStorage\n)R"),
        one_item(b"ctorch\nFloatStorage\n"),
        one_item(b"ctorch._utils\n_rebuild_parameter\n)R"),
        one_item(b"ctorch._utils\n_rebuild_tensor_v2\n)R"),
        one_item(storage()),
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
        HEADER + b"}K\x01Ns.",
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
    with pytest.raises(ForeignCheckpoint) as raised:
        read_checkpoint_file(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert not (tmp_path / "executed").exists()


def test_a_huge_memo_index_costs_nothing(tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "x.pt", one_item(b"]r\xff\xff\xff\xff"))
    assert read_checkpoint_file(path) == {"a": []}


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
        (tensor((0, 10**12), (1, 1)), "has no values but its other dimensions claim"),
        (tensor((-1,), (1,)), "not at most 32 sizes"),
        (tensor((2,), (-1,)), "not at most 32 sizes"),
        (tensor((2**63,), (0,)), "not at most 32 sizes"),
        (tensor(offset=-1), "not at most 32 sizes"),
        (tensor((1,) * 33, (1,) * 33), "not at most 32 sizes"),
        (tensor((2, 3), (1,)), "2 dimensions and 1 strides"),
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
    with pytest.raises(ForeignCheckpoint, match=reason):
        read_checkpoint_file(path)


def test_a_value_that_holds_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    for content in (
        b"]q\x01h\x01a",
        b"}q\x01" + text("b") + b"h\x01s",
        b"]q\x01((h\x01\x85h\x01te",
    ):
        write_pickle(path, one_item(content))
        with pytest.raises(ForeignCheckpoint, match="it holds itself"):
            read_checkpoint_file(path)
    loop = b"cargparse\nNamespace\n)\x81q\x01}" + text("b") + b"h\x01sb"
    write_pickle(path, one_item(loop))
    with pytest.raises(ForeignCheckpoint, match="it holds itself"):
        read_checkpoint_file(path)


def test_a_value_nested_too_deep_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    assert read_checkpoint_file(write_pickle(path, one_item(b"]" + b"\x85" * 90)))
    deep_key = one_item(b"})" + b"\x85" * 100_000 + b"Ns")
    # Each tuple is in the list before the next one wraps it, so that no descent is deep.
    late = b"](Nq\x01" + b"h\x01\x85q\x01" * 200 + b"e"
    for content in (one_item(b"]" + b"\x85" * 100_000), deep_key, one_item(late)):
        write_pickle(path, content)
        with pytest.raises(ForeignCheckpoint, match=r"nested deeper|a key of a dict"):
            read_checkpoint_file(path)


def test_repetition_that_would_grow_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    lists = b"N" + (b"q\x00(" + b"h\x00" * 9 + b"t") * 30
    write_pickle(path, HEADER + b"}" + text("a") + b"(" + lists + b"ts.")
    with pytest.raises(ForeignCheckpoint, match="more than 5000000 values"):
        read_checkpoint_file(path)
    words = b"(" + text("x" * 64_000) + b"q\x00" + b"h\x00" * 10_000 + b"t"
    write_pickle(path, one_item(words))
    with pytest.raises(ForeignCheckpoint, match="more than 5000000 values"):
        read_checkpoint_file(path)
    tensors = b"(" + tensor((10**5,), (1,), values=storage(10**5)) + b"q\x00" + b"h\x00" * 40 + b"t"
    write_pickle(path, one_item(tensors), **{"0": bytes(4 * 10**5)})
    with pytest.raises(ForeignCheckpoint, match="repeat the same storages too often"):
        read_checkpoint_file(path)


def test_pickles_of_too_many_parts_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickle_opcodes, "MAX_OPCODES", 500)
    monkeypatch.setattr(restricted_pickle, "MAX_TENSORS", 5)
    monkeypatch.setattr(zip_format, "MAX_PICKLE_BYTES", 2000)
    path = tmp_path / "x.pt"
    for content, reason in (
        (b"N" * 600, "more than 500 opcodes"),
        (tensor() * 6, "more than 5 tensors"),
        (text("x" * 2000), "larger than 2000 bytes"),
    ):
        write_pickle(path, one_item(content), **{"0": bytes(24)})
        with pytest.raises(ForeignCheckpoint, match=reason):
            read_checkpoint_file(path)


@pytest.mark.parametrize("write", [write_zip, write_stream])
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "checkpoint.pt", checkpoint())
    content = path.read_bytes()
    for position in [*range(0, len(content), len(content) // 20), len(content) - 1]:
        path.write_bytes(content[:position])
        with pytest.raises(ForeignCheckpoint):
            read_checkpoint_file(path)


@pytest.mark.parametrize("write", [write_zip, write_stream])
def test_a_flipped_bit_is_refused_or_changes_no_more_than_a_value(
    tmp_path: Path, write: Write
) -> None:
    value = checkpoint()
    path = write(tmp_path / "checkpoint.pt", value)
    content = path.read_bytes()
    generator = random.Random(0)
    for _ in range(100):
        damaged = bytearray(content)
        damaged[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            loaded = read_checkpoint_file(path)
        except ForeignCheckpoint:
            continue
        if write is write_zip:  # the checksums leave nothing that could have changed
            assert_same(loaded, value)


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
            try:
                read_checkpoint_file(path)
            except ForeignCheckpoint:
                continue


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({}, "0 entries <name>/data.pkl"),
        ({"data.pkl": one_item(b"N"), "byteorder": b"big"}, "not little-endian"),
        ({"data.pkl": one_item(b"N"), "byteorder": b"little" * 1000}, "not little-endian"),
        ({"data.pkl": one_item(tensor())}, "storage 0 is missing"),
    ],
)
def test_an_archive_of_other_entries_is_refused(
    tmp_path: Path, entries: dict[str, bytes], reason: str
) -> None:
    path = write_entries(tmp_path / "x.pt", {"version": b"3\n"} | entries)
    with pytest.raises(ForeignCheckpoint, match=reason):
        read_checkpoint_file(path)


def test_compressed_entries_are_refused(tmp_path: Path) -> None:
    entries = {"data.pkl": one_item(tensor()), "data/0": bytes(10**6)}
    path = write_entries(tmp_path / "x.pt", entries, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ForeignCheckpoint, match="of the zip archive is compressed"):
        read_checkpoint_file(path)


def test_entries_of_one_name_and_encrypted_and_overlapping_ones_are_refused(tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "x.pt", one_item(tensor()), **{"0": bytes(24), "1": bytes(24)})
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")
    second = content.index(b"PK\x01\x02", directory + 1)

    def refused(change: Callable[[bytearray], None], reason: str) -> None:
        damaged = bytearray(content)
        change(damaged)
        path.write_bytes(damaged)
        with pytest.raises(ForeignCheckpoint, match=reason):
            read_checkpoint_file(path)

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
    num_bytes = zip_format.MAX_DIRECTORY_BYTES + 1
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, num_bytes, 4, 0)
    path.write_bytes(b"PK\x03\x04" + bytes(num_bytes) + end)
    with pytest.raises(ForeignCheckpoint, match="the directory of the zip archive is over"):
        read_checkpoint_file(path)


def test_a_changed_byte_of_a_storage_is_found(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.pt", {"a": torch.full((5,), 1.5)})
    content = path.read_bytes()
    path.write_bytes(
        content.replace(struct.pack("<5f", *[1.5] * 5), struct.pack("<5f", *[2.5] * 5))
    )
    with pytest.raises(ForeignCheckpoint, match="entry data/0 of the zip archive is damaged"):
        read_checkpoint_file(path)


def stream(
    content: bytes, *, keys: object = ("0",), storages: bytes = b"", little: bool = True
) -> bytes:
    header = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": little}]
    parts = [pickle.dumps(value, 2) for value in header]
    keys = list(keys) if isinstance(keys, tuple) else keys
    return b"".join([*parts, content, pickle.dumps(keys, 2), storages])


SIX_VALUES = struct.pack("<Q", 6) + bytes(24)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (stream(one_item(tensor())), "storage 0 claims 24 bytes but the file is shorter"),
        (stream(one_item(tensor()), storages=SIX_VALUES[:-1]), "the file is shorter"),
        (
            stream(one_item(tensor(values=storage(2**60))), storages=SIX_VALUES),
            "storage 0 claims 4611686018427387904 bytes but the file is shorter",
        ),
        (
            stream(one_item(tensor()), storages=struct.pack("<Q", 2**63) + bytes(24)),
            "storage 0 claims 6 values but has 9223372036854775808",
        ),
        (stream(one_item(tensor()), keys=()), "does not match the storages"),
        (stream(one_item(tensor()), keys=("0", "0"), storages=SIX_VALUES * 2), "does not match"),
        (stream(one_item(tensor()), keys=("1",), storages=SIX_VALUES), "does not match"),
        (stream(one_item(tensor()), keys=7), "not a list of strings"),
        (stream(one_item(tensor()), keys=([],)), "not a list of strings"),
        (stream(one_item(b"N"), keys=(), little=False), "not little-endian"),
        (stream(one_item(b"N")).replace(b"M\xe9\x03", b"M\xea\x03"), "not of a version"),
    ],
)
def test_a_stream_whose_parts_disagree_is_refused(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(stream(one_item(tensor()), storages=SIX_VALUES))
    assert read_checkpoint_file(path)
    path.write_bytes(content)
    with pytest.raises(ForeignCheckpoint, match=reason):
        read_checkpoint_file(path)


def test_what_is_no_file_of_torch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with pytest.raises(ForeignCheckpoint, match="there is no such file"):
        read_checkpoint_file(path)
    with pytest.raises(ForeignCheckpoint, match="there is no such file"):
        read_checkpoint_file(tmp_path)
    for content in (b"", b"PK", b"{}", pickle.dumps({}, 2)):
        path.write_bytes(content)
        with pytest.raises(ForeignCheckpoint, match="neither a zip archive nor a stream"):
            read_checkpoint_file(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ForeignCheckpoint, match="there is no such file"):
        read_checkpoint_file(tmp_path / "pipe")
