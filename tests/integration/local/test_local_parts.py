"""Bringing a part up: it is ready, or the error quotes its log and it is gone."""

import os
import socket
import sys
from pathlib import Path

import pytest

from services.local.processes import Part, bring_up, refuse_taken_ports
from services.local.state import StackError, free_s3_block, is_free, load_or_create, s3_block


def sleeper(**properties: object) -> Part:
    source = "import time; print('still loading', flush=True); time.sleep(60)"
    return Part(name="sleeper", command=(sys.executable, "-c", source), **properties)  # type: ignore[arg-type]


def test_part_that_is_not_ready_in_time_is_stopped_and_quoted(tmp_path: Path) -> None:
    part = sleeper(is_ready=lambda: False, ready_within_seconds=1.0)

    with pytest.raises(
        StackError, match=r"sleeper was not ready after 1 s; the end of .*\n.*still"
    ):
        bring_up(part, environment=os.environ, logs=tmp_path)


def test_part_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "raise SystemExit('no such table')")
    part = Part(name="broken", command=command, is_ready=lambda: False)

    with pytest.raises(StackError, match=r"broken ended with status 1; the end of .*\n.*no such"):
        bring_up(part, environment=os.environ, logs=tmp_path)


def test_taken_port_is_refused_by_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(StackError, match=f"port {port} on 127.0.0.1, needed by sleeper"):
            refuse_taken_ports([sleeper(ports=(port,))])


def test_s3_ports_are_free_and_below_what_the_kernel_hands_out() -> None:
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])

    block = s3_block(free_s3_block())

    assert len(block) == 10
    assert all(is_free(port) for port in block)
    assert max(block) < first_ephemeral


def test_ports_of_a_new_stack_are_apart_from_each_other(tmp_path: Path) -> None:
    first = free_s3_block()
    # The second and third draws fall into the block of the first: they are drawn again.
    draws = iter([first, first + 1, first + 10_004, first - 1, first - 1, first - 2])

    stack = load_or_create(tmp_path, draw=lambda _lowest, _highest: next(draws))

    assert stack.s3_port == first
    assert [stack.postgres_port, stack.valkey_port] == [first - 2, first - 1]


def test_stack_file_is_private_and_kept(tmp_path: Path) -> None:
    first = load_or_create(tmp_path)

    assert (tmp_path / "stack.json").stat().st_mode & 0o777 == 0o600
    assert load_or_create(tmp_path) == first
