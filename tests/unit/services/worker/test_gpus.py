"""What NVML says and CUDA_VISIBLE_DEVICES leaves becomes slots, whatever of it is broken."""

import pytest
from gpu_stand_in import gpu_uuid, make_nvml

from services.settings import WorkerSettings
from services.worker.slots import take_inventory

EIGHT = tuple(gpu_uuid(index) for index in range(8))
SLICED = ("GPU-a1", ("MIG-1", None, "MIG-3"))


def inventory(nvml, *, slots=None, visible=None, tmp_path="/nowhere"):
    settings = WorkerSettings(
        node_name="n", data_folder=tmp_path, slots=slots, CUDA_VISIBLE_DEVICES=visible
    )
    return take_inventory(settings, nvml=nvml)


@pytest.mark.parametrize(
    ("nvml", "devices", "num_faults"),
    [
        pytest.param(make_nvml(*EIGHT), EIGHT, 0, id="eight"),
        pytest.param(make_nvml(SLICED, "GPU-b"), ("MIG-1", "MIG-3", "GPU-b"), 0, id="mixed"),
        pytest.param(make_nvml(("GPU-a", ()), "GPU-b"), ("GPU-b",), 0, id="no slice was made"),
        pytest.param(make_nvml("GPU-a", "GpuIsLost", "GPU-c"), ("GPU-a", "GPU-c"), 1, id="lost"),
        pytest.param(make_nvml("NoPermission", "GPU-b"), ("GPU-b",), 0, id="hidden"),
        pytest.param(make_nvml("Unknown"), (), 1, id="the only one fails"),
        pytest.param(make_nvml(init="Unknown"), (), 1, id="driver fails"),
    ],
)
def test_each_device_that_answers_is_a_slot(nvml, devices, num_faults):
    taken = inventory(nvml)
    assert (taken.kind, taken.devices, taken.num_slots) == ("gpu", devices, len(devices))
    assert len(taken.faults) == num_faults


@pytest.mark.parametrize(
    "nvml",
    [
        pytest.param(make_nvml(init="LibraryNotFound"), id="no driver"),
        pytest.param(make_nvml(), id="no GPU"),
        pytest.param(make_nvml("NoPermission"), id="all hidden"),
    ],
)
def test_machine_without_gpus_offers_its_cores(nvml):
    taken = inventory(nvml, slots=3)
    assert (taken.kind, taken.num_slots, taken.devices, taken.faults) == ("cpu", 3, None, ())


@pytest.mark.parametrize(
    ("visible", "devices"),
    [
        ("2,0", ("GPU-c", "MIG-1", "MIG-3")),
        (" 1 , 2", ("GPU-bb", "GPU-c")),
        ("1,7,2", ("GPU-bb",)),
        ("1,-1,2", ("GPU-bb",)),
        ("1,,2", ("GPU-bb",)),
        ("1,1", ()),
        ("7", ()),
        ("GPU-bb,GPU-c", ("GPU-bb", "GPU-c")),
        ("GPU-b", ("GPU-bb",)),
        ("GPU-", ()),  # of several
        ("bb", ()),
        ("GPU-a1", ("MIG-1", "MIG-3")),
        ("MIG-3", ("MIG-3",)),
        ("MIG-3,GPU-gone,MIG-1", ("MIG-3",)),
        ("MIG-3,GPU-a", ()),  # twice
    ],
)
def test_operator_chooses_devices_by_the_rules_of_cuda(visible, devices):
    taken = inventory(make_nvml(SLICED, "GPU-bb", "GPU-c"), visible=visible)
    assert (taken.kind, taken.devices) == ("gpu", devices)


@pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles"])
def test_operator_who_hides_all_gpus_offers_cores(visible):
    assert inventory(make_nvml("GPU-a"), visible=visible).kind == "cpu"
    assert inventory(make_nvml(init="Unknown"), visible=visible).kind == "cpu"


def test_fault_names_the_entry_that_is_no_gpu():
    [fault] = inventory(make_nvml("GPU-a"), visible="0,x").faults
    assert "'x'" in fault


def test_fewer_may_be_offered_and_more_only_while_some_fail():
    assert inventory(make_nvml(*EIGHT), slots=2).devices == EIGHT[:2]
    assert inventory(make_nvml("GPU-a", "GpuIsLost"), slots=2).devices == ("GPU-a",)
    with pytest.raises(ValueError, match="NVAE_WORKER_SLOTS is 9, and there are 8 GPUs"):
        inventory(make_nvml(*EIGHT), slots=9)
