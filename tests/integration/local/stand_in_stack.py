"""A supervisor with the real servers and small stand-ins for our services.

`python stand_in_stack.py FOLDER API_PORT [PROGRAM]`; PROGRAM is Python source to run on top, or
`broken` for a service that fails at once.
"""

import sys
import textwrap
from pathlib import Path

from services.local.commands import run_stack
from services.local.processes import Part, WhenItEnds
from services.local.stack import ServiceOptions
from services.local.state import StackError

API = "import time; print('api here', flush=True); time.sleep(600)"
# Like a worker: its runner has a session of its own, outlives it, and ends with the parent lock.
WORKER = textwrap.dedent(
    """
    import subprocess, sys, time
    runner = (
        "import fcntl, os; lock = open(os.environ['NVAE_PARENT_LOCK']);"
        "fcntl.flock(lock, fcntl.LOCK_SH)"
    )
    subprocess.Popen([sys.executable, "-c", runner], start_new_session=True)
    time.sleep(600)
    """
)
MIGRATE = "import os; open(os.environ['NVAE_WORKER_DATA_FOLDER'] + '/migrated', 'a').write('x')"


def python(name: str, source: str, when_it_ends: WhenItEnds = WhenItEnds.RESTART) -> Part:
    return Part(name=name, command=(sys.executable, "-c", source), when_it_ends=when_it_ends)


def main(folder: Path, api_port: int, program: str | None) -> int:
    parts = [
        python("migrate", MIGRATE, WhenItEnds.CONTINUE),
        Part(name="api", command=(sys.executable, "-c", API), ports=(api_port,)),
        python("worker", WORKER),
    ]
    if program == "broken":
        parts = [python("migrate", "raise RuntimeError('no such column')", WhenItEnds.CONTINUE)]
    elif program:
        parts.append(python("program", program, WhenItEnds.STOP_STACK))
    options = ServiceOptions(api_port=api_port, num_slots=2, datasets=None)
    try:
        return run_stack(folder, options, after_servers=lambda _: parts)
    except StackError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    folder, api_port, *program = sys.argv[1:]
    sys.exit(main(Path(folder), int(api_port), program[0] if program else None))
