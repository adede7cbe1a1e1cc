"""The nodes of one attempt: where they meet, and over which interface they talk."""

import errno
import fcntl
import ipaddress
import socket
import struct
from dataclasses import dataclass

_SIOCGIFADDR = 0x8915


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

    def torchrun_options(self) -> list[str]:
        """Return how torchrun finds the others: at rank 0's node, whose port is leased."""
        return [
            f"--nnodes={self.num_nodes}",
            f"--node-rank={self.node_rank}",
            "--rdzv-backend=static",
            f"--master-addr={self.head_address}",
            f"--master-port={self.port}",
            f"--local-addr={self.own_address}",
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
                probe.bind((self.head_address, self.port))
                probe.listen()
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise PortInUse(f"port {self.port} of {self.head_address} is taken") from error
                raise


def interface_of(address: str) -> str | None:
    """Return the network interface with this IPv4 address, None where it cannot be told."""
    if ipaddress.ip_address(address).is_loopback:
        return "lo"
    if _family(address) != socket.AF_INET:
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, request)
            except OSError:  # it has no IPv4 address
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return None


def _family(address: str) -> socket.AddressFamily:
    version = ipaddress.ip_address(address).version
    return socket.AF_INET if version == 4 else socket.AF_INET6
