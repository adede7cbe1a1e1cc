"""What the service answers, as frozen values; unknown fields are left out."""

from datetime import datetime
from typing import Any, Self, TypedDict

import httpx
from pydantic import BaseModel, ConfigDict, PrivateAttr

from nvae_client._transport import Transport, read


class Answer(BaseModel):
    """Base of all of them."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Bound(Answer):
    """An answer that can be asked for more: it knows the service it came from."""

    _transport: Transport = PrivateAttr()

    @classmethod
    def of(cls, transport: Transport, content: httpx.Response | dict[str, Any]) -> Self:
        """Return the answer, bound to where it came from."""
        answer = read(cls, content) if isinstance(content, httpx.Response) else cls(**content)
        return answer.bind(transport)

    def bind(self, transport: Transport) -> Self:
        """Say where it came from."""
        self._transport = transport
        return self


class Progress(Answer):
    """How far a job is; for training a step is one optimizer update."""

    step: int | None = None
    num_steps: int | None = None


class Device(Answer):
    """What rank 0 of an attempt computes on."""

    name: str
    torch: str | None = None
    cuda: str | None = None


class Attempt(Answer):
    """One execution of a job."""

    id: str
    number: int
    node_ids: tuple[str, ...] = ()
    status: str
    reason: str | None = None
    message: str | None = None
    failed_node_id: str | None = None
    device: Device | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Event(Answer):
    """A stored fact about a job; numbers have no gaps."""

    number: int
    type: str
    data: dict[str, Any]
    at: datetime


class LogText(Answer):
    """A piece of the log of one rank; of a log that is not followed, all that was asked for."""

    attempt: int | None = None
    rank: int
    offset: int | None = None  # of its first byte
    text: str


class Dataset(Answer):
    """A registered data set; usable when its status is `ready`."""

    id: str
    name: str
    status: str
    message: str | None = None
    source: dict[str, Any]
    content_hash: str | None = None
    description: dict[str, Any] | None = None
    created_at: datetime


class Preset(Answer):
    """A named model and optimization."""

    name: str
    description: str
    model: dict[str, Any]
    optimization: dict[str, Any]


class Node(Answer):
    """A machine that runs jobs."""

    id: str
    name: str
    alive: bool
    cordoned: bool
    usable: bool = True
    address: str
    labels: dict[str, str] = {}
    memory_bytes: int | None = None
    slot_kind: str
    num_slots: int
    num_free_slots: int
    version: str = ""
    lease_expires_at: datetime


class ApiKey(Answer):
    """An API key; `key` itself is there only in the answer to its creation."""

    id: str
    name: str
    project: str | None = None
    scopes: tuple[str, ...]
    hint: str | None = None
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    key: str | None = None


class FieldProblem(Answer):
    """What is wrong with one field of a spec."""

    pointer: str
    message: str


class TrainingPlan(Answer):
    """What a training would take; `num_steps` is None where the data set is not known."""

    model: dict[str, Any]
    optimization: dict[str, Any]
    num_parameters: int
    num_steps: int | None = None
    memory_bytes_per_rank: int
    checkpoint_bytes: int
    num_checkpoints_kept: int


class Plan(Answer):
    """What a job would be: everything is checked, nothing stored."""

    valid: bool
    problems: tuple[FieldProblem, ...] = ()
    num_ranks: int
    training: TrainingPlan | None = None  # of one whose preset and overrides are right


class Columns(TypedDict):
    """One metric, ready for `pandas.DataFrame`."""

    step: list[int]
    value: list[float]


class Series(Answer):
    """One metric as the service sends it."""

    steps: list[int]
    values: list[float]  # "NaN" and "Infinity" are numbers too
