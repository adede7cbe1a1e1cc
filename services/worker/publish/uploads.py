"""From the run directory to S3: artifacts, checkpoints, data sets.

An upload goes first and the fenced row that names it second, so a crash in between leaves an
object that nobody sees.
"""

import asyncio
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from nvae_core.run_directory import ArtifactLine, CheckpointLine, RunDirectory
from services.database import artifacts, attempts, checkpoints
from services.database.attempts import Claim
from services.database.session import Database, new_id
from services.database.tables import Artifact
from services.domain.keys import StoredFile, attempt_prefix
from services.storage.s3 import S3Storage
from services.telemetry import tracing
from services.worker.inputs.cache import describe_file, files_below

MANIFESTS = ("checkpoint.json", "dataset.json")  # uploaded last: what they name is there


@dataclass(frozen=True)
class PreparedDataset:
    """An uploaded data set that only needs its row."""

    description: dict[str, object]
    prefix: str
    files: list[StoredFile]


class Uploads:
    """The files of one attempt that wait for S3; the run directory keeps them until then.

    Artifacts go first, as they were reported: they are small. Of the checkpoints that wait, after
    the store was away or was slow, the newest goes first, because it is the one to resume from.
    Those that the trainer has dropped meanwhile are passed over: its policy is that of retention,
    which would delete them.
    """

    def __init__(
        self,
        database: Database,
        storage: S3Storage,
        run_directory: RunDirectory,
        *,
        job_id: str,
        claim: Claim,
        attempt_number: int,
    ) -> None:
        self._database = database
        self._storage = storage
        self._run_directory = run_directory
        self._job_id = job_id
        self._claim = claim
        self._prefix = attempt_prefix(job_id, attempt_number)
        self._waiting: dict[str, ArtifactLine | CheckpointLine] = {}  # by what a newer one replaces
        self._one_at_a_time = asyncio.Lock()
        self._described: dict[str, StoredFile] = {}  # by key, until the row is committed
        self._uploaded: set[str] = set()

    def add(self, lines: list[ArtifactLine | CheckpointLine]) -> None:
        """Let files wait that the trainer has reported; all metrics before them are stored.

        One of a name that waits already takes its place: the older file may be gone.
        """
        for line in lines:
            key = f"artifact {line.name}" if isinstance(line, ArtifactLine) else line.path
            self._waiting.pop(key, None)
            self._waiting[key] = line

    async def publish_next(self) -> bool:
        """Publish one file or checkpoint; return whether there was one.

        It waits on until its row is committed, so after an error it is published again.

        Raises:
            LeaseLost: this attempt is not live any more.
            StorageUnavailable, DatabaseUnavailable: try again later.
        """
        async with self._one_at_a_time:
            if not self._waiting:
                return False
            key, line = self._next()
            if isinstance(line, ArtifactLine):
                with tracing.span("publish artifact", attributes={"nvae.artifact": line.name}):
                    await self.publish_artifact(line)
            else:
                with tracing.span("publish checkpoint", attributes={"nvae.step": line.step}):
                    await self._publish_checkpoint(line)
            if self._waiting.get(key) is line:
                del self._waiting[key]
            return True

    def _next(self) -> tuple[str, ArtifactLine | CheckpointLine]:
        for key, line in self._waiting.items():
            if isinstance(line, ArtifactLine):
                return key, line
        return max(self._waiting.items(), key=lambda waiting: waiting[1].step or 0)

    async def publish_artifact(self, line: ArtifactLine) -> None:
        """Upload an artifact and store its row."""
        path = self._run_directory.path / line.path
        key = f"{self._prefix}/artifacts/{line.path}"  # a name may be used again, a path is not
        file = await self._upload(path, key, name=line.name)
        artifact = Artifact(
            id=new_id("art"),
            job_id=self._job_id,
            attempt_id=self._claim.attempt_id,
            name=line.name,
            key=key,
            content_type=line.content_type,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            step=line.step,
        )
        async with attempts.fenced_write(self._database, self._claim) as (session, attempt):
            await artifacts.add(session, attempt, artifact)
        self._forget(key)

    async def _publish_checkpoint(self, line: CheckpointLine) -> None:
        folder = self._run_directory.path / line.path
        held = folder.with_name(f".uploading_{folder.name}")
        prefix = f"{self._prefix}/checkpoints/{folder.name}"
        try:
            if not await asyncio.to_thread(hold, folder, held):
                return  # the trainer has dropped it for newer ones
            files = await self._upload_folder(held, prefix)
            async with attempts.fenced_write(self._database, self._claim) as (session, attempt):
                await checkpoints.add(
                    session,
                    attempt,
                    checkpoint_id=new_id("ckpt"),
                    step=line.step,
                    prefix=prefix,
                    files=files,
                )
        finally:
            await asyncio.to_thread(shutil.rmtree, held, ignore_errors=True)
        self._forget(prefix)

    async def upload_dataset(self) -> PreparedDataset:
        """Upload what a preparation left; its row is committed together with the job's end."""
        folder = self._run_directory.dataset
        prefix = f"{self._prefix}/dataset"
        files = await self._upload_folder(folder, prefix)
        description = json.loads((folder / "dataset.json").read_bytes())
        return PreparedDataset(description, prefix, files)

    async def _upload_folder(self, folder: Path, prefix: str) -> list[StoredFile]:
        """Upload every file below a folder, its manifest last; return them by name."""
        files = []
        for path in sorted(files_below(folder), key=lambda path: path.name in MANIFESTS):
            name = str(path.relative_to(folder))
            files.append(await self._upload(path, f"{prefix}/{name}", name=name))
        return sorted(files, key=lambda file: file.name)

    async def _upload(self, path: Path, key: str, *, name: str) -> StoredFile:
        """Upload a file, hashing it meanwhile; what was done before an error is not done again."""
        work = []
        if key not in self._described:
            work.append(self._describe(path, key, name))
        if key not in self._uploaded:
            work.append(self._send(path, key))
        for outcome in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
        return self._described[key]

    async def _describe(self, path: Path, key: str, name: str) -> None:
        self._described[key] = await asyncio.to_thread(describe_file, path, name)

    async def _send(self, path: Path, key: str) -> None:
        await asyncio.to_thread(self._storage.upload, path, key)
        self._uploaded.add(key)

    def _forget(self, prefix: str) -> None:
        """Begin anew with these keys: a name may be reported again, with another file."""
        for key in [key for key in self._described if key.startswith(prefix)]:
            del self._described[key]
        self._uploaded = {key for key in self._uploaded if not key.startswith(prefix)}


def hold(folder: Path, held: Path) -> bool:
    """Link a folder's files to another name, so that they stay while the trainer drops theirs.

    Without it no checkpoint would ever be stored where an upload takes longer than the trainer
    keeps one. Returns whether the folder was there, whole.
    """
    shutil.rmtree(held, ignore_errors=True)
    try:
        shutil.copytree(folder, held, copy_function=os.link)
    except (FileNotFoundError, shutil.Error):
        if folder.exists():
            raise
    return folder.exists()
