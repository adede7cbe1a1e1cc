"""The way in: one object that holds the connection, and what there is behind it."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

import httpx

from nvae_client._transport import (
    RetryPolicy,
    Timing,
    Transport,
    choose_address,
    new_idempotency_key,
)
from nvae_client.resources import Checkpoints, Datasets, Jobs, Keys, Nodes, Presets


class NvaeClient:
    """Talks to one service; use it in a `with` block, or close it.

    Attributes:
        jobs: submit, plan and find jobs.
        datasets: register and find data sets.
        checkpoints: find and import checkpoints.
        presets: the named configurations.
        nodes: the machines that run jobs.
        keys: API keys.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_seconds: float = 30.0,
        retry: RetryPolicy | None = None,
        timing: Timing | None = None,
        new_idempotency_key: Callable[[], str] = new_idempotency_key,
    ) -> None:
        """Prepare a connection; nothing is sent yet.

        Args:
            url: of the service; None: `NVAE_API_URL`, or else the local stack.
            api_key: None: `NVAE_API_KEY`.
            timeout_seconds: for connecting, and for each answer beyond what it may wait.
            retry: how long requests are tried, and how often.
            timing: clock, sleep and randomness.
            new_idempotency_key: makes the key of each POST that was given none.

        Raises:
            ValueError: the URL or the key cannot be one.
        """
        self.url, api_key = choose_address(url, api_key)
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout_seconds)
        transport = Transport(
            self._http,
            policy=retry or RetryPolicy(),
            timing=timing or Timing(),
            new_key=new_idempotency_key,
        )
        self.jobs = Jobs(transport)
        self.datasets = Datasets(transport)
        self.checkpoints = Checkpoints(transport)
        self.presets = Presets(transport)
        self.nodes = Nodes(transport)
        self.keys = Keys(transport)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
