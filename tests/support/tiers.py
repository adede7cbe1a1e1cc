"""Which tests are of the tier of processes."""

from pathlib import Path

TESTS = Path(__file__).parents[1]
# Tests that start and kill real processes; others are marked one by one.
PROCESSES = (
    "e2e",
    "faults/processes",
    "integration/api/test_every_operation.py",
    "integration/client",
    "integration/deploy",
    "integration/local",
    "integration/worker/test_container.py",
    "integration/worker/test_launcher.py",
    "integration/worker/test_sampler.py",
    "integration/worker/test_worker_process.py",
)


def is_of_processes(path: Path) -> bool:
    """Return whether the tests of a file are of that tier."""
    return any(path.is_relative_to(TESTS / name) for name in PROCESSES)
