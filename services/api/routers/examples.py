"""Examples of jobs in the API's own documentation."""

from typing import Any

from services.api.schemas.examples import CHECKPOINT, JOB

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
