"""Python client of the service, over HTTP only."""

from nvae_client._transport import RetryPolicy, Timing
from nvae_client.client import NvaeClient
from nvae_client.errors import ChecksumMismatch, NvaeError, ServiceError, ServiceUnreachable
from nvae_client.files import Artifact, Checkpoint
from nvae_client.job import Job, JobFailed
from nvae_client.models import (
    ApiKey,
    Attempt,
    Columns,
    Dataset,
    Event,
    LogText,
    Node,
    Plan,
    Preset,
)

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
