"""What is known of a job."""

from datetime import datetime
from typing import Any

from nvae_client.answers import Bound, Progress
from nvae_client.waiting import ENDED


class JobFacts(Bound):
    """Where a job is (status), why (reason, message), how far, and what came out."""

    id: str
    kind: str
    name: str | None = None
    status: str
    reason: str | None = None
    message: str | None = None
    spec: dict[str, Any]
    tags: dict[str, str] = {}
    priority: int
    queue_position: int | None = None
    num_nodes: int
    num_slots: int
    parent_id: str | None = None
    progress: Progress
    latest_metrics: dict[str, Any] | None = None
    num_parameters: int | None = None
    result: dict[str, Any] | None = None
    num_attempts: int
    max_run_seconds: float | None = None
    run_seconds: float = 0.0
    dataset_id: str | None = None
    checkpoint_id: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it will not change any more."""
        return self.status in ENDED
