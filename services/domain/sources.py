"""Which sources a job may name: of images, and of checkpoints."""

from collections.abc import Sequence

from nvae_core.config import BundledSource, CheckpointSource, DatasetSource
from services.domain.errors import InvalidSpec


def check_source(source: DatasetSource | CheckpointSource, *, s3_prefixes: Sequence[str]) -> None:
    """Refuse a path that is not plainly below the nodes' folder of sources or an allowed prefix.

    Raises:
        InvalidSpec: it is not; the pointer is that of the path.
    """
    if isinstance(source, BundledSource):
        return
    if source.is_in_s3:
        if not any(source.path.startswith(prefix) for prefix in s3_prefixes):
            allowed = f"must lie below one of: {', '.join(s3_prefixes)}"
            message = allowed if s3_prefixes else "sources in S3 are not allowed here"
            raise InvalidSpec.at("/source/path", message)
    elif "://" in source.path:
        raise InvalidSpec.at("/source/path", "is not a path, nor one of s3://bucket/prefix")
    elif source.path.startswith("/") or ".." in source.parts:
        message = "must be relative to the nodes' folder of sources, without '..'"
        raise InvalidSpec.at("/source/path", message)
