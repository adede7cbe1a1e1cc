"""The worker of one node: `python -m services.worker`."""

import fcntl
import time

from services.messaging.celery import answer_doorbell
from services.settings import BrokerSettings, WorkerSettings
from services.telemetry import tracing
from services.telemetry.logging import configure_logging
from services.worker.node.agent import AgentThread

TRIES, TRY_SECONDS = 10, 0.1


def main() -> None:
    """Register the node and answer its doorbell until SIGTERM; runners go on without the worker."""
    configure_logging("worker")
    tracing.start("worker")
    settings = WorkerSettings()
    settings.data_folder.mkdir(parents=True, exist_ok=True)
    with (settings.data_folder / "worker.lock").open("w") as lock:
        if not _take(lock.fileno()):
            raise SystemExit(f"another worker uses {settings.data_folder}")
        _keep_name(settings)
        agent = AgentThread(settings)
        node_id = agent.start()
        try:
            answer_doorbell(BrokerSettings(), node_id, agent.ring)
        finally:
            tracing.stop()


def _take(lock: int) -> bool:
    """Lock the folder; somebody who only looks whether it is locked has it for a moment."""
    for _ in range(TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(TRY_SECONDS)
        else:
            return True
    return False


def _keep_name(settings: WorkerSettings) -> None:
    """Refuse to be another node while runners of this one may hold its slots."""
    path = settings.data_folder / "node_name"
    if path.exists() and path.read_text() != settings.node_name:
        raise SystemExit(
            f"{settings.data_folder} is that of node {path.read_text()}, not of"
            f" {settings.node_name} (NVAE_WORKER_NODE_NAME): take another folder, or delete it"
        )
    path.write_text(settings.node_name)


if __name__ == "__main__":
    main()
