"""A checkpoint of 4 GB through the API, cut twice: how fast, and how much memory the API takes.

`python -m benchmarks.proxied_download [--bytes N]`. `nvae checkpoints download` is killed after a
third and after two thirds of the bytes and started again; at the end every file is compared with
what was published. The ceiling is the same command, uncut, with the store's own links, in the same
run. Four times the size must be free on the disk.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.checkpoint_upload import in_process, write_checkpoint
from benchmarks.claimed_attempts import claim_attempts, database_settings, own_servers
from benchmarks.memory import resident_mebibytes
from benchmarks.serving import add_key, new_key, served
from nvae_core.run_directory import RunDirectory, file_sha256
from services.database import checkpoints
from services.database.session import Database

COMMAND = Path(sys.executable).with_name("nvae")
POLL_SECONDS = 0.02


def main() -> None:
    """Download both ways, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=4 * 10**9)
    num_bytes = parser.parse_args().bytes
    with tempfile.TemporaryDirectory() as folder, own_servers() as environment:
        if shutil.disk_usage(folder).free < 4 * num_bytes:
            raise SystemExit(f"{4 * num_bytes / 1e9:.0f} GB must be free in {folder}")
        run = RunDirectory(Path(folder) / "run")
        write_checkpoint(run, num_bytes)
        checkpoint_id = publish(environment, run)
        key = new_key()
        add_key(environment, key)
        to = Path(folder) / "downloaded"
        with connected({**environment, "NVAE_S3_DOWNLOADS": "proxy"}, key) as (client, pid):
            before = resident_mebibytes(pid)
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak is counted from here
            seconds = [
                download(client, checkpoint_id, to, until_bytes=until)
                for until in (num_bytes // 3, num_bytes * 2 // 3, None)
            ]
            peak = resident_mebibytes(pid, peak=True)
        compare(run, to)
        shutil.rmtree(to)
        with connected(environment, key) as (client, _):
            direct = download(client, checkpoint_id, to)
        result = {
            "bytes": num_bytes,
            "cuts": len(seconds) - 1,
            "megabytes_per_second": round(num_bytes / 1e6 / sum(seconds)),
            "direct_megabytes_per_second": round(num_bytes / 1e6 / direct),
            "api_mebibytes_before": before,
            "api_mebibytes_more": round(peak - before, 1),
        }
        print(json.dumps(result))


def publish(environment: Mapping[str, str], run: RunDirectory) -> str:
    """Store the checkpoint of a run as a runner does it; return its id."""

    async def claim() -> tuple[str, dict[str, object]]:
        database = Database(database_settings(environment))
        [(job_id, claim)] = (await claim_attempts(database, 1)).items()
        await database.close()
        return job_id, vars(claim)

    async def find(job_id: str) -> str:
        database = Database(database_settings(environment))
        async with database.transaction() as session:
            [checkpoint] = await checkpoints.list_of_job(session, job_id)
        await database.close()
        return checkpoint.id

    job_id, claimed = asyncio.run(claim())
    in_process(environment, "--publish", str(run.path), job_id, json.dumps(claimed))
    return asyncio.run(find(job_id))


@contextmanager
def connected(environment: Mapping[str, str], key: str) -> Iterator[tuple[Mapping[str, str], int]]:
    """Serve the API; yield the environment of a client, and the API's process id."""
    with served("services.api", environment) as (url, process):
        yield {**os.environ, "NVAE_API_URL": url, "NVAE_API_KEY": key}, process.pid


def download(
    client: Mapping[str, str], checkpoint_id: str, to: Path, *, until_bytes: int | None = None
) -> float:
    """Download; killed as soon as so much is there. Return the seconds it ran."""
    command = [str(COMMAND), "checkpoints", "download", checkpoint_id, "--output", str(to)]
    began_at = time.perf_counter()
    with subprocess.Popen(command, env=client, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            if until_bytes is not None and num_bytes_in(to) >= until_bytes:
                process.send_signal(signal.SIGKILL)
            time.sleep(POLL_SECONDS)
    if until_bytes is None and process.returncode != 0:
        raise SystemExit(f"the command ended with {process.returncode}")
    return time.perf_counter() - began_at


def num_bytes_in(folder: Path) -> int:
    """Return how much has come."""
    return sum(path.stat().st_size for path in folder.glob("*"))


def compare(run: RunDirectory, to: Path) -> None:
    """Raise unless every file came as it was written."""
    for path in run.checkpoints.glob("*/*"):
        if file_sha256(to / path.name) != file_sha256(path):
            raise AssertionError(f"{path.name} came damaged")


if __name__ == "__main__":
    main()
