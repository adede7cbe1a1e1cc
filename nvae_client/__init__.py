"""Python client of the service, over HTTP only."""

from nvae_client.answers import ApiKey, Attempt, Dataset, Event, LogText, Node, Preset
from nvae_client.client import NvaeClient
from nvae_client.errors import (
    ChecksumMismatch,
    JobFailed,
    NvaeError,
    ServiceError,
    ServiceUnreachable,
)
from nvae_client.files import Artifact, Checkpoint
from nvae_client.job import Job
from nvae_client.metrics import Columns
from nvae_client.plans import Plan
from nvae_client.retrying import RetryPolicy, Timing

__all__ = [
    "ApiKey",
    "Artifact",
    "Attempt",
    "Checkpoint",
    "ChecksumMismatch",
    "Columns",
    "Dataset",
    "Event",
    "Job",
    "JobFailed",
    "LogText",
    "Node",
    "NvaeClient",
    "NvaeError",
    "Plan",
    "Preset",
    "RetryPolicy",
    "ServiceError",
    "ServiceUnreachable",
    "Timing",
]
