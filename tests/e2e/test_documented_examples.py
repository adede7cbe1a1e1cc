"""What the guide, the examples of the API and the runbook show is run on a stack, and is so."""

import hashlib
import io
import os
import pickle
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from excerpts import find_missing
from pages import DOCS, read_examples, run_examples
from stacks import running_stack

REQUESTS_PER_MINUTE = "600"  # as the example of an answer with 429 says
URL = "http://127.0.0.1:8000"
ALERTS = (
    *("Queue stuck", "Leases expire", "No scheduler", "Checkpoint too old", "Disk full"),
    "Error rate",
)
FIGURES = (  # of the real preset and archive; tests/unit/docs compares them
    *("ranks            8", "parameters       131 M", "steps            78 000"),
    *("memory per rank  21.0 GiB", "memory per rank  5.4 GiB"),
    "checkpoint       1.5 GiB, 3 kept",
)
CIFAR10_MD5 = "c58f30108f718f92721af3b95e74349a"
SMALL_CIFAR10 = (
    "-o model.image_size=32 -o model.image_padding=0 -o model.num_colors=3 "
    "-o model.image_distribution=logistic_mixture -o optimization.batch_size=20"
)

needs_tools = pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("bash", "curl", "jq")),
    reason="the pages use bash, curl and jq",
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    limited = os.environ | {"NVAE_API_REQUESTS_PER_MINUTE": REQUESTS_PER_MINUTE}
    with running_stack(tmp_path_factory, limited) as stack:
        yield stack


@pytest.fixture
def clone(stack, tmp_path):
    """A folder in which `.local/stack` is the stack, with its folder of sources."""
    folder = tmp_path / ".local" / "stack"
    folder.mkdir(parents=True)
    for path in stack.folder.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "datasets").unlink()
    (folder / "datasets").symlink_to(stack.sources)
    return tmp_path


@pytest.fixture
def run_page(stack, clone):
    """Return a function that runs the examples of a page."""

    def run(page, *, seconds, instead):
        programs = Path(sys.executable).parent
        environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
        examples = read_examples(page, instead | {URL: stack.url})
        run_examples(examples, folder=clone, environment=environment, seconds=seconds)

    return run


@needs_tools
def test_guide_leads_from_an_archive_to_a_model(run_page, tmp_path):
    (tmp_path / "published").mkdir()
    archive = tmp_path / "published" / "cifar-10-python.tar.gz"
    write_cifar10(archive)
    instead = {
        "make up": "python -m services.local up --data .local/stack",
        "https://www.cs.toronto.edu/~kriz": f"file://{archive.parent}",
        CIFAR10_MD5: hashlib.md5(archive.read_bytes()).hexdigest(),
        "--preset cifar10": f"--preset mnist-test {SMALL_CIFAR10}",
        "--slots 8": "--slots 1",
        "every_steps=1000": "every_steps=5",
    }
    instead |= {figure: f"{figure[:17]}…" for figure in FIGURES}
    run_page("guide.md", seconds=200, instead=instead)


def write_cifar10(path: Path) -> None:
    """Write 200 and 20 images of noise as CIFAR-10's python version has them."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 40, 3072), np.uint8)
    batches = {f"data_batch_{number}": pixels[number] for number in range(1, 6)}
    with tarfile.open(path, "w:gz") as archive:
        for name, data in (batches | {"test_batch": pixels[0, :20]}).items():
            content = pickle.dumps({"data": data, "labels": [0] * len(data)}, 2)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@needs_tools
def test_examples_of_the_api_answer_as_shown(run_page):
    run_page("api_by_example.md", seconds=200, instead={})


@needs_tools
def test_runbook_can_be_followed(run_page, client):
    client.datasets.register("woken", {"kind": "bundled", "name": "mnist_5k"}).job.wait()
    run_page("runbook.md", seconds=120, instead={})


def test_runbook_has_the_headings_that_alerts_lead_to():
    headings = {
        line for line in (DOCS / "runbook.md").read_text().splitlines() if line[:3] == "## "
    }
    assert headings >= {f"## {alert}" for alert in ALERTS}


@pytest.mark.parametrize(
    ("language", "shown", "printed", "missing"),
    [
        ("text", "a…c\nd", "abc\nx\nd\n", None),
        ("text", "d\na…c", "abc\nd\n", "a…c"),
        ("json", '{"a": {"b": "x…"}}', '1\n{"a": {"b": "xy", "c": 1}}', None),
        ("json", '{"a": {"b": 1}}', '{"a": {"c": 1}}', "/a/b"),
        ("json", '{"a": true}', '{"a": 1}', "/a: True, which is 1"),
        ("json", '{"a": [1, "b"]}', '{"a": [2]}', "/a: [1, 'b'], which is [2]"),
        ("json", '{"a": null}', '{"a": 0}', "/a: None, which is 0"),
        ("http", 'HTTP/1.1 200 OK\n\n{"a": 1}', 'HTTP/1.1 200 OK\r\n\r\n{"a":2}', None),
        ("http", "HTTP/1.1 200 OK\n", "HTTP/1.1 404 Not Found\r\n", "HTTP/1.1 200 OK"),
    ],
)
def test_excerpt_that_was_not_printed_is_told(language, shown, printed, missing):
    assert find_missing(language, shown, printed) == missing
