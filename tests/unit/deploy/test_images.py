"""Dockerfiles: the linter is content, and what they are built from is pinned."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from compose_files import MAIN, ROOT, read

FILES = sorted((ROOT / "deploy" / "images").glob("*.Dockerfile"))
STAND_INS = sorted((ROOT / "tests" / "compose" / "stand_ins").glob("*.Dockerfile"))


def test_linter_is_content():
    assert len(FILES) == 2
    hadolint = Path(sys.executable).with_name("hadolint")
    linted = subprocess.run(
        [str(hadolint), *map(str, [*FILES, *STAND_INS])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.stdout + linted.stderr == ""


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_base_is_pinned_and_the_process_is_not_root(file):
    text = file.read_text()
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.11\.\d+-slim-bookworm$", text, re.M)
    assert re.findall(r"^USER (.*)$", text, re.M) == ["10001:10001"]
    assert re.search(r'^LABEL .*version="\$\{NVAE_VERSION\}"$', text, re.M)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_packages_are_those_of_the_constraints(file):
    installs = re.findall(r"pip install ([^&]*?)(?:\n(?!\s)|&&|$)", file.read_text(), re.S)
    assert installs
    for install in installs:
        is_pinned = "--constraint constraints.txt" in install or "==" in install
        assert is_pinned or "--no-deps --no-build-isolation" in install, install


def test_stand_ins_are_of_the_same_version_as_what_they_stand_in_for():
    images = {service["image"] for service in read(MAIN)["services"].values()}
    for file in STAND_INS:
        [image] = re.findall(r"^# In place of (\S+), where", file.read_text(), re.M)
        assert image in images


def test_only_what_is_needed_is_sent_to_the_builder():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule for rule in rules if rule.startswith("!")} == {
        *("!pyproject.toml", "!constraints.txt", "!README.md"),
        *("!nvae_core", "!nvae_client", "!services"),
    }
