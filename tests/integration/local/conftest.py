"""One set of servers and one stand-in stack for the tests that leave them running."""

from collections.abc import Iterator, Mapping

import pytest
from running_stack import RunningStack, stack

from services.local.stack import running_servers


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    with running_servers(tmp_path_factory.mktemp("servers") / "data") as environment:
        yield environment


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with stack(tmp_path_factory.mktemp("stack") / "data") as running:
        yield running
