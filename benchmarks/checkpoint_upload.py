"""How fast a checkpoint of 2 GB is published, and how much memory that takes.

`python -m benchmarks.checkpoint_upload [--bytes N] [--rounds N]`. A process of its own publishes
the folder as a runner does it, with hashes and the fenced row. The ceiling is another process that
uploads the same bytes with boto3 and nothing else, in turn. At the end every file is fetched back
and compared. The files go with the benchmark; three times their size must be free for each round.
"""

import argparse
import asyncio
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random

import boto3
from botocore.config import Config

from benchmarks.claimed_attempts import (
    claim_attempts,
    database_settings,
    own_servers,
    storage_settings,
)
from benchmarks.memory import resident_mebibytes
from nvae_core.run_directory import CheckpointLine, RunDirectory, file_sha256
from services.database import checkpoints
from services.database.attempts import Claim
from services.database.session import Database
from services.storage.s3 import S3Storage
from services.worker.publish.publisher import Publisher

STEP = 1000
SHARES = {"model.safetensors": 0.25, "training.safetensors": 0.75}
MANIFEST = "checkpoint.json"
PIECE_BYTES = 2**24


def main() -> None:
    """Measure in turn and compare what is stored; or be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=2 * 10**9)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--publish", nargs=3, help=argparse.SUPPRESS, metavar=("RUN", "JOB", "CLAIM")
    )
    parser.add_argument("--bare", nargs=2, help=argparse.SUPPRESS, metavar=("RUN", "PREFIX"))
    arguments = parser.parse_args()
    if arguments.publish:
        path, job_id, claim = arguments.publish
        tell(asyncio.run(publish(RunDirectory(Path(path)), job_id, Claim(**json.loads(claim)))))
    elif arguments.bare:
        tell(upload_bare(RunDirectory(Path(arguments.bare[0])), arguments.bare[1]))
    else:
        compare(arguments.bytes, arguments.rounds)


def compare(num_bytes: int, rounds: int) -> None:
    """Print how long both take and how much memory."""
    with tempfile.TemporaryDirectory() as folder, own_servers() as environment:
        needed = 3 * rounds * num_bytes
        if shutil.disk_usage(folder).free < needed:
            raise SystemExit(f"{needed / 1e9:.0f} GB must be free in {folder}")
        run = RunDirectory(Path(folder) / "run")
        write_checkpoint(run, num_bytes)
        database = Database(database_settings(environment))
        claims = asyncio.run(claim_attempts(database, rounds))
        ours, bare = [], []
        for number, (job_id, claim) in enumerate(claims.items()):
            bare.append(in_process(environment, "--bare", str(run.path), f"bare/{number}"))
            text = json.dumps(vars(claim))
            ours.append(in_process(environment, "--publish", str(run.path), job_id, text))
            both = (describe(bare[-1], num_bytes), describe(ours[-1], num_bytes))
            print("round {}: bare {}; published {}".format(number, *both), flush=True)
        asyncio.run(verify(environment, job_id, run))
        ratio = statistics.median(
            b["seconds"] / o["seconds"] for o, b in zip(ours, bare, strict=True)
        )
        seconds = statistics.median(result["seconds"] for result in ours)
        print(
            f"{num_bytes / 1e9:.1f} GB published in {seconds:.1f} s, "
            f"{ratio:.2f} of the bare upload's speed, "
            f"peak memory {max(result['peak_mib'] for result in ours):.0f} MiB"
        )


def describe(result: Mapping[str, float], num_bytes: int) -> str:
    """Return a result in words."""
    return (
        f"{result['seconds']:.1f} s, {num_bytes / 1e6 / result['seconds']:.0f} MB per second, "
        f"{result['processor_seconds']:.1f} s of a processor, peak {result['peak_mib']:.0f} MiB"
    )


def write_checkpoint(run: RunDirectory, num_bytes: int) -> None:
    """Write a folder such as training leaves, of bytes that nothing can compress, and report it."""
    folder = run.checkpoints / f"step_{STEP:08}"
    folder.mkdir(parents=True)
    draw = Random(0)  # noqa: S311 - not a secret
    files = {}
    for name, share in SHARES.items():
        size = int(share * num_bytes)
        header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}})
        with (folder / name).open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header.encode())
            for start in range(0, size, PIECE_BYTES):
                file.write(draw.randbytes(min(PIECE_BYTES, size - start)))
        files[name] = {"num_bytes": size, "sha256": file_sha256(folder / name)}
    (folder / MANIFEST).write_text(json.dumps({"step": STEP, "files": files}))
    path = str(folder.relative_to(run.path))
    run.append(CheckpointLine(at=time.time(), step=STEP, path=path))


def in_process(environment: Mapping[str, str], *arguments: str) -> dict[str, float]:
    """Run this module with these arguments; return what it tells."""
    command = [sys.executable, "-m", "benchmarks.checkpoint_upload", *arguments]
    ended = subprocess.run(
        command, env={**os.environ, **environment}, check=True, stdout=subprocess.PIPE
    )
    result: dict[str, float] = json.loads(ended.stdout)
    return result


async def publish(run: RunDirectory, job_id: str, claim: Claim) -> float:
    """Publish the folder; return how long that took until its row was committed."""
    database = Database(database_settings(os.environ))
    publisher = Publisher(
        database,
        S3Storage(storage_settings(os.environ)),
        run,
        job_id=job_id,
        claim=claim,
        attempt_number=1,
        first_rank=0,
    )
    start = time.perf_counter()
    await publisher.publish_rest()
    seconds = time.perf_counter() - start
    await database.close()
    return seconds


def upload_bare(run: RunDirectory, prefix: str) -> float:
    """Upload the files by boto3 as it comes; return how long that took."""
    settings = storage_settings(os.environ)
    client = boto3.client(
        "s3",
        endpoint_url=settings.endpoint_url,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key.get_secret_value(),
        region_name=settings.region,
        # The checksums that it would add otherwise are more than some servers know.
        config=Config(request_checksum_calculation="when_required"),
    )
    start = time.perf_counter()
    for path in sorted(run.checkpoints.rglob("*.*")):
        client.upload_file(str(path), settings.bucket, f"{prefix}/{path.name}")
    return time.perf_counter() - start


def tell(seconds: float) -> None:
    """Print the result of this process, with the most memory it has had."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "seconds": seconds,
        "processor_seconds": used.ru_utime + used.ru_stime,
        "peak_mib": resident_mebibytes(os.getpid(), peak=True),
    }
    print(json.dumps(result))


async def verify(environment: Mapping[str, str], job_id: str, run: RunDirectory) -> None:
    """Raise unless every file is stored as it is on the disk."""
    database = Database(database_settings(environment))
    async with database.transaction() as session:
        [checkpoint] = await checkpoints.list_of_job(session, job_id)
    await database.close()
    storage = S3Storage(storage_settings(environment))
    copy = run.path / "copy"
    for path in run.checkpoints.glob("*/*"):
        [file] = [file for file in checkpoint.files if file["name"] == path.name]
        storage.download(f"{checkpoint.prefix}/{path.name}", copy, sha256=file_sha256(path))
        if file["sha256"] != file_sha256(path) or file["size_bytes"] != path.stat().st_size:
            raise AssertionError(f"{file} is not what is on the disk")
        copy.unlink()


if __name__ == "__main__":
    main()
