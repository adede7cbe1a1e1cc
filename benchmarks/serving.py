"""Servers in processes of their own, and an API key for them."""

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx

from services.domain.access import KEY_BYTES, make_key
from services.local.state import HOST, free_ports


def new_key() -> str:
    """Return an API key that no service knows yet."""
    return make_key(secrets.token_bytes(KEY_BYTES))


def add_key(environment: Mapping[str, str], key: str) -> None:
    """Store an API key, as a deployment does it."""
    given = {**environment, "NVAE_API_BOOTSTRAP_KEY": key}
    subprocess.run([sys.executable, "-m", "services.api.bootstrap"], env=given, check=True)


@contextmanager
def served(
    module: str, environment: Mapping[str, str]
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a server on a free port, yield its URL and process, and stop it."""
    [port] = free_ports(1)
    given = {**environment, "NVAE_API_HOST": HOST, "NVAE_API_PORT": str(port)}
    command = [sys.executable, "-m", module]
    with subprocess.Popen(command, env=given, stderr=subprocess.DEVNULL) as process:
        url = f"http://{HOST}:{port}"
        while True:
            try:
                httpx.get(f"{url}/healthz", trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url, process
        process.terminate()
