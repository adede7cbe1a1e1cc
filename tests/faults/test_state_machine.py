"""Jobs on real Postgres under every order of acts and faults that hypothesis can think of.

`NVAE_FAULTS=full` looks for minutes instead of seconds, `NVAE_FAULTS_SEED=…` elsewhere.
"""

import asyncio

import pytest
from fault_options import IS_FULL, SEED
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from state_machine import ServiceMachine

from services.database.session import Database
from services.settings import DatabaseSettings

QUICK = {"max_examples": 12, "stateful_step_count": 30}
FULL = {"max_examples": 300, "stateful_step_count": 50}


@pytest.mark.budget(60)
def test_jobs_keep_every_promise_in_any_order_of_acts_and_faults(servers):
    print(f"NVAE_FAULTS_SEED={SEED}")  # noqa: T201
    profile = settings(
        **(FULL if IS_FULL else QUICK),
        deadline=None,
        derandomize=False,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with asyncio.Runner() as runner:
        database = Database(DatabaseSettings(url=servers["NVAE_DATABASE_URL"], pool_size=1))

        @seed(SEED)
        def machine():
            return ServiceMachine(runner, database)

        try:
            run_state_machine_as_test(machine, settings=profile)
        finally:
            runner.run(database.close())
