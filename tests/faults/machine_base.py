"""What all rules stand on: the event loop, the database, the model and the comparison of both."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from services.domain.errors import Conflict

which = st.integers(0, 63)
"""Which of a list whose length the rule knows only when it is run."""


def chosen(items, number):
    """Return the one that a number means; the last is 0, so that small numbers mean new things."""
    return items[-1 - number % len(items)]


class MachineBase(RuleBasedStateMachine):
    """Rules are synchronous; what they do runs on one event loop."""

    node_ids = ("node_a", "node_b", "node_c")

    def do(self, work):
        """Return what a coroutine returns; nobody knows whether all is well before a check."""
        self.is_sound = False
        return self.runner.run(work)

    def ask(self, request, *args, is_refused=False, **options):
        """Make a request in a transaction; return whether it was accepted, as it has to be."""

        async def ask():
            async with self.database.transaction() as session:
                await request(session, *args, **options)

        if is_refused:
            self.fails(Conflict, ask())
        else:
            self.do(ask())
        return not is_refused

    def fails(self, error, work):
        """Check that a coroutine raises what it has to."""

        async def fail():
            with pytest.raises(error):
                await work

        self.do(fail())
