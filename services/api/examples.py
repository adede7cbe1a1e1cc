"""Examples for the API's own documentation, by the name of the schema or the parameter."""

from typing import Any

_TAIL = "019c5f0a4c7e7d8fa1b2c3d4e5f60718"
JOB, CHECKPOINT, DATASET = f"job_{_TAIL}", f"ckpt_{_TAIL}", f"ds_{_TAIL}"
NODE, KEY, ATTEMPT, ARTIFACT = f"node_{_TAIL}", f"key_{_TAIL}", f"att_{_TAIL}", f"art_{_TAIL}"
_AT, _LATER = "2026-02-15T09:00:00Z", "2026-02-15T21:30:00Z"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_SPEC = {"kind": "train", "preset": "cifar10", "dataset": "cifar10", "resources": {"slots": 8}}
_DEVICE = {"name": "NVIDIA H200", "torch": "2.13.0+cu130", "cuda": "13.0"}
_JOB = {
    "id": JOB,
    "project": "default",
    "kind": "train",
    "name": "cifar10 baseline",
    "status": "running",
    "reason": None,
    "message": None,
    "spec": _SPEC,
    "tags": {"team": "vision"},
    "priority": 50,
    "queue_position": None,
    "num_nodes": 1,
    "num_slots": 8,
    "parent_id": None,
    "progress": {"step": 12000, "num_steps": 62500},
    "latest_metrics": {"loss": 6120.4, "bits_per_dim": 3.12},
    "num_parameters": 131_000_000,
    "device": _DEVICE,
    "result": None,
    "num_attempts": 1,
    "max_run_seconds": None,
    "run_seconds": 0.0,
    "dataset_id": DATASET,
    "checkpoint_id": None,
    "created_at": _AT,
    "started_at": _AT,
    "finished_at": None,
}
_FILE = {"name": "model.safetensors", "size_bytes": 524_000_000, "sha256": _SHA256}
_DATASET = {
    "id": DATASET,
    "name": "cifar10",
    "status": "ready",
    "message": None,
    "source": {"kind": "cifar10", "path": "cifar-10-python.tar.gz"},
    "content_hash": _SHA256,
    "description": {"height": 32, "width": 32, "num_colors": 3},
    "created_at": _AT,
}
_KEY = {
    "id": KEY,
    "name": "ci",
    "project": "vision",
    "scopes": ["submit"],
    "hint": "…x3Qk",
    "created_at": _AT,
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": _LATER,
}
OF_PARAMETERS: dict[str, object] = {
    "job_id": JOB,
    "checkpoint_id": CHECKPOINT,
    "name_or_id": "cifar10",
    "node_id": NODE,
    "key_id": KEY,
    "Idempotency-Key": "5e0c6f2a-nightly-2026-02-15",
}
OF_SCHEMAS: dict[str, Any] = {
    "JobResource": _JOB,
    "JobPage": {"jobs": [_JOB], "next_cursor": None},
    "JobChanges": {"priority": 80, "tags": {"team": "vision", "stage": "final"}},
    "CancelOptions": {"force": True},
    "ForkOptions": {"overrides": {"optimization.epochs": 400}, "name": "longer"},
    "AttemptResource": {
        "id": ATTEMPT,
        "number": 1,
        "node_ids": [NODE],
        "status": "running",
        "stop_reason": None,
        "reason": None,
        "message": None,
        "failed_node_id": None,
        "device": _DEVICE,
        "created_at": _AT,
        "started_at": _AT,
        "finished_at": None,
    },
    "EventResource": {
        "number": 4,
        "type": "checkpoint",
        "data": {"checkpoint": CHECKPOINT, "step": 1000, "attempt": 1},
        "at": _AT,
    },
    "MetricSeries": {"steps": [10, 20, 30], "values": [7321.5, 6950.2, "NaN"]},
    "ArtifactResource": {
        "id": ARTIFACT,
        "name": "grid.png",
        "size_bytes": 181_234,
        "sha256": _SHA256,
        "content_type": "image/png",
        "step": 12000,
        "created_at": _AT,
    },
    "CheckpointResource": {
        "id": CHECKPOINT,
        "job_id": JOB,
        "step": 12000,
        "status": "committed",
        "pinned": False,
        "size_bytes": 524_000_000,
        "files": [_FILE],
        "created_at": _AT,
    },
    "DatasetSpec": {"name": "digits", "source": {"kind": "bundled", "name": "mnist_5k"}},
    "DatasetResource": _DATASET,
    "DatasetRegistration": {"dataset": _DATASET | {"status": "preparing"}, "job": _JOB},
    "PresetResource": {
        "name": "cifar10",
        "description": "CIFAR-10 of Table 6",
        "model": {"image_size": 32, "num_colors": 3},
        "optimization": {"epochs": 400, "batch_size": 32},
    },
    "NodeResource": {
        "id": NODE,
        "name": "gpu-07",
        "alive": True,
        "cordoned": False,
        "address": "10.0.0.7",
        "labels": {"gpu": "v100"},
        "memory_bytes": 540_000_000_000,
        "slot_kind": "gpu",
        "num_slots": 8,
        "num_free_slots": 0,
        "version": "0.1.0",
        "usable": True,
        "lease_expires_at": _AT,
    },
    "CheckpointImport": {
        "name": "the paper's CIFAR-10",
        "source": {"kind": "published", "path": "checkpoints/cifar10.pt"},
    },
    "KeyOptions": {"name": "ci", "project": "vision", "scopes": ["submit"]},
    "KeyResource": _KEY,
    "NewKeyResource": _KEY | {"key": "nvae_" + 38 * "0" + "…x3Qk"},
    "Plan": {
        "valid": False,
        "problems": [
            {"pointer": "/resources/slots", "message": "asks for 16, and the largest node has 8"}
        ],
        "num_ranks": 16,
        "training": None,
    },
    "Problem": {
        "type": "about:blank",
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "/dataset: there is no data set 'cifar'",
        "code": "invalid_spec",
        "request_id": "req_3f2a9c",
        "errors": [{"pointer": "/dataset", "message": "there is no data set 'cifar'"}],
    },
}
JOB_EXAMPLES: Any = {
    "train": {
        "summary": "Train a preset",
        "value": {
            "kind": "train",
            "name": "cifar10 baseline",
            "preset": "cifar10",
            "dataset": "cifar10",
            "overrides": {"optimization.epochs": 200},
            "resources": {"slots": 8},
            "tags": {"team": "vision"},
        },
    },
    "evaluate": {
        "summary": "Estimate the likelihood of a checkpoint",
        "value": {"kind": "evaluate", "checkpoint": CHECKPOINT, "dataset": "cifar10"},
    },
    "sample": {
        "summary": "Draw 64 images",
        "value": {"kind": "sample", "checkpoint": CHECKPOINT, "temperature": 0.8},
    },
    "nearest images": {
        "summary": "Find the training images nearest to samples",
        "value": {
            "kind": "analyze",
            "analysis": "nearest_images",
            "checkpoint": CHECKPOINT,
            "dataset": "cifar10",
        },
    },
    "training curves": {
        "summary": "Compare trainings",
        "value": {"kind": "analyze", "analysis": "training_curves", "jobs": [JOB]},
    },
}
