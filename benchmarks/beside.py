"""This checkout beside another: processor seconds of training step, samples and likelihood.

`python -m benchmarks.beside OTHER [--python PYTHON] [--rounds N] [NAME …]`, OTHER the root of the
other checkout and PYTHON its interpreter. Each figure of a round is that of a process of its own
on one thread of a CPU; the two sides take turns, so that what else the machine does touches both.
One JSON line for each configuration of `model_speed` and kind of work: medians, the median of the
ratios of the rounds (ours over theirs), and peaks of resident memory.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.model_speed import CASES, Case

ROOT = Path(__file__).parents[1]
WORKER = Path(__file__).with_name("beside_worker.py")
KINDS = ("training_step", "samples", "likelihood")


def time_once(checkout: Path, python: str, case: Case, kind: str, repeats: int) -> dict[str, float]:
    """Return what one process of a checkout measures."""
    model = case.model.model_dump_json(exclude_defaults=True)
    arguments = [str(checkout), kind, model, str(case.batch_size), str(repeats)]
    done = subprocess.run(
        [python, str(WORKER), *arguments],
        cwd=checkout,
        stdout=subprocess.PIPE,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)},
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def compare(name: str, kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of one configuration and kind of work."""
    ours: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    for number in range(options.rounds):
        sides = [(ROOT, sys.executable, ours), (options.other, options.python, theirs)]
        for checkout, python, figures in sides if number % 2 == 0 else reversed(sides):
            figures.append(time_once(checkout, python, CASES[name], kind, options.repeats))
    pairs = zip(ours, theirs, strict=True)
    ratios = [one["seconds"] / other["seconds"] for one, other in pairs]
    return {
        "name": name,
        "kind": kind,
        "seconds": round(statistics.median(one["seconds"] for one in ours), 5),
        "other_seconds": round(statistics.median(one["seconds"] for one in theirs), 5),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "peak_mib": round(statistics.median(one["peak_mib"] for one in ours), 1),
        "other_peak_mib": round(statistics.median(one["peak_mib"] for one in theirs), 1),
    }


def main() -> None:
    """Print one JSON line for each figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside")
    parser.add_argument("other", type=Path, metavar="OTHER")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--python", default=sys.executable, help="of the other checkout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5, help="calls in a process")
    options = parser.parse_intermixed_args()
    options.other = options.other.resolve()
    if not (options.other / "nvae_core").is_dir():
        parser.error(f"OTHER: {options.other} has no nvae_core")
    if unknown := sorted(set(options.names) - CASES.keys()):
        parser.error(f"NAME: {', '.join(unknown)} are not among {', '.join(CASES)}")
    for name in options.names or list(CASES):
        for kind in KINDS:
            print(json.dumps(compare(name, kind, options)), flush=True)


if __name__ == "__main__":
    main()
