"""Files that jobs leave: artifacts, and checkpoints that training can go on from."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from nvae_client.answers import Answer, Bound
from nvae_client.downloads import OnProgress, download, ignore_progress
from nvae_client.errors import NvaeError

if TYPE_CHECKING:
    from nvae_client.transport import Transport

PICTURE = "image/png"


class StoredFile(Answer):
    """A file of a checkpoint."""

    name: str
    size_bytes: int
    sha256: str


class Artifact(Bound):
    """A file that a job made."""

    id: str
    name: str
    size_bytes: int
    sha256: str
    content_type: str
    step: int | None = None
    created_at: datetime
    _job_id: str = ""

    def of_job(self, transport: "Transport", job_id: str) -> Self:
        """Say whose it is."""
        self._job_id = job_id
        return self.bind(transport)

    def download(
        self, target: Path, *, resume: bool = True, on_progress: OnProgress = ignore_progress
    ) -> Path:
        """Download to this path, going on where an earlier download was cut off.

        Raises:
            ChecksumMismatch: what came was wrong twice.
        """
        return download(
            self._transport,
            f"/v1/jobs/{self._job_id}/artifacts/{quote(self.name)}",
            target,
            size_bytes=self.size_bytes,
            sha256=self.sha256,
            resume=resume,
            on_progress=on_progress,
        )


class Checkpoint(Bound):
    """A checkpoint; while `committed` it can be evaluated, sampled and resumed from."""

    id: str
    job_id: str
    step: int
    status: str
    pinned: bool
    size_bytes: int
    files: tuple[StoredFile, ...]
    created_at: datetime

    def download(
        self,
        folder: Path,
        *,
        resume: bool = True,
        on_progress: Callable[[str, int], None] = lambda name, num_bytes: None,
    ) -> Path:
        """Download every file into this folder; what is there and right is not fetched again.

        Args:
            folder: is made if it is not there.
            resume: go on where an earlier download was cut off.
            on_progress: called with a file's name and how many bytes of it are there.

        Raises:
            ChecksumMismatch: a file was wrong twice.
        """
        for file in self.files:

            def told(num_bytes: int, name: str = file.name) -> None:
                on_progress(name, num_bytes)

            download(
                self._transport,
                f"/v1/checkpoints/{self.id}/files/{quote(file.name)}",
                folder / safe_path(file.name),
                size_bytes=file.size_bytes,
                sha256=file.sha256,
                resume=resume,
                on_progress=told,
            )
        return folder

    def pin(self) -> "Checkpoint":
        """Keep it, whatever the job's policy says."""
        return self._post("pin")

    def unpin(self) -> "Checkpoint":
        """Leave it to the job's policy again."""
        return self._post("unpin")

    def delete(self) -> "Checkpoint":
        """Delete it; its files go soon."""
        answer = self._transport.change("DELETE", f"/v1/checkpoints/{self.id}")
        return Checkpoint.of(self._transport, answer)

    def _post(self, verb: str) -> "Checkpoint":
        answer = self._transport.post(f"/v1/checkpoints/{self.id}/{verb}")
        return Checkpoint.of(self._transport, answer)


def safe_path(name: str) -> PurePosixPath:
    """Return the name of a stored file as a path that stays below the folder it is put in.

    Raises:
        NvaeError: it would not.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise NvaeError(f"a file named {name!r} would lie outside its folder")
    return path
