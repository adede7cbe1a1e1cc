"""Answers sample runs from models that stay loaded; `nvae_core.sampling.server` says how.

`python -m nvae_core.cli.resident_sampler SOCKET BUDGET_BYTES IDLE_SECONDS` ends with its standard
input, or when nobody has asked for a while. It computes on one device.
"""

import os
import sys
import threading
from pathlib import Path

from nvae_core.distributed import choose_device, compute_on_one_thread, prepare_device
from nvae_core.runtime.program import keep_freed_memory
from nvae_core.sampling.server import serve


def main() -> int:
    """Serve until idle, released or broken."""
    path, budget_bytes, idle_seconds = sys.argv[1:]
    threading.Thread(target=_end_with_input, daemon=True).start()
    compute_on_one_thread()
    prepare_device()
    keep_freed_memory()
    return serve(
        Path(path),
        budget_bytes=int(budget_bytes),
        idle_seconds=float(idle_seconds),
        device=choose_device(),
    )


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        continue
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
