"""Free TCP ports on 127.0.0.1, below the range the kernel hands out to outgoing connections."""

import errno
import random
import socket
from collections.abc import Callable
from pathlib import Path

from services.local.errors import StackError

HOST = "127.0.0.1"
# SeaweedFS listens for gRPC at each port + 10000, whatever it is told.
GRPC_OFFSET = 10_000
S3_BLOCK = 5
_LOWEST = 10_240
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(num_ports: int) -> list[int]:
    """Choose ``num_ports`` different free ports."""
    ports: set[int] = set()
    while len(ports) < num_ports:
        ports.add(_first_free(lambda port: [port], highest=_ephemeral_start()))
    return sorted(ports)


def free_s3_block() -> int:
    """Choose P so that P … P + 4, and the gRPC ports above them, are all free."""
    return _first_free(s3_block, highest=_ephemeral_start() - GRPC_OFFSET - S3_BLOCK)


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


def _first_free(block: Callable[[int], list[int]], *, highest: int) -> int:
    if highest <= _LOWEST:
        highest = 55_000  # the kernel's range starts low here: any port may do, if it is free now
    # Random, so that two stacks started at once do not both choose the lowest free port.
    for _ in range(1000):
        first = random.randrange(_LOWEST, highest)  # noqa: S311
        if all(is_free(port) for port in block(first)):
            return first
    raise StackError(f"no free ports found on {HOST}")


def _ephemeral_start() -> int:
    return int(_EPHEMERAL_RANGE.read_text().split()[0])
