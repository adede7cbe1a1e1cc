"""How programs end: the reason and the message of an error, and the device that was promised."""

import errno

import pytest
import torch

from nvae_core.checkpoint import CheckpointCorrupt
from nvae_core.config import EvaluateConfig, TrainConfig
from nvae_core.data.errors import InvalidDataset
from nvae_core.distributed import NoGPU, RanksMissing, choose_device
from nvae_core.estimate import estimate
from nvae_core.run_directory import ExitReason, InvalidRunDirectory, Result, RunDirectory
from nvae_core.runtime import errors
from nvae_core.runtime.errors import GIB, Memory, describe, reason_for
from nvae_core.runtime.program import carry_out, describe_device

ADVICE = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the "
    "stacktrace below might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)
NCCL = "NCCL error in: ../torch/csrc/distributed/c10d/NCCLUtils.hpp:268, "
MUCH, LITTLE = Memory(20 * GIB, 80 * GIB), Memory(GIB // 10, 80 * GIB)
ABORTED = (
    "NCCL communicator was aborted on rank 2.  Original reason for failure was: "
    "[Rank 2] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=10, OpType=BROADCAST, "
    "Timeout(ms)=1800000) ran for 1805457 milliseconds before timing out."
)

OUT_OF_MEMORY = [
    torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 10.01 GiB. GPU 0 has a total capacity of 14.75 GiB "
        "of which 4.39 GiB is free."
    ),
    MemoryError("std::bad_alloc"),
    RuntimeError("CUDA out of memory. Tried to allocate 16.00 GiB (GPU 0; 11.93 GiB total)"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    torch.AcceleratorError(
        "CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation' in https://docs."
        f"nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html{ADVICE}"
    ),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    torch.distributed.DistBackendError(
        f"{NCCL}unhandled cuda error (run with NCCL_DEBUG=INFO for details), NCCL version 2.20.5\n"
        "ncclUnhandledCudaError: Call to CUDA function failed.\nLast error:\n"
        "Cuda failure 2 'out of memory'"
    ),
    torch.distributed.DistBackendError(
        f"{NCCL}unhandled cuda error, NCCL version 2.21.5\nncclUnhandledCudaError: Call to CUDA "
        "function failed.\nLast error:\nFailed to CUDA calloc 6291456 bytes"
    ),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:116] err == 0. DefaultCPUAllocator: can't allocate "
        "memory: you tried to allocate 400000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    RuntimeError("std::bad_alloc"),
]
DEVICE_ERROR = [
    torch.AcceleratorError(f"CUDA error: an illegal memory access was encountered{ADVICE}"),
    torch.AcceleratorError(f"CUDA error: an illegal instruction was encountered{ADVICE}"),
    torch.AcceleratorError(f"CUDA error: misaligned address{ADVICE}"),
    torch.AcceleratorError(f"CUDA error: unspecified launch failure{ADVICE}"),
    torch.AcceleratorError(f"CUDA error: the launch timed out and was terminated{ADVICE}"),
    torch.AcceleratorError(f"CUDA error: hardware stack error{ADVICE}"),
    torch.AcceleratorError(
        "CUDA error: Invalid access of peer GPU memory over nvlink or a hardware error"
    ),
    torch.AcceleratorError(f"CUDA error: uncorrectable ECC error encountered{ADVICE}"),
    RuntimeError("CUDA error: uncorrectable NVLink error detected during the execution"),
    RuntimeError("Unable to determine the device handle for GPU 0000:03:00.0: GPU is lost."),
    RuntimeError("NVRM: Xid (PCI:0000:03:00): 79, GPU has fallen off the bus."),
    RuntimeError(f"CUDA error: CUDA-capable device(s) is/are busy or unavailable{ADVICE}"),
    RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable"),
    RuntimeError(f"CUDA error: no kernel image is available for execution on the device{ADVICE}"),
    RuntimeError("CUDA driver initialization failed, you might not have a CUDA gpu."),
    RuntimeError(
        "CUDA unknown error - this may be due to an incorrectly set up environment, e.g. changing "
        "env variable CUDA_VISIBLE_DEVICES after program start. Setting the available devices to "
        "be zero."
    ),
    RuntimeError("CUDA error: unknown error"),
    RuntimeError("CUDA error: initialization error"),
    RuntimeError("CUDA error: system not yet initialized"),
    RuntimeError(
        "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before "
        "calling NumCudaDevices() that might have already set an error? Error 804: forward "
        "compatibility was attempted on non supported HW"
    ),
    RuntimeError("CUDA error: the provided PTX was compiled with an unsupported toolchain."),
    RuntimeError(
        "The NVIDIA driver on your system is too old (found version 11040). Please update your "
        "GPU driver"
    ),
    RuntimeError("CUDA driver version is insufficient for CUDA runtime version"),
    RuntimeError("NVML_SUCCESS == r INTERNAL ASSERT FAILED at CUDACachingAllocator.cpp:838"),
    RuntimeError("Failed to initialize NVML: Driver/library version mismatch"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    torch.distributed.DistBackendError(
        f"{NCCL}unhandled cuda error, NCCL version 2.27.5\nncclUnhandledCudaError: Call to CUDA "
        "function failed.\nLast error:\nCuda failure 999 'unknown error'"
    ),
    torch.distributed.DistBackendError(
        "NCCL communicator was aborted on rank 0.  Original reason for failure was: CUDA error: "
        "uncorrectable ECC error encountered"
    ),
]
PEER_LOST = [
    RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer"),
    RuntimeError(ABORTED),
    torch.distributed.DistBackendError(ABORTED),
    torch.distributed.DistBackendError(
        f"{NCCL}remote process exited or there was a network error, NCCL version 2.21.5\n"
        "ncclRemoteError: A call failed possibly due to a network error or a remote process "
        "exiting prematurely.\nLast error:\nsocketProgressOpt: Call to recv from 172.16.0.1<33759>"
        " failed : Connection reset by peer"
    ),
    RuntimeError("NCCL error: socketProgress: Connection closed by remote peer node2<42830>"),
    torch.distributed.DistBackendError(f"{NCCL}internal error, NCCL version 2.17.1"),
]
OTHERS = [
    (ValueError("anything"), ExitReason.TRAINER_CRASHED),
    (ValueError("about being out of memory"), ExitReason.TRAINER_CRASHED),
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ExitReason.TRAINER_CRASHED),
    (
        torch.AcceleratorError(f"CUDA error: device-side assert triggered{ADVICE}"),
        ExitReason.TRAINER_CRASHED,
    ),
    (
        torch.distributed.DistBackendError(
            f"{NCCL}invalid usage, NCCL version 2.17.1\nncclInvalidUsage: This usually reflects "
            "invalid usage of NCCL library.\nLast error:\nDuplicate GPU detected : rank 1 and 0"
        ),
        ExitReason.TRAINER_CRASHED,
    ),
    (RuntimeError("No CUDA GPUs are available"), ExitReason.GPU_UNAVAILABLE),
    (RuntimeError("CUDA error: no CUDA-capable device is detected"), ExitReason.GPU_UNAVAILABLE),
    (RuntimeError("CUDA error: invalid device ordinal"), ExitReason.GPU_UNAVAILABLE),
    (OSError(errno.ENOSPC, "No space left on device"), ExitReason.DISK_FULL),
    (NoGPU("none"), ExitReason.GPU_UNAVAILABLE),
    (RanksMissing("gloo: Connection closed by peer"), ExitReason.RENDEZVOUS_TIMEOUT),
    (InvalidRunDirectory("config.json"), ExitReason.INVALID_CONFIG),
    (InvalidDataset("train.npy"), ExitReason.INVALID_DATASET),
    (CheckpointCorrupt("model.safetensors"), ExitReason.CHECKPOINT_CORRUPT),
]
TABLE = [
    *((error, ExitReason.OUT_OF_MEMORY) for error in OUT_OF_MEMORY),
    *((error, ExitReason.DEVICE_ERROR) for error in DEVICE_ERROR),
    *((error, ExitReason.PEER_LOST) for error in PEER_LOST),
    *OTHERS,
]


@pytest.mark.parametrize(
    ("error", "reason"), TABLE, ids=[f"{reason}-{str(error)[:50]}" for error, reason in TABLE]
)
def test_error_has_the_reason_that_its_text_says(error: Exception, reason: ExitReason) -> None:
    assert reason_for(error, MUCH) == reason
    assert reason_for(error, None) == reason


@pytest.mark.parametrize("status", ["NOT_INITIALIZED", "INTERNAL_ERROR"])
@pytest.mark.parametrize("library", ["CUDNN", "CUBLAS"])
def test_handle_that_fails_lacked_memory_where_little_is_free(library: str, status: str) -> None:
    error = RuntimeError(f"{library} error: {library}_STATUS_{status}")
    assert reason_for(error, LITTLE) == ExitReason.OUT_OF_MEMORY
    assert reason_for(error, MUCH) == ExitReason.DEVICE_ERROR
    assert reason_for(error, None) == ExitReason.DEVICE_ERROR


def test_message_of_a_lack_of_memory_has_the_estimate_beside_it(train_config: TrainConfig) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory.")
    num_bytes = estimate(train_config.model).training_bytes(train_config.optimization.batch_size)
    assert describe(error, ExitReason.OUT_OF_MEMORY, LITTLE, train_config) == (
        f"CUDA out of memory.; the estimate for this batch is {num_bytes / GIB:.1f} GiB per rank; "
        "0.1 GiB of 80.0 are free"
    )


@pytest.mark.parametrize("config", [None, EvaluateConfig(checkpoint="c", dataset="d")])
def test_message_has_no_estimate_where_nothing_is_trained(config: EvaluateConfig | None) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory.")
    message = describe(error, ExitReason.OUT_OF_MEMORY, MUCH, config)
    assert message == "CUDA out of memory.; 20.0 GiB of 80.0 are free"
    assert describe(error, ExitReason.OUT_OF_MEMORY, None, config) == "CUDA out of memory."


def test_message_says_that_torch_was_built_for_other_gpus() -> None:
    error = RuntimeError("CUDA error: no kernel image is available for execution on the device")
    message = describe(error, ExitReason.DEVICE_ERROR, MUCH, None)
    assert f"torch {torch.__version__}, built for CUDA" in message
    assert "does not fit this GPU" in message


def test_lost_rank_is_said_to_be_another_one() -> None:
    message = describe(RuntimeError(ABORTED), ExitReason.PEER_LOST, MUCH, None)
    assert message == f"another rank ended or does not answer, its log may say why: {ABORTED}"


def test_memory_of_this_machine_is_measured() -> None:
    memory = errors.measure_memory()
    assert memory is not None
    assert 0 < memory.free_bytes <= memory.total_bytes


def test_lack_of_memory_is_in_the_result_with_its_estimate(run: RunDirectory) -> None:
    def work(config: TrainConfig, run: RunDirectory) -> Result:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    result = carry_out(run, TrainConfig, work)
    assert result.reason == ExitReason.OUT_OF_MEMORY
    assert result.message is not None
    assert "CUDA out of memory.; the estimate for this batch is" in result.message


class TooHot(ArithmeticError):
    pass


def test_program_has_reasons_of_its_own(run: RunDirectory) -> None:
    def work(config: TrainConfig, run: RunDirectory) -> Result:
        raise TooHot("77 degrees")

    result = carry_out(run, TrainConfig, work, reasons={TooHot: ExitReason.NON_FINITE_LOSS})
    assert result == run.read_result()
    assert (result.reason, result.message) == (ExitReason.NON_FINITE_LOSS, "77 degrees")
    assert carry_out(run, TrainConfig, work).reason == ExitReason.TRAINER_CRASHED


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("without_gpu")
def test_gpu_that_was_promised_and_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVAE_DEVICE", "cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1")
    with pytest.raises(NoGPU) as caught:
        choose_device()
    message = str(caught.value)
    assert f"torch {torch.__version__} " in message
    assert str(torch.version.cuda or "without CUDA") in message
    assert "sees no GPU; CUDA_VISIBLE_DEVICES is 'GPU-1'" in message


@pytest.mark.usefixtures("without_gpu")
def test_cpu_is_chosen_where_nothing_is_promised_and_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NVAE_DEVICE", raising=False)
    assert choose_device() == torch.device("cpu")


def test_gpu_is_left_alone_where_the_cpu_was_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("NVAE_DEVICE", "cpu")
    assert choose_device() == torch.device("cpu")


def test_rank_without_a_gpu_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(
        NoGPU, match=r"local rank 2, .* sees 2 GPUs; CUDA_VISIBLE_DEVICES is not set"
    ):
        choose_device()


def test_device_of_another_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVAE_DEVICE", "gpu")
    with pytest.raises(ValueError, match="NVAE_DEVICE: is 'gpu'"):
        choose_device()


def test_cpu_is_described_without_cuda() -> None:
    described = describe_device(torch.device("cpu"))
    assert described == {"device": "cpu", "torch": torch.__version__, "cuda": None}


def test_gpu_is_described_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    described = describe_device(torch.device("cuda", 0))
    assert (described["device"], described["cuda"]) == ("NVIDIA H100 80GB HBM3", "13.0")
