"""The API in a process of its own, for requests that only a network can make."""

import os
import subprocess
import sys
from contextlib import contextmanager

import httpx
from waiting import wait_until

from services.local.state import HOST, free_ports


@contextmanager
def served(servers, log):
    """Serve the API over these servers; yield its port. What it writes goes to the log."""
    [port] = free_ports(1)
    environment = os.environ | servers | {"NVAE_API_HOST": HOST, "NVAE_API_PORT": str(port)}
    command = [sys.executable, "-m", "services.api"]
    with log.open("wb") as output, subprocess.Popen(command, env=environment, stderr=output) as api:
        try:
            _wait_for(f"http://{HOST}:{port}/healthz")
            yield port
        finally:
            api.terminate()


def _wait_for(url):
    def answers():
        try:
            httpx.get(url, trust_env=False)
        except httpx.TransportError:
            return False
        return True

    wait_until(answers)
