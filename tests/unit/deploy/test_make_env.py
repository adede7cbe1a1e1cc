"""`make env`: fresh passwords, for the eyes of one user, written once."""

import re
import stat
import subprocess
import sys

from compose_files import CONTROL_PLANE, MAIN, NODE, ROOT

PROGRAM = ROOT / "deploy" / "compose" / "make_env.py"


def make_env(path):
    subprocess.run([sys.executable, str(PROGRAM), str(path)], check=True, capture_output=True)
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_file_is_private_and_has_every_password_that_is_needed(tmp_path):
    made = make_env(tmp_path / ".env")
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    text = "".join(path.read_text() for path in (MAIN, CONTROL_PLANE, NODE))
    needed = set(re.findall(r"\$\{(\w+):\?", text))
    of_a_place = {"CONTROL_PLANE", "PRIVATE_ADDRESS", "NODE_NAME", "NODE_ADDRESS"}
    assert needed - of_a_place <= made.keys()


def test_passwords_are_long_and_differ_each_time(tmp_path):
    first, second = make_env(tmp_path / "1"), make_env(tmp_path / "2")
    secrets = [name for name in first if name.endswith(("PASSWORD", "KEY"))]
    assert len(secrets) == len({first[name] for name in secrets}) == 7
    assert all(len(first[name]) == 48 and first[name] != second[name] for name in secrets)


def test_file_that_is_there_stays(tmp_path):
    path = tmp_path / ".env"
    path.write_text("MINE=1\n")
    assert make_env(path) == {"MINE": "1"}
