"""Downloads at the terminal: where files go, and a bar while they come."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)

from nvae_client.cli.connecting import Session
from nvae_client.files import Artifact, Checkpoint, safe_path


def save_artifacts(session: Session, artifacts: Sequence[Artifact], output: Path) -> list[Path]:
    """Download a job's files: one to the output itself, several into it as a folder."""
    saved = []
    with _bar(session) as progress:
        for artifact in artifacts:
            is_only = len(artifacts) == 1 and not output.is_dir()
            target = output if is_only else output / safe_path(artifact.name)
            bar = progress.add_task(artifact.name, total=artifact.size_bytes)
            tell = partial(_advance, progress, bar)
            saved.append(artifact.download(target, on_progress=tell))
    return saved


def save_checkpoint(
    session: Session, checkpoint: Checkpoint, folder: Path, *, resume: bool
) -> Path:
    """Download a checkpoint into a folder."""
    with _bar(session) as progress:
        bars = {
            file.name: progress.add_task(file.name, total=file.size_bytes)
            for file in checkpoint.files
        }
        return checkpoint.download(
            folder,
            resume=resume,
            on_progress=lambda name, done: progress.update(bars[name], completed=done),
        )


def _advance(progress: Progress, bar: TaskID, done: int) -> None:
    progress.update(bar, completed=done)


@contextmanager
def _bar(session: Session) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
    )
    hidden = session.terminal.as_json or not session.terminal.err.is_terminal
    with Progress(*columns, console=session.terminal.err, disable=hidden) as progress:
        yield progress
