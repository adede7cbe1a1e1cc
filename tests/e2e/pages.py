"""The examples of a page in `docs/`, run in order by one shell and compared with what it shows.

Blocks in `bash` and `python` are run; the `http`, `json` and `text` blocks behind one show excerpts
of what it prints. Blocks in another language are left alone.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from excerpts import find_missing

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = {"bash", "python"}
SHOWN = {"http", "json", "text"}


@dataclass
class Example:
    """A block that is run, and the blocks that show what it prints."""

    language: str
    code: str
    shown: list[tuple[str, str]] = field(default_factory=list)


def read_examples(page: str, instead: Mapping[str, str]) -> list[Example]:
    """Return the examples of a page, with words replaced; each must occur."""
    text = (DOCS / page).read_text()
    for words, others in instead.items():
        assert words in text, f"{page} has no {words!r}"
        text = text.replace(words, others)
    examples: list[Example] = []
    for language, content in BLOCK.findall(text):
        if language in RUN:
            examples.append(Example(language, content))
        elif language in SHOWN:
            examples[-1].shown.append((language, content))
    return examples


def run_examples(
    examples: Sequence[Example], *, folder: Path, environment: Mapping[str, str], seconds: float
) -> None:
    """Run all examples in a folder, by one shell, and compare; the first that fails is told."""
    script = folder / "examples.sh"
    script.write_text("".join(_script(examples, folder)))
    status = _run(["bash", str(script)], folder=folder, environment=environment, seconds=seconds)
    reached = [example for n, example in enumerate(examples) if (folder / f"{n}.out").exists()]
    for number, example in enumerate(reached):
        printed = (folder / f"{number}.out").read_text(errors="replace")
        told = f"{example.code}\nprinted\n{printed[-3000:]}\n"
        errors = (folder / f"{number}.err").read_text()[-2000:]
        assert status == 0 or example is not reached[-1], f"{status} of {told}{errors}"
        for language, shown in example.shown:
            missing = find_missing(language, shown, printed)
            assert missing is None, f"{told}and not\n{missing}"
    assert len(reached) == len(examples)


def _script(examples: Sequence[Example], folder: Path) -> Iterator[str]:
    yield "set -euo pipefail\n"
    for number, example in enumerate(examples):
        code = example.code
        if example.language == "python":
            (folder / f"{number}.py").write_text(code)
            code = f"{sys.executable} {number}.py\n"
        yield f"exec >{folder}/{number}.out 2>{folder}/{number}.err\n{code}"


def _run(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], seconds: float
) -> int | str:
    """Return the exit status; what the command started ends with it."""
    process = subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return "the time was over in the middle"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
