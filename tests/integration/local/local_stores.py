"""Writing to and reading from the three servers, as our services reach them."""

from collections.abc import Mapping
from typing import Any

import boto3
import psycopg
import redis
from botocore.config import Config

Environment = Mapping[str, str]


def s3_client(environment: Environment) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=environment["NVAE_S3_ENDPOINT_URL"],
        aws_access_key_id=environment["NVAE_S3_ACCESS_KEY"],
        aws_secret_access_key=environment["NVAE_S3_SECRET_KEY"],
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5),
    )


def connect(environment: Environment) -> psycopg.Connection[tuple[Any, ...]]:
    url = environment["NVAE_DATABASE_URL"].replace("+psycopg", "")
    return psycopg.connect(url, connect_timeout=2, autocommit=True)


def write(environment: Environment, server: str, text: str) -> None:
    if server == "postgres":
        with connect(environment) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS notes (text text)")
            connection.execute("TRUNCATE notes")
            connection.execute("INSERT INTO notes VALUES (%s)", [text])
    elif server == "valkey":
        with redis.Redis.from_url(environment["NVAE_BROKER_URL"]) as broker:
            broker.set("note", text)
            broker.waitaof(1, 0, 5000)
    else:
        bucket = environment["NVAE_S3_BUCKET"]
        s3_client(environment).put_object(Bucket=bucket, Key="note", Body=text.encode())


def read(environment: Environment, server: str) -> str:
    if server == "postgres":
        with connect(environment) as connection:
            return str(connection.execute("SELECT text FROM notes").fetchall()[0][0])
    if server == "valkey":
        with redis.Redis.from_url(environment["NVAE_BROKER_URL"]) as broker:
            value = broker.get("note")
            assert isinstance(value, bytes)
            return value.decode()
    found = s3_client(environment).get_object(Bucket=environment["NVAE_S3_BUCKET"], Key="note")
    return str(found["Body"].read().decode())
