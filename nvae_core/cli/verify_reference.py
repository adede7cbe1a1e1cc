"""Check our model against reference numbers: `… nvae_core.cli.verify_reference FOLDER`."""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from nvae_core.verification.folder import FileReport, verify_folder


def main() -> int:
    """Run the program; the status is 0 only if everything is within its bound."""
    parser = argparse.ArgumentParser(
        prog="python -m nvae_core.cli.verify_reference",
        description="Compare our model with numbers of the published implementation, and print "
        "the largest relative error of each quantity.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="NAME.pt, NAME.npz, …")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    reports: list[FileReport] = []
    for report in verify_folder(arguments.folder):
        reports.append(report)
        if not arguments.json:
            _print_table(report)
    if not reports:
        sys.stderr.write(f"{arguments.folder}: there are no reference numbers\n")
        return 1
    is_within = all(report.is_within for report in reports)
    if arguments.json:
        sys.stdout.write(json.dumps(_as_document(reports), indent=2) + "\n")
    else:
        sys.stdout.write("all within bounds\n" if is_within else "not all within bounds\n")
    return 0 if is_within else 1


def _print_table(report: FileReport) -> None:
    width = max(map(len, report.comparisons), default=0)
    sys.stdout.write(f"{report.name}\n")
    for quantity, comparison in report.comparisons.items():
        mark = "" if comparison.is_within else f"  above the bound of {comparison.bound:g}"
        sys.stdout.write(f"  {quantity:<{width}}  {comparison.error:.1e}{mark}\n")
    if report.problem is not None:
        sys.stdout.write(f"  {report.problem}\n")


def _as_document(reports: Sequence[FileReport]) -> dict[str, object]:
    return {
        "within_bounds": all(report.is_within for report in reports),
        "files": {
            report.name: {
                "within_bounds": report.is_within,
                "problem": report.problem,
                "quantities": {
                    quantity: {
                        "error": comparison.error if math.isfinite(comparison.error) else None,
                        "bound": comparison.bound,
                        "within_bound": comparison.is_within,
                    }
                    for quantity, comparison in report.comparisons.items()
                },
            }
            for report in reports
        },
    }


if __name__ == "__main__":
    sys.exit(main())
