"""The file contract between whoever starts a trainer and the trainer; free of torch.

`docs/run_directory.md` describes it for people. Both sides use this package, so names exist once.
"""

from nvae_core.run_directory.directory import InvalidRunDirectory, RunDirectory
from nvae_core.run_directory.files import (
    AppendedFile,
    describe_errors,
    file_sha256,
    is_disk_full,
    sync_folder,
    write_atomically,
)
from nvae_core.run_directory.progress import (
    ArtifactLine,
    CheckpointLine,
    ExitReason,
    MetricsLine,
    NoticeLine,
    ProgressLine,
    Result,
    StartedLine,
    format_line,
    read_progress,
)
from nvae_core.run_directory.ranks import (
    PHASE_END,
    Phase,
    PhaseLine,
    PhaseLog,
    RankFile,
    RankState,
    read_rank_file,
)

__all__ = [
    "PHASE_END",
    "AppendedFile",
    "ArtifactLine",
    "CheckpointLine",
    "ExitReason",
    "InvalidRunDirectory",
    "MetricsLine",
    "NoticeLine",
    "Phase",
    "PhaseLine",
    "PhaseLog",
    "ProgressLine",
    "RankFile",
    "RankState",
    "Result",
    "RunDirectory",
    "StartedLine",
    "describe_errors",
    "file_sha256",
    "format_line",
    "is_disk_full",
    "read_progress",
    "read_rank_file",
    "sync_folder",
    "write_atomically",
]
