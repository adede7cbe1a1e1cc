"""Typed settings from the environment, one class per concern; the only place that reads it."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, IPvAnyAddress, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.domain.specs import Labels


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
    # Where clients cannot reach the store, files go through the API.
    downloads: Literal["redirect", "proxy"] = "redirect"


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
    # While Postgres is away nobody can take a job over, so its runners go on for this long.
    outage_grace_seconds: Annotated[float, Field(ge=0)] = 600.0

    @property
    def renew_seconds(self) -> float:
        """Interval of renewals: two may fail before the lease is lost."""
        return self.seconds / 3


class ApiSettings(BaseSettings):
    """Where the API listens."""

    model_config = SettingsConfigDict(env_prefix="NVAE_API_", frozen=True)

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    requests_per_minute: Annotated[int, Field(ge=1)] = 60_000  # of one key


class BootstrapSettings(BaseSettings):
    """The first API key."""

    model_config = SettingsConfigDict(env_prefix="NVAE_API_", frozen=True)

    bootstrap_key: Annotated[SecretStr, Field(min_length=32, max_length=200)]


class SchedulerSettings(BaseSettings):
    """Pace of the scheduler."""

    model_config = SettingsConfigDict(env_prefix="NVAE_SCHEDULER_", frozen=True)

    tick_seconds: Annotated[float, Field(gt=0)] = 1.0
    claim_timeout_seconds: Annotated[float, Field(gt=0)] = 60.0  # placed, and nobody claims
    # Since the first node of a gang was ready; longer than a runner waits for a store that is away.
    ready_timeout_seconds: Annotated[float, Field(gt=0)] = 1000.0
    first_port: Annotated[int, Field(ge=1024, le=65535)] = 29_500  # where gangs meet
    num_ports: Annotated[int, Field(ge=1)] = 500

    @property
    def ports(self) -> range:
        """The ports of rank 0's node at which the nodes of a gang may meet."""
        return range(self.first_port, min(self.first_port + self.num_ports, 65536))


class CollectionSettings(BaseSettings):
    """What is deleted from the store when nobody needs it, and how much of it at once."""

    model_config = SettingsConfigDict(env_prefix="NVAE_COLLECTION_", frozen=True)

    every_seconds: Annotated[float, Field(gt=0)] = 600.0
    # Superseded and corrupt checkpoints, and what attempts that ended left unnamed, stay so long.
    grace_seconds: Annotated[float, Field(ge=0)] = 86_400.0
    max_checkpoints: Annotated[int, Field(ge=1)] = 200  # deleted in one run
    max_objects: Annotated[int, Field(ge=1)] = 100_000  # looked at in one run
    keep_logs_seconds: Annotated[float, Field(gt=0)] = 30 * 86_400.0  # since the attempt ended


CUDA_VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"


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
    # CUDA's own variable: the GPUs that the operator leaves to this worker; none: all.
    cuda_visible_devices: Annotated[str | None, Field(validation_alias=CUDA_VISIBLE_DEVICES)] = None
    address: IPvAnyAddress | None = None  # for the other nodes; none: as Postgres sees this one
    labels: Labels = {}  # JSON; jobs can ask for them
    # JSON; in place of torchrun and its program, with the run directory behind it.
    trainer_command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    poll_seconds: Annotated[float, Field(gt=0)] = 3.0
    stop_grace_seconds: Annotated[float, Field(gt=0)] = 60.0
    stall_seconds: Annotated[float, Field(gt=0)] = 60.0  # of a step; or ten times the median
    phase_stall_seconds: Annotated[float, Field(gt=0)] = 1800.0  # of any other phase
    # Of the data sets and checkpoints that are kept for the next attempt; none: half of the disk.
    cache_bytes: Annotated[int, Field(ge=1)] | None = None
    # Of a run directory, for each of its slots; none: the slots share half of the disk.
    run_bytes_per_slot: Annotated[int, Field(ge=1)] | None = None
    # Of the models that stay loaded for sampling, on the cores or on each GPU; 0: none stays.
    sampler_bytes: Annotated[int, Field(ge=0)] = 2 * 10**9
    sampler_idle_seconds: Annotated[float, Field(gt=0)] = 900.0  # after which it ends
    # Logs of attempts that have ended: the newest, unless they are too old.
    keep_attempts: Annotated[int, Field(ge=1)] = 200
    keep_attempts_seconds: Annotated[float, Field(gt=0)] = 7 * 86_400.0


class TracingSettings(BaseSettings):
    """Whether traces are sent; where to, OpenTelemetry's own variables say."""

    model_config = SettingsConfigDict(env_prefix="NVAE_", frozen=True)

    tracing: bool = False


class ContainerSettings(BaseSettings):
    """How a container finds the node that it is."""

    model_config = SettingsConfigDict(env_prefix="NVAE_CONTAINER_", frozen=True)

    # Shared by the containers of a machine, which take a folder each; none: the worker's settings
    # name the node and its folder.
    nodes_folder: Path | None = None
    node_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,57}$")] = "node"


class BuildSettings(BaseSettings):
    """What an image was built as."""

    model_config = SettingsConfigDict(env_prefix="NVAE_", frozen=True)

    version: str | None = None  # none: that of the package


class LocalSettings(BaseSettings):
    """Set by the embedded stack: a file that stays locked for as long as the stack lives."""

    model_config = SettingsConfigDict(env_prefix="NVAE_", frozen=True)

    parent_lock: Path | None = None
