"""A container's limits count, where they are less than the machine has."""

import os

import pytest

from services.worker.slots import usable_cores, usable_memory_bytes

CORES = len(os.sched_getaffinity(0))
MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000\n", CORES),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        ("199000 100000\n", 1),
        (f"{CORES + 5}00000 100000\n", CORES),
    ],
)
def test_quota_of_cores_counts(text, cores, tmp_path):
    (tmp_path / "cpu.max").write_text(text)
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize(
    ("text", "memory_bytes"),
    [("max\n", MEMORY), ("1048576\n", 2**20), (f"{MEMORY * 2}\n", MEMORY)],
)
def test_limit_of_memory_counts(text, memory_bytes, tmp_path):
    (tmp_path / "memory.max").write_text(text)
    assert usable_memory_bytes(tmp_path) == memory_bytes


def test_machine_without_limits_is_used_whole(tmp_path):
    assert usable_cores(tmp_path) == CORES
    assert usable_memory_bytes(tmp_path) == MEMORY
