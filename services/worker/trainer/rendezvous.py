"""The nodes of one attempt: where they meet, and over which interface they talk."""

import errno
import ipaddress
import socket
from dataclasses import dataclass

import psutil


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
    if ipaddress.ip_address(address).is_loopback:
        return "lo"
    for name, addresses in psutil.net_if_addrs().items():
        if any(known.address.partition("%")[0] == address for known in addresses):
            return name.partition(":")[0]  # without the label of a further address
    return None


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
