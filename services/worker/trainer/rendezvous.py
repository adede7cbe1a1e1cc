"""The nodes of one attempt: where they meet, and over which interface they talk."""

import errno
import fcntl
import ipaddress
import socket
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_ADDRESSES = 1024  # of a machine that are looked at
_SIOCGIFCONF = 0x8912
_IFREQ_SIZE = 40  # bytes, of one answer
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class PortInUse(Exception):
    """Something else listens where the nodes are to meet."""


@dataclass(frozen=True)
class Gang:
    """One node's place among those that train together; addresses are IP addresses."""

    num_nodes: int
    node_rank: int
    head_address: str
    own_address: str
    port: int  # of the head
    meeting: str  # what only the nodes of this attempt say

    def torchrun_options(self) -> list[str]:
        """Return how torchrun finds the others: at rank 0's node, whose port is leased."""
        return [
            f"--nnodes={self.num_nodes}",
            f"--node-rank={self.node_rank}",
            "--rdzv-backend=static",
            f"--master-addr={self.head_address}",
            f"--master-port={self.port}",
            f"--local-addr={self.own_address}",
            f"--rdzv-id={self.meeting}",
        ]

    def environment(self) -> dict[str, str]:
        """Return what keeps the collectives on the interface that leads to the others."""
        interface = interface_of(self.own_address)
        if interface is None:
            return {}
        return {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": f"={interface}"}

    def check_port(self) -> None:
        """Raise PortInUse if the head cannot listen where the others will look for it."""
        if self.node_rank != 0:
            return
        with socket.socket(_family(self.head_address)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", self.port))  # at every address, as torch does
                probe.listen()
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise PortInUse(f"port {self.port} of {self.head_address} is taken") from error
                raise


def interface_of(address: str) -> str | None:
    """Return the network interface with this address, None where no one has it."""
    wanted = ipaddress.ip_address(address)
    if wanted.is_loopback:
        return "lo"
    pairs = _ipv4_interfaces() if wanted.version == 4 else _ipv6_interfaces()
    return next((name for found, name in pairs if found == wanted), None)


def _ipv4_interfaces() -> Iterator[tuple[_Address, str]]:
    """Return each address, also those that are not an interface's first, with its interface."""
    room = array("B", bytes(MAX_ADDRESSES * _IFREQ_SIZE))
    request = bytearray(struct.pack("iP", len(room), room.buffer_info()[0]))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, _SIOCGIFCONF, request)
    num_bytes, _ = struct.unpack("iP", request)
    for start in range(0, num_bytes, _IFREQ_SIZE):
        entry = room[start : start + _IFREQ_SIZE].tobytes()
        label = entry[:16].rstrip(b"\0").decode()
        yield ipaddress.IPv4Address(entry[20:24]), label.partition(":")[0]


def _ipv6_interfaces() -> Iterator[tuple[_Address, str]]:
    try:
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
    except FileNotFoundError:  # the kernel has none
        return
    for line in lines:
        digits, *_, name = line.split()
        yield ipaddress.IPv6Address(bytes.fromhex(digits)), name


def _family(address: str) -> socket.AddressFamily:
    version = ipaddress.ip_address(address).version
    return socket.AF_INET if version == 4 else socket.AF_INET6
