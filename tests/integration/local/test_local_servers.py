"""The three servers: they answer us, nobody without the password, and only on this machine."""

import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from botocore.exceptions import ClientError
from local_stores import connect, read, s3_client, write
from redis.backoff import NoBackoff
from redis.retry import Retry

from services.local.state import s3_block

Environment = Mapping[str, str]


@pytest.mark.parametrize("server", ["postgres", "valkey", "seaweedfs"])
def test_what_is_written_can_be_read(servers: Environment, server: str) -> None:
    write(servers, server, "kept")

    assert read(servers, server) == "kept"


def test_postgres_refuses_a_wrong_password(servers: Environment) -> None:
    url = urlsplit(servers["NVAE_DATABASE_URL"].replace("+psycopg", ""))
    wrong = url._replace(netloc=url.netloc.replace(str(url.password), "wrong"))

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong.geturl())


def test_valkey_refuses_a_wrong_password(servers: Environment) -> None:
    port = urlsplit(servers["NVAE_BROKER_URL"]).port or 0

    with (
        redis.Redis(port=port, password="wrong", retry=Retry(NoBackoff(), 0)) as broker,
        pytest.raises(redis.AuthenticationError),
    ):
        broker.ping()


def test_s3_refuses_a_wrong_secret(servers: Environment) -> None:
    s3 = s3_client({**servers, "NVAE_S3_SECRET_KEY": "wrong"})

    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        s3.put_object(Bucket=servers["NVAE_S3_BUCKET"], Key="intruder", Body=b"")


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_the_port_behind_s3_refuses_everyone(servers: Environment, method: str) -> None:
    write(servers, "seaweedfs", "secret")
    filer = (urlsplit(servers["NVAE_S3_ENDPOINT_URL"]).port or 0) + 3
    url = f"http://127.0.0.1:{filer}/buckets/artifacts/note"
    body = b"intruder" if method == "PUT" else None

    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(urllib.request.Request(url, data=body, method=method))

    with refusal.value:
        assert refusal.value.code == 401


def test_postgres_checks_its_pages(servers: Environment) -> None:
    with connect(servers) as connection:
        assert connection.execute("SHOW data_checksums").fetchone() == ("on",)


def test_no_server_listens_beyond_this_machine(servers: Environment) -> None:
    urls = [servers[f"NVAE_{name}_URL"] for name in ("DATABASE", "BROKER", "S3_ENDPOINT")]
    postgres, valkey, s3 = (urlsplit(url).port or 0 for url in urls)
    ours = {postgres, valkey, *s3_block(s3)}

    listening = [
        address
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for _, address, _, state, *_ in map(str.split, Path(table).read_text().splitlines()[1:])
        if state == "0A" and int(address.partition(":")[2], 16) in ours
    ]

    assert len(listening) == len(ours)
    assert {address.partition(":")[0] for address in listening} == {"0100007F"}
