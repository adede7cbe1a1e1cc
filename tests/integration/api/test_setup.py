"""Stores are made ready by one program, and again without harm."""

import asyncio
import os
import subprocess
import sys

from sqlalchemy import func, select

from services.database.tables import ApiKey


async def test_stores_are_prepared_from_nothing_and_again(database, s3_client, service_environment):
    environment = os.environ | {
        "NVAE_S3_BUCKET": "fresh",
        "NVAE_API_BOOTSTRAP_KEY": "first-key-of-a-fresh-installation-1234",
    }
    command = [sys.executable, "-m", "services.api.setup"]
    for _ in range(2):
        assert await asyncio.to_thread(subprocess.call, command, env=environment) == 0
    assert "fresh" in {bucket["Name"] for bucket in s3_client.list_buckets()["Buckets"]}
    assert s3_client.list_objects_v2(Bucket="fresh")["KeyCount"] == 0
    async with database.transaction() as session:
        named = select(func.count()).where(ApiKey.name == "bootstrap")
        assert await session.scalar(named) == 1


def test_store_that_is_away_is_named(service_environment):
    environment = os.environ | {
        "NVAE_DATABASE_URL": "postgresql+psycopg://nobody:x@127.0.0.1:1/none",
        "NVAE_API_BOOTSTRAP_KEY": "first-key-of-a-fresh-installation-1234",
    }
    command = [sys.executable, "-m", "services.api.setup"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "the stores cannot be prepared" in ended.stderr
