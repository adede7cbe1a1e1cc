"""A quarter of an hour on a GPU: is it right, how fast is it, and what would make it faster.

`python -m benchmarks.gpu_session [--device cuda|cpu] [--size full|tiny] [--preset NAME]
[--out FILE] [SECTION …]`. Each section is a process with a time limit of its own and gives one JSON
line at once: what it measured, also if it then failed (`error`) or was ended (`timeout`). The most
telling come first. `--device cpu --size tiny` is a rehearsal.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from nvae_core.presets import PRESETS

ROOT = Path(__file__).parents[1]
SESSION_SECONDS = 540.0
CPU_FACTOR = 10.0  # limits of a CPU in those of a GPU
LOG_CHARACTERS = 2000  # of an error's traceback, or of the log of a process that died


class Section(NamedTuple):
    """A function of a module of this package, that yields figures by name."""

    name: str
    module: str
    limit_seconds: float


SECTIONS = (
    Section("ceilings", "gpu_operations", 40),
    Section("right", "gpu_steps", 45),
    Section("synchronisations", "gpu_steps", 40),
    Section("eager", "gpu_steps", 75),
    Section("bits", "gpu_steps", 60),
    Section("operations", "gpu_operations", 60),
    Section("weights", "gpu_operations", 45),
    Section("compiled", "gpu_steps", 150),
    Section("graph", "gpu_steps", 100),
    Section("large", "gpu_steps", 100),
    Section("programs", "gpu_runs", 120),
    Section("checkpoint", "gpu_runs", 45),
    Section("sampling", "gpu_runs", 45),
)
# Only by name, to see what failures do; with limits of their own.
FAILING = (
    Section("raises", "gpu_session", 60),
    Section("dies", "gpu_session", 60),
    Section("hangs", "gpu_session", 5),
)
BY_NAME = {section.name: section for section in (*SECTIONS, *FAILING)}


def raises(_setting: object) -> Iterator[dict[str, object]]:
    """Fail after the first figure."""
    yield {"before": 1}
    raise RuntimeError("on purpose")


def dies(_setting: object) -> Iterator[dict[str, object]]:
    """End without a word."""
    yield {"before": 1}
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(_setting: object) -> Iterator[dict[str, object]]:
    """Give a figure, and never end."""
    yield {"before": 1}
    while True:
        time.sleep(60)


def run_section(
    section: Section, options: argparse.Namespace, limit_seconds: float
) -> dict[str, object]:
    """Return the line of a section, whatever happens to its process."""
    began_at = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        figures, log = Path(folder, "figures.jsonl"), Path(folder, "log")
        arguments = ["--device", options.device, "--size", options.size]
        arguments += ["--preset", options.preset, "--inside", str(figures)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.gpu_session", *arguments, section.name],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"NVAE_DEVICE": options.device},
            )
            try:
                status = process.wait(limit_seconds)
            except subprocess.TimeoutExpired:
                status = None
            finally:  # with the processes that it started
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        line: dict[str, object] = {
            "section": section.name,
            "seconds": round(time.perf_counter() - began_at, 1),
            **_read_figures(figures),
        }
        if status is None:
            line["timeout"] = round(limit_seconds, 1)
        elif status != 0 and "error" not in line:
            tail = log.read_text(errors="replace")[-LOG_CHARACTERS:]
            line |= {"error": f"the process ended with status {status}", "log": tail}
    return line


def _read_figures(path: Path) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    if path.exists():
        for line in path.read_text().splitlines():
            with suppress(ValueError):  # cut off
                figures |= json.loads(line)
    return figures


def run_inside(section: Section, options: argparse.Namespace) -> int:
    """Be the process of one section; return its exit status."""
    with options.inside.open("a") as file:

        def write(figures: dict[str, object]) -> None:
            file.write(json.dumps(figures) + "\n")
            file.flush()

        try:
            setting: object = None
            if section not in FAILING:
                cases = import_module("benchmarks.gpu_cases")
                setting = cases.open_setting(options.device, options.size, options.preset)
            module = import_module(f"benchmarks.{section.module}")
            for figures in getattr(module, section.name)(setting):
                write(figures)
        except Exception as error:  # whatever it is, the line says so
            text = traceback.format_exc()[-LOG_CHARACTERS:]
            write({"error": f"{type(error).__name__}: {error}"[:LOG_CHARACTERS], "traceback": text})
            return 1
    return 0


def main(arguments: list[str]) -> int:
    """Print one line for each section; return 1 if one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_session")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(BY_NAME))
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--size", choices=["full", "tiny"], default="full")
    parser.add_argument(
        "--preset", default="cifar10-released", choices=PRESETS, help="of all but `large`"
    )
    parser.add_argument("--out", type=Path, help="a file that gets the lines too")
    parser.add_argument("--seconds", type=float, default=SESSION_SECONDS, help="of all on a GPU")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_intermixed_args(arguments)
    unknown = sorted(set(options.sections) - BY_NAME.keys())
    if unknown:
        parser.error(f"SECTION: {', '.join(unknown)} are not among {', '.join(BY_NAME)}")
    sections = [BY_NAME[name] for name in options.sections] or list(SECTIONS)
    if options.inside:
        return run_inside(sections[0], options)
    has_failed = False
    for line in _run_all(sections, options):
        text = json.dumps(line)
        print(text, flush=True)
        if options.out:
            with options.out.open("a") as file:
                file.write(text + "\n")
        has_failed |= bool({"error", "timeout"} & line.keys())
    return int(has_failed)


def _run_all(sections: list[Section], options: argparse.Namespace) -> Iterator[dict[str, object]]:
    ends_at = time.monotonic() + options.seconds
    for section in sections:
        limit = section.limit_seconds
        if options.device == "cuda":
            limit = min(limit, ends_at - time.monotonic())
        elif section not in FAILING:
            limit *= CPU_FACTOR
        if limit > 0:
            yield run_section(section, options, limit)
        else:
            yield {"section": section.name, "seconds": 0.0, "timeout": 0.0}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
