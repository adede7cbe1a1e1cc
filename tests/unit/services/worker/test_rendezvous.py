"""Where the nodes of an attempt meet."""

import socket

import pytest

from services.worker.trainer.rendezvous import Gang, PortInUse, interface_of


def gang(port, *, node_rank=0):
    return Gang(2, node_rank, "127.0.0.2", "127.0.0.2", port, "att_1-7")


@pytest.fixture
def listener():
    with socket.socket() as taken:
        taken.bind(("127.0.0.3", 0))
        taken.listen()
        yield taken


def test_port_that_is_taken_at_another_address_of_the_node_is_in_use(listener):
    port = listener.getsockname()[1]
    with pytest.raises(PortInUse, match=str(port)):
        gang(port).check_port()


def test_port_is_looked_at_by_the_head_only(listener):
    gang(listener.getsockname()[1], node_rank=1).check_port()


def test_port_that_nobody_has_is_free(listener):
    port = listener.getsockname()[1]
    listener.close()
    gang(port).check_port()


def test_nodes_of_another_attempt_do_not_meet_these():
    assert "--rdzv-id=att_1-7" in gang(29500).torchrun_options()


def test_address_that_this_machine_has_not_has_no_interface():
    assert interface_of("192.0.2.1") is None
    assert interface_of("2001:db8::1") is None


def test_every_address_of_the_loopback_network_is_on_the_loopback_interface():
    assert interface_of("127.0.0.7") == interface_of("::1") == "lo"
