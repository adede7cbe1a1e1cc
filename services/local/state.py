"""A stack on this machine: folder, ports, passwords, lock, and whether it is up."""

import errno
import fcntl
import json
import os
import random
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterable, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from services.domain.access import KEY_BYTES, make_key

HOST = "127.0.0.1"
# SeaweedFS listens for gRPC at each port + 10000, whatever it is told.
GRPC_OFFSET = 10_000
S3_BLOCK = 5
MAX_PORT = 65_535
_LOWEST = 10_240
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
STACK_NAME = "stack.json"
API_KEY_NAME = "api_key"
# A runner of the last supervisor may hold the lock shared for a moment, to see that it is free.
_LOCK_SECONDS = 1.0
MARKER = "NVAE_STACK"
PARENT_LOCK = "NVAE_PARENT_LOCK"
Draw = Callable[[int, int], int]  # a number from the first to below the second
OF_ITS_PROCESSES = frozenset({MARKER, PARENT_LOCK})  # whoever has them ends with the stack


class StackError(Exception):
    """The stack cannot start, stop or go on; the message is shown as it is."""


def free_ports(
    num_ports: int, *, apart_from: Iterable[int] = (), draw: Draw = random.randrange
) -> list[int]:
    """Choose ``num_ports`` different free ports; none is one of ``apart_from``."""
    ports: set[int] = set()
    while len(ports) < num_ports:
        taken = ports.union(apart_from)
        highest = _ephemeral_start()
        ports.add(_first_free(lambda port: [port], highest=highest, taken=taken, draw=draw))
    return sorted(ports)


def free_s3_block(*, draw: Draw = random.randrange) -> int:
    """Choose P so that P … P + 4, and the gRPC ports above them, are all free."""
    highest = _ephemeral_start() - GRPC_OFFSET - S3_BLOCK
    return _first_free(s3_block, highest=highest, taken=frozenset(), draw=draw)


def s3_block(first: int) -> list[int]:
    """Every port that SeaweedFS listens on when its S3 gateway is at ``first``."""
    block = range(first, first + S3_BLOCK)
    return [*block, *(port + GRPC_OFFSET for port in block)]


def is_free(port: int) -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket() as probe:
        # Connections of a server that just ended linger in TIME_WAIT; its successor may listen.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def _first_free(
    block: Callable[[int], list[int]], *, highest: int, taken: Set[int], draw: Draw
) -> int:
    if highest <= _LOWEST:
        highest = 55_000  # the kernel's range starts low here: any port may do, if it is free now
    # Random, so that two stacks started at once do not both choose the lowest free port.
    for _ in range(1000):
        first = draw(_LOWEST, highest)
        if taken.isdisjoint(block(first)) and all(is_free(port) for port in block(first)):
            return first
    raise StackError(f"no free ports found on {HOST}")


def _ephemeral_start() -> int:
    return int(_EPHEMERAL_RANGE.read_text().split()[0])


@dataclass(frozen=True, kw_only=True)
class StackFile:
    """The content of ``stack.json``, readable by its owner only."""

    stack_id: str
    postgres_port: int
    postgres_password: str
    valkey_port: int
    valkey_password: str
    s3_port: int
    s3_access_key: str
    s3_secret_key: str
    api_key: str


def load_or_create(folder: Path, *, draw: Draw = random.randrange) -> StackFile:
    """Read ``stack.json`` in ``folder``, or choose ports and passwords and write it."""
    path = folder / STACK_NAME
    if path.exists():
        content = json.loads(path.read_text())
        if "api_key" in content:
            return StackFile(**content)
        chosen = StackFile(**content, api_key=_choose_key())  # there were no keys before
    else:
        chosen = _choose(draw)
    write_private(path, json.dumps(asdict(chosen), indent=2) + "\n")
    return chosen


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _choose(draw: Draw) -> StackFile:
    s3_port = free_s3_block(draw=draw)
    # Nobody listens on the block yet: what is free now may still be one of its ports.
    postgres_port, valkey_port = free_ports(2, apart_from=s3_block(s3_port), draw=draw)
    return StackFile(
        stack_id=secrets.token_hex(8),
        postgres_port=postgres_port,
        postgres_password=secrets.token_hex(16),
        valkey_port=valkey_port,
        valkey_password=secrets.token_hex(16),
        s3_port=s3_port,
        s3_access_key=secrets.token_hex(10),
        s3_secret_key=secrets.token_hex(20),
        api_key=_choose_key(),
    )


def _choose_key() -> str:
    return make_key(secrets.token_bytes(KEY_BYTES))


def parent_lock_path(folder: Path) -> Path:
    """Where the lock of a data folder lies."""
    return folder / "supervisor.lock"


def hold_parent_lock(folder: Path) -> TextIO:
    """Take the lock until the returned file is closed, and leave our pid in it."""
    file = parent_lock_path(folder).open("a+")
    deadline = time.monotonic() + _LOCK_SECONDS
    while not _locked(file):
        if time.monotonic() > deadline:
            raise StackError(f"{folder} is in use by the supervisor with pid {_pid_in(file)}")
        time.sleep(0.02)
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def supervisor_pid(folder: Path) -> int | None:
    """The pid of the supervisor that runs on this folder, if any."""
    try:
        file = parent_lock_path(folder).open("r")
    except FileNotFoundError:
        return None
    with file:
        return None if _locked(file, shared=True) else _pid_in(file)


def _locked(file: TextIO, *, shared: bool = False) -> bool:
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pid_in(file: TextIO) -> int | None:
    file.seek(0)
    text = file.read()
    return int(text) if text else None


def publish_ready(folder: Path, api_url: str) -> None:
    """Say that the stack of this supervisor is up."""
    write_private(_ready_path(folder), json.dumps({"pid": os.getpid(), "api_url": api_url}) + "\n")


def withdraw_ready(folder: Path) -> None:
    """Say that it is not, or no longer."""
    _ready_path(folder).unlink(missing_ok=True)


def ready_pid(folder: Path) -> int | None:
    """The pid of the supervisor that said so, even if it has been killed since."""
    pid = _ready_content(folder).get("pid")
    return pid if isinstance(pid, int) else None


def tell_new_key(folder: Path) -> None:
    """Tell the first API key of a stack that has come up for the first time, on standard error."""
    path, key = folder / API_KEY_NAME, load_or_create(folder).api_key
    if not path.exists() or path.read_text().strip() != key:
        write_private(path, f"{key}\n")
        sys.stderr.write(f"API key, shown this once and kept in {path}: {key}\n")


def describe_stack(folder: Path) -> str:
    """Where the API and the data are, for the person at the terminal."""
    where = _ready_content(folder).get("api_url", "not ready yet")
    return f"API {where}, data and logs in {folder}"


def _ready_content(folder: Path) -> dict[str, object]:
    try:
        content: dict[str, object] = json.loads(_ready_path(folder).read_text())
    except FileNotFoundError:
        return {}
    return content


def _ready_path(folder: Path) -> Path:
    return folder / "supervisor.ready"


def create_folder(folder: Path) -> Path:
    """Make a data folder that only we can look into; its absolute path."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ("logs", "worker", "datasets"):
        (folder / name).mkdir(exist_ok=True, mode=0o700)
    return folder
