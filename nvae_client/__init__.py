"""Python client of the service, over HTTP only."""

from nvae_client.client import ChecksumMismatch, JobFailed, NvaeClient, ServiceError

__all__ = ["ChecksumMismatch", "JobFailed", "NvaeClient", "ServiceError"]
