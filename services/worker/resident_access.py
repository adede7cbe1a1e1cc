"""Where a node's resident samplers are, and how they are reached and ended."""

import contextlib
import json
import os
import signal
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

import structlog

FOLDER_NAME = "sampler"
SOCKET_NAME = "socket"
WANTED_NAME = "wanted"
LOG_NAME = "sampler.log"
GPU_PREFIX = "gpu_"
CONNECT_SECONDS = 1.0
RELEASE_SECONDS = 30.0  # it may have a grid to finish
CREDENTIALS = struct.Struct("3i")  # pid, uid, gid of the peer, from SO_PEERCRED

log = structlog.get_logger()


def resident_folder(data_folder: Path, slot_kind: str, slot: int) -> Path:
    """Return the folder of the resident that computes on a slot: one for all cores, or a GPU's."""
    name = f"{GPU_PREFIX}{slot}" if slot_kind == "gpu" else "cpu"
    return data_folder / FOLDER_NAME / name


def connect(folder: Path) -> socket.socket | None:
    """Return a connection to a resident, or None where it is not there."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(CONNECT_SECONDS)
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:  # the path of a socket may not be long; this one is
            connection.connect(f"/proc/self/fd/{descriptor}/{SOCKET_NAME}")
        finally:
            os.close(descriptor)
    except OSError:
        connection.close()
        return None
    return connection


def kill_peer(connection: socket.socket) -> None:
    """Kill the process at the other end."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    pid, _, _ = CREDENTIALS.unpack(credentials)
    log.warning("sampler.killed", pid=pid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def release_gpus(data_folder: Path, slots: Sequence[int]) -> None:
    """Have the residents of these GPUs end, before something else takes them; blocks."""
    for slot in slots:
        connection = connect(resident_folder(data_folder, "gpu", slot))
        if connection is None:
            continue
        with connection:
            connection.settimeout(RELEASE_SECONDS)
            try:
                connection.sendall(json.dumps({"release": True}).encode() + b"\n")
                while connection.recv(64):  # its end is the answer
                    continue
            except OSError:
                kill_peer(connection)
