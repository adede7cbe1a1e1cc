"""Deleting from a real object store, and from one that insists on the older checksum."""

import base64
import hashlib
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from services.database.session import new_id
from services.settings import StorageSettings
from services.storage.s3 import S3Storage, StorageUnavailable, UnfinishedUpload


@pytest.fixture
def prefix():
    return f"tests/{new_id('s3')}/"


def put(s3_client, storage, keys):
    for key in keys:
        s3_client.put_object(Bucket=storage.bucket, Key=key, Body=b"x")


def keys_below(storage, prefix, **after):
    return [stored.key for stored in storage.list_objects(storage.bucket, prefix, **after)]


def test_deleted_keys_are_gone_and_their_neighbours_stay(s3_client, storage, prefix):
    names = ["a", "a&b <c>", "ä/ö", "b/1", "b/10", "b/2"]
    put(s3_client, storage, [prefix + name for name in names])
    storage.delete([prefix + name for name in names[:4]])
    assert keys_below(storage, prefix) == [f"{prefix}b/10", f"{prefix}b/2"]


def test_deleting_what_is_not_there_is_no_error(s3_client, storage, prefix):
    put(s3_client, storage, [f"{prefix}a"])
    for _ in range(2):
        storage.delete([f"{prefix}a", f"{prefix}never/was"])
    assert keys_below(storage, prefix) == []


def test_more_keys_than_one_request_takes_are_deleted(s3_client, storage, prefix):
    put(s3_client, storage, [f"{prefix}first", f"{prefix}last"])
    absent = [f"{prefix}absent/{number}" for number in range(1500)]
    storage.delete([f"{prefix}first", *absent, f"{prefix}last"])
    assert keys_below(storage, prefix) == []


def test_list_goes_on_after_any_key_it_gave(s3_client, storage, prefix):
    names = ["1/a-b", "1/a.json", "1/a/b", "1/a/b.c", "10/a", "2/a", "2/b/c/d"]
    put(s3_client, storage, [prefix + name for name in names])
    listed = keys_below(storage, prefix)
    assert sorted(listed) == sorted(prefix + name for name in names)
    for position, key in enumerate(listed):
        assert keys_below(storage, prefix, after=key) == listed[position + 1 :]


def test_unfinished_upload_is_found_and_aborted(s3_client, storage, prefix):
    key = f"{prefix}checkpoint/model.safetensors"
    begun = s3_client.create_multipart_upload(Bucket=storage.bucket, Key=key)
    part = {"Bucket": storage.bucket, "Key": key, "UploadId": begun["UploadId"]}
    s3_client.upload_part(**part, PartNumber=1, Body=b"x" * 5_000_000)
    [upload] = storage.list_uploads(prefix)
    assert (upload.key, upload.upload_id) == (key, begun["UploadId"])
    assert abs(upload.begun_at - datetime.now(UTC)) < timedelta(minutes=5)
    storage.abort_upload(upload)
    assert list(storage.list_uploads(prefix)) == []
    storage.abort_upload(upload)  # again: it has ended meanwhile


def test_abort_in_a_store_that_is_away_is_an_error(servers):
    away = S3Storage(
        StorageSettings(
            endpoint_url="http://127.0.0.1:1", bucket="b", access_key="a", secret_key="s"
        )
    )
    with pytest.raises(StorageUnavailable):
        away.abort_upload(UnfinishedUpload("key", "id", datetime.now(UTC)))


class InsistsOnMd5(BaseHTTPRequestHandler):
    """Answers deletions as older servers do: only with the checksum that they know."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        digest = base64.b64encode(hashlib.md5(body).digest()).decode()
        is_right = self.headers["Content-MD5"] == digest
        answer = (
            b"<DeleteResult/>" if is_right else b"<Error><Code>MissingContentMD5</Code></Error>"
        )
        self.send_response(200 if is_right else 400)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def older_server():
    with HTTPServer(("127.0.0.1", 0), InsistsOnMd5) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_deletion_carries_the_checksum_that_older_servers_insist_on(older_server):
    settings = StorageSettings(
        endpoint_url=older_server, bucket="b", access_key="a", secret_key="s"
    )
    S3Storage(settings).delete(["one", "two"])
