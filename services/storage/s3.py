"""Files in an S3-compatible store; `python -m services.storage.s3` tests that it works."""

import base64
import hashlib
import mimetypes
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError
from s3transfer.subscribers import BaseSubscriber

from nvae_core.run_directory import file_sha256
from services.settings import StorageSettings

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef
    from s3transfer.futures import TransferFuture

_TRANSFER = TransferConfig(preferred_transfer_client="classic", max_concurrency=4)
_MANY = TransferConfig(preferred_transfer_client="classic", max_concurrency=8)
MAX_DELETED = 1000  # by one request, as S3 has it


class StorageUnavailable(Exception):
    """The object store is away or refuses: try again later."""


class DamagedObject(ValueError):
    """A stored file is missing, or is not the one that was uploaded."""


@dataclass(frozen=True)
class StoredObject:
    """One version of an object that others have stored."""

    key: str
    size_bytes: int
    etag: str


@dataclass(frozen=True)
class UnfinishedUpload:
    """A multipart upload whose parts take room and make no object."""

    key: str
    upload_id: str
    begun_at: datetime


class ObjectBody:
    """The bytes of an object on their way here."""

    def __init__(self, body: "StreamingBody") -> None:
        self._body = body

    def read(self, num_bytes: int) -> bytes:
        """Return the next bytes, none at the end; raises StorageUnavailable."""
        with _translated():
            content: bytes = self._body.read(num_bytes)
        return content

    def close(self) -> None:
        """Let go of the connection."""
        self._body.close()


class S3Storage:
    """One bucket. Keys are written once and never overwritten."""

    def __init__(self, settings: StorageSettings) -> None:
        self._settings = settings
        self._bucket = settings.bucket
        self._client = _connect(settings, settings.endpoint_url)
        # A presigned URL signs the host name, so signing needs the endpoint that clients see.
        self._signer = _connect(settings, settings.public_endpoint_url or settings.endpoint_url)

    @property
    def is_public(self) -> bool:
        """Whether clients can reach the store, by presigned URLs."""
        return self._settings.downloads == "redirect"

    @property
    def bucket(self) -> str:
        """Name of the bucket."""
        return self._bucket

    def upload(self, path: Path, key: str) -> None:
        """Store a file under a new key."""
        content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        extra = {"ContentType": content_type}
        with _translated():
            self._client.upload_file(
                str(path), self._bucket, key, ExtraArgs=extra, Config=_TRANSFER
            )

    def download(self, key: str, path: Path, *, sha256: str) -> None:
        """Fetch a file, and let it appear at `path` only if its checksum is right.

        Raises:
            DamagedObject: there is no such key, or the content is not what was uploaded.
            StorageUnavailable: the store is away.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with _translated():
                self._client.download_file(self._bucket, key, str(partial), Config=_TRANSFER)
            if file_sha256(partial) != sha256:
                raise DamagedObject(f"{key} does not have the checksum {sha256}")
            with partial.open("rb") as file:
                os.fsync(file.fileno())  # a name that is there must mean content that is there
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)

    def read(self, key: str) -> bytes:
        """Return the content of a small object.

        Raises:
            DamagedObject: there is no such key.
            StorageUnavailable: the store is away.
        """
        with _translated():
            body: bytes = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        return body

    def open_part(self, key: str, first: int, last: int) -> "ObjectBody":
        """Return the bytes of an object from `first` to `last`, both included, to be read.

        Raises:
            DamagedObject: there is no such key.
            StorageUnavailable: the store is away.
        """
        with _translated():
            answer = self._client.get_object(
                Bucket=self._bucket, Key=key, Range=f"bytes={first}-{last}"
            )
        return ObjectBody(answer["Body"])

    def list_objects(self, bucket: str, prefix: str, *, after: str = "") -> Iterator[StoredObject]:
        """Yield what lies below a prefix of any bucket these credentials can read, after a key.

        Raises:
            DamagedObject: there is no such bucket.
            StorageUnavailable: the store is away, or the bucket must not be read.
        """
        with _translated():
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=bucket, Prefix=prefix, StartAfter=after):
                for item in page.get("Contents", []):
                    yield StoredObject(item["Key"], item["Size"], item["ETag"])

    def find_object(self, bucket: str, key: str) -> StoredObject:
        """Return the object of this key; errors as those of `list_objects`."""
        with _translated():
            head = self._client.head_object(Bucket=bucket, Key=key)
        return StoredObject(key, head["ContentLength"], head["ETag"])

    def copy_objects(self, bucket: str, copies: Mapping[Path, StoredObject]) -> None:
        """Fetch what others have stored, a few at once, each into the path that it is given.

        Raises:
            DamagedObject: one of them is gone, or is not the version that was found.
            StorageUnavailable: the store is away.
        """
        with _translated(), create_transfer_manager(self._client, _MANY) as transfers:
            futures = [
                transfers.download(bucket, stored.key, str(path), subscribers=[_AsFound(stored)])
                for path, stored in copies.items()
            ]
            for future in futures:
                future.result()
        for path, stored in copies.items():
            if path.stat().st_size != stored.size_bytes:  # not every store heeds If-Match
                raise DamagedObject(f"{stored.key} has changed while it was copied")

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; one that is not there is no error.

        Raises:
            StorageUnavailable: the store is away, or some of them are still there.
        """
        for start in range(0, len(keys), MAX_DELETED):
            batch: list[ObjectIdentifierTypeDef] = [
                {"Key": key} for key in keys[start : start + MAX_DELETED]
            ]
            with _translated():
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": batch, "Quiet": True}
                )
            for error in answer.get("Errors", []):
                raise StorageUnavailable(f"{error.get('Key')} stays: {error.get('Message')}")

    def list_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        """Yield the multipart uploads below a prefix that were begun and not completed."""
        with _translated():
            pages = self._client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
                for item in page.get("Uploads", []):
                    yield UnfinishedUpload(item["Key"], item["UploadId"], item["Initiated"])

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """Drop the parts of a multipart upload; one that has ended meanwhile is no error."""
        with _translated(), suppress(self._client.exceptions.NoSuchUpload):
            self._client.abort_multipart_upload(
                Bucket=self._bucket, Key=upload.key, UploadId=upload.upload_id
            )

    def presigned_url(self, key: str, *, file_name: str) -> str:
        """Return a URL that lets anyone who has it download the file for a while."""
        parameters = {
            "Bucket": self._bucket,
            "Key": key,
            "ResponseContentDisposition": f'attachment; filename="{file_name}"',
        }
        return self._signer.generate_presigned_url(
            "get_object", Params=parameters, ExpiresIn=self._settings.presigned_url_seconds
        )

    def create_bucket(self) -> None:
        """Make the bucket unless it is there; raises StorageUnavailable."""
        try:
            self.check()
        except DamagedObject:
            with _translated():
                self._client.create_bucket(Bucket=self._bucket)

    def self_test(self) -> None:
        """Raise unless a small object can be put, read back and deleted."""
        key, content = f"self-test/{secrets.token_hex(8)}", secrets.token_bytes(1024)
        with _translated():
            self._client.put_object(Bucket=self._bucket, Key=key, Body=content)
            read = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
            self._client.delete_object(Bucket=self._bucket, Key=key)
        if read != content:
            raise DamagedObject("the object store does not return what was put")

    def check(self) -> None:
        """Raise unless the bucket can be reached."""
        with _translated():
            self._client.head_bucket(Bucket=self._bucket)


class _AsFound(BaseSubscriber):
    """Asks for the size and version that were found, so that no more than was counted comes."""

    def __init__(self, stored: StoredObject) -> None:
        self._stored = stored

    def on_queued(self, future: "TransferFuture", **_: Any) -> None:
        future.meta.provide_transfer_size(self._stored.size_bytes)
        future.meta.provide_object_etag(self._stored.etag)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in {"404", "NoSuchKey", "NoSuchBucket"}:
            raise DamagedObject("there is no such object") from error
        raise StorageUnavailable(str(error)) from error
    except S3DownloadFailedError as error:
        raise DamagedObject("an object has changed while it was copied") from error
    except (BotoCoreError, Boto3Error, RetriesExceededError) as error:
        raise StorageUnavailable(str(error)) from error


def _connect(settings: StorageSettings, endpoint_url: str | None) -> "S3Client":
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


if __name__ == "__main__":
    try:
        S3Storage(StorageSettings()).self_test()
    except (StorageUnavailable, DamagedObject) as error:
        raise SystemExit(f"object store: {error}") from error
