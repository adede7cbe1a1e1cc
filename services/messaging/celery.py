"""The doorbell: Celery messages that tell a node to look at Postgres, and carry nothing else."""

from collections.abc import Callable

from celery import Celery
from kombu.entity import Queue
from kombu.exceptions import OperationalError

from services.settings import BrokerSettings

DOORBELL = "nvae.doorbell"


def _make_app(settings: BrokerSettings) -> Celery:
    app = Celery("nvae", broker=settings.url.get_secret_value())
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_default_delivery_mode="transient",
        worker_disable_prefetch=True,  # a prefetched message is redelivered after the time-out
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": 60,
            "max_retries": 0,  # of one ring; the worker's own connection is tried for ever
            "socket_connect_timeout": 2,
            "socket_timeout": 5,
        },
    )
    return app


def _queue_name(node_id: str) -> str:
    return f"doorbell.{node_id}"


class BrokerUnavailable(Exception):
    """The broker is away; nodes poll Postgres anyway."""


class DoorbellPublisher:
    """Rings nodes."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._app = _make_app(settings)

    def ring(self, node_id: str) -> None:
        """Tell the node to look at Postgres; raises BrokerUnavailable instead of retrying."""
        try:
            self._app.send_task(
                DOORBELL, args=[node_id], queue=_queue_name(node_id), expires=60, retry=False
            )
        except (OperationalError, OSError) as error:
            raise BrokerUnavailable(str(error)) from error

    def check(self) -> None:
        """Raise unless the broker answers."""
        with self._app.connection_for_write(transport_options={"max_retries": 0}) as connection:
            connection.ensure_connection(max_retries=1, timeout=2)

    def close(self) -> None:
        """Close the connections to the broker."""
        self._app.close()


def answer_doorbell(settings: BrokerSettings, node_id: str, on_ring: Callable[[], None]) -> None:
    """Call `on_ring` for every doorbell of this node, in this process, until SIGTERM or SIGINT.

    The solo pool keeps everything in one process: the work behind a ring takes milliseconds, and
    neither a prefork child nor its daemonic limits get between the worker and its runners.
    """
    app = _make_app(settings)
    app.conf.task_queues = [Queue(_queue_name(node_id), expires=3600.0)]  # type: ignore[no-untyped-call]

    @app.task(name=DOORBELL)  # type: ignore[untyped-decorator]
    def doorbell(rung_node_id: str) -> None:
        if rung_node_id == node_id:
            on_ring()

    app.Worker(
        pool="solo",
        hostname=f"nvae@{node_id}",
        loglevel="WARNING",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    ).start()
