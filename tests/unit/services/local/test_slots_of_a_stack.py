"""A stack offers what the machine has, and its demo makes do with it."""

from datetime import UTC, datetime

import pytest
from gpu_stand_in import gpu_uuid, make_nvml

from nvae_client import Node
from services.local.demo import training_slots
from services.local.stack import ServiceOptions, service_environment
from services.settings import WorkerSettings
from services.worker.slots import take_inventory


@pytest.mark.parametrize(("chosen", "offered"), [(None, 1), (1, 1)])
def test_machine_with_one_gpu_and_more_cores_offers_the_gpu(tmp_path, monkeypatch, chosen, offered):
    options = ServiceOptions(api_port=8000, num_slots=chosen, datasets=None)
    for name, value in service_environment(tmp_path, options).items():
        monkeypatch.setenv(name, value)
    inventory = take_inventory(WorkerSettings(), nvml=make_nvml(gpu_uuid(0)))
    assert (inventory.kind, inventory.num_slots) == ("gpu", offered)


@pytest.mark.parametrize(("slots", "used"), [([1], 1), ([8], 2), ([1, 2], 2)])
def test_demo_trains_on_two_slots_or_on_the_one_there_is(slots, used):
    assert training_slots([node(num_slots=num_slots) for num_slots in slots]) == used


def node(*, num_slots):
    return Node(
        id="node_1",
        name="n",
        alive=True,
        cordoned=False,
        address="127.0.0.1",
        labels={},
        memory_bytes=None,
        slot_kind="gpu",
        num_slots=num_slots,
        num_free_slots=num_slots,
        version="0.1.0",
        usable=True,
        lease_expires_at=datetime.now(UTC),
    )
