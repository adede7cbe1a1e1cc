"""Files of a source, below a folder or inside an archive."""

from pathlib import Path

from nvae_core.data.files.folder import FolderFiles
from nvae_core.data.files.zip_archive import ZipFiles

__all__ = ["FolderFiles", "ZipFiles", "open_files"]


def open_files(path: Path) -> FolderFiles | ZipFiles:
    """Open a folder, or a zip archive.

    Raises:
        InvalidDataset: it is neither, or the archive is damaged or hostile.
    """
    return FolderFiles(path) if path.is_dir() else ZipFiles(path)
