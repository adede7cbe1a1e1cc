"""The real servers, for every integration test."""

from server_fixtures import database, doorbell, s3_client, servers, service_environment, storage

__all__ = ["database", "doorbell", "s3_client", "servers", "service_environment", "storage"]
