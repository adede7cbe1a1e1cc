"""One set of real servers for a run of the tests, and in it a place of its own for each process.

The process that the user started runs Postgres, Valkey and SeaweedFS; they end with it, however it
ends. Each process of pytest-xdist gets a database that is copied from a migrated one, a bucket and
a database number of the broker.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import boto3
import psycopg
from psycopg import sql
from sqlalchemy import make_url

from services.database.migrate import migrate
from services.local.stack import running_servers
from services.settings import DatabaseSettings

Environment = Mapping[str, str]


@contextmanager
def migrated_servers(folder: Path) -> Iterator[Environment]:
    """Start the servers and bring their database to the newest revision; stop them at the end."""
    with running_servers(folder) as environment:
        migrate(DatabaseSettings(url=environment["NVAE_DATABASE_URL"]))
        yield environment


def share_of(environment: Environment, number: int) -> dict[str, str]:
    """Return the environment of a process of its own: database, bucket and broker database."""
    template = make_url(environment["NVAE_DATABASE_URL"])
    name, bucket = f"{template.database}_{number}", f"{environment['NVAE_S3_BUCKET']}-{number}"
    server = template.set(drivername="postgresql").render_as_string(hide_password=False)
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    statement = copy.format(sql.Identifier(name), sql.Identifier(template.database or ""))
    # Nobody may be connected to the database that is copied.
    other = make_url(server).set(database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(other, autocommit=True) as connection:
        connection.execute(statement)
    s3_client_of(environment).create_bucket(Bucket=bucket)
    broker = environment["NVAE_BROKER_URL"].rsplit("/", 1)[0]
    return {
        **environment,
        "NVAE_DATABASE_URL": template.set(database=name).render_as_string(hide_password=False),
        "NVAE_S3_BUCKET": bucket,
        "NVAE_BROKER_URL": f"{broker}/{number}",
    }


def s3_client_of(environment: Environment):
    """Return a client of the object store that knows nothing of our own code."""
    return boto3.client(
        "s3",
        endpoint_url=environment["NVAE_S3_ENDPOINT_URL"],
        aws_access_key_id=environment["NVAE_S3_ACCESS_KEY"],
        aws_secret_access_key=environment["NVAE_S3_SECRET_KEY"],
        region_name="us-east-1",
    )
