"""All rules of all parties in any order, and what is checked after each of them."""

from building import add_dataset, empty
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant
from observed_rows import observe
from parties import register
from scheduler_rules import SchedulerRules
from service_model import ServiceModel
from settling import check_ends, settle
from user_rules import UserRules, specs
from verify import verify_from


class ServiceMachine(UserRules, SchedulerRules):
    """The service on three nodes, one of them larger."""

    def __init__(self, runner, database):
        super().__init__()
        self.runner = runner
        self.database = database
        self.model = ServiceModel()
        self.may_stop = self.may_end = frozenset()
        self.is_sound = False  # before the first check

    @initialize(first=st.lists(specs, min_size=1, max_size=4))
    def begin(self, first):
        self.do(self._install())
        for spec in first:
            self.submit(spec)
        self.start()

    async def _install(self):
        await empty(self.database)
        await add_dataset(self.database)
        for node_id, num_slots in zip(self.node_ids, (2, 2, 4), strict=True):
            await register(self.database, node_id, num_slots=num_slots)

    @invariant()
    def check(self):
        """Verify every promise, and that the database is as the model says."""
        self.do(self._check())
        self.is_sound = True

    async def _check(self):
        async with self.database.transaction() as session:
            await verify_from(session)
            seen = await observe(session)
        self.model.compare(seen, may_stop=self.may_stop, may_end=self.may_end)
        self.may_stop = self.may_end = frozenset()

    def teardown(self):
        """Let everything settle, unless something is broken already."""
        if self.is_sound:
            self.do(self._settle())

    async def _settle(self):
        await settle(self.database, self.model, self.node_ids)
        await self._check()
        await check_ends(self.database, self.model)
