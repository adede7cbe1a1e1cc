"""The boto3 client, set up for S3 and for servers that are only compatible with it."""

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from services.settings import StorageSettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def connect(settings: StorageSettings, endpoint_url: str | None) -> "S3Client":
    """Return a client of this endpoint, or of AWS."""
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"} if endpoint_url else {},
        retries={"mode": "standard", "max_attempts": 4},
        connect_timeout=5,
        read_timeout=60,
        # Compatible servers store or reject the newer checksum trailers.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    client = boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key.get_secret_value(),
        region_name=settings.region,
        config=config,
    )
    client.meta.events.register("before-call.s3.DeleteObjects", _add_content_md5)
    return client


def _add_content_md5(params: dict[str, Any], **_: Any) -> None:
    """Add the checksum that S3 asked for before the newer ones; some servers know no other."""
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()
