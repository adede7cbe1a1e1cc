"""Typed settings from the environment, one class per concern; the only place that reads it."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class DatabaseSettings(BaseSettings):
    """Where Postgres is."""

    model_config = SettingsConfigDict(env_prefix="NVAE_DATABASE_", frozen=True)

    url: SecretStr  # postgresql+psycopg://user:password@host:port/name
    pool_size: Annotated[int, Field(ge=1)] = 10


class BrokerSettings(BaseSettings):
    """Where Valkey or Redis is."""

    model_config = SettingsConfigDict(env_prefix="NVAE_BROKER_", frozen=True)

    url: SecretStr  # redis://:password@host:port/0


class StorageSettings(BaseSettings):
    """The S3-compatible store; the public endpoint is the one that clients can reach."""

    model_config = SettingsConfigDict(env_prefix="NVAE_S3_", frozen=True)

    endpoint_url: str | None = None  # none: AWS
    public_endpoint_url: str | None = None  # none: as endpoint_url
    bucket: str
    access_key: str
    secret_key: SecretStr
    region: str = "us-east-1"
    presigned_url_seconds: Annotated[int, Field(ge=1)] = 3600


class SourceSettings(BaseSettings):
    """Where in S3 the sources of data sets may lie."""

    model_config = SettingsConfigDict(env_prefix="NVAE_SOURCES_", frozen=True)

    # A JSON list; none: `datasets/` in the service's own bucket.
    s3_prefixes: tuple[Annotated[str, Field(pattern=r"^s3://[^/]+/(.*/)?$")], ...] | None = None

    def allowed(self, own_bucket: str) -> tuple[str, ...]:
        """Return the prefixes below which sources may lie."""
        return (f"s3://{own_bucket}/datasets/",) if self.s3_prefixes is None else self.s3_prefixes


class LeaseSettings(BaseSettings):
    """How long a node or a runner may be silent before it counts as lost."""

    model_config = SettingsConfigDict(env_prefix="NVAE_LEASE_", frozen=True)

    seconds: Annotated[float, Field(gt=0)] = 30.0

    @property
    def renew_seconds(self) -> float:
        """Interval of renewals: two may fail before the lease is lost."""
        return self.seconds / 3


class ApiSettings(BaseSettings):
    """Where the API listens."""

    model_config = SettingsConfigDict(env_prefix="NVAE_API_", frozen=True)

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000


class SchedulerSettings(BaseSettings):
    """Pace of the scheduler."""

    model_config = SettingsConfigDict(env_prefix="NVAE_SCHEDULER_", frozen=True)

    tick_seconds: Annotated[float, Field(gt=0)] = 1.0
    claim_timeout_seconds: Annotated[float, Field(gt=0)] = 60.0  # placed, and nobody claims


class WorkerSettings(BaseSettings):
    """What one node offers, and where it keeps its files."""

    model_config = SettingsConfigDict(env_prefix="NVAE_WORKER_", frozen=True)

    node_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    data_folder: Path
    datasets_folder: Path | None = None  # the root of sources on the node
    # What is copied from S3 for one data set.
    max_source_bytes: Annotated[int, Field(ge=1)] = 500 * 10**9
    max_source_files: Annotated[int, Field(ge=1)] = 1_000_000
    slots: Annotated[int, Field(ge=1)] | None = None  # none: GPUs, or cores where there are none
    address: str = "127.0.0.1"
    poll_seconds: Annotated[float, Field(gt=0)] = 3.0
    stop_grace_seconds: Annotated[float, Field(gt=0)] = 60.0


class LocalSettings(BaseSettings):
    """Set by the embedded stack: a file that stays locked for as long as the stack lives."""

    model_config = SettingsConfigDict(env_prefix="NVAE_", frozen=True)

    lifeline: Path | None = None
