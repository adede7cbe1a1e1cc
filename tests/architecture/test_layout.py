"""The tree keeps its shape: files stay short, and names say what is in them."""

from pathlib import Path

from tiers import PROCESSES, TESTS

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for package in ("nvae_core", "services", "nvae_client")
    for path in (ROOT / package).rglob("*.py")
    if "versions" not in path.parts
]
WORDS_NOT_USED = {
    *("manager", "helper", "helpers", "util", "utils", "common", "misc", "info"),
    *("nursery", "patience", "outlived", "orphans", "verdict", "census", "lifeline", "strays"),
}


def test_no_source_file_is_longer_than_400_lines():
    lengths = {path.name: len(path.read_text().splitlines()) for path in SOURCES}
    assert len(SOURCES) > 50
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_no_module_has_a_name_that_says_nothing():
    assert {path.stem for path in SOURCES} & WORDS_NOT_USED == set()


def test_services_read_the_environment_in_their_settings_only():
    # They pass it on to the processes that they start, as services.local does.
    starters = {"process.py", "container.py"}
    readers = {
        path.name
        for path in (ROOT / "services").rglob("*.py")
        if "local" not in path.parts and "os.environ" in path.read_text()
    }
    assert readers - starters == set()


def test_tier_of_processes_names_tests_that_are_there():
    assert [name for name in PROCESSES if not (TESTS / name).exists()] == []
