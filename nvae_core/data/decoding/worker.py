"""One decoding process: names of files in, pixels out, until the other end closes.

A request is a JSON list of names. The reply is a JSON list with null for each image that was
decoded, or what is wrong with it, and then the pixels of all that were.
"""

import json
import resource
import sys
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

from nvae_core.data.archives import FolderFiles, ZipFiles, open_files
from nvae_core.data.decoding.image import DecodePlan, decode_image
from nvae_core.data.errors import shown

READY = b"ready"
MAX_FILE_BYTES = 256 * 2**20
MAX_MEMORY_BYTES = 4 * 2**30


def main() -> None:
    """Serve the connection that this process inherited."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")  # of files that are not quite right
    connection = Connection(int(sys.argv[1]))
    files = open_files(Path(sys.argv[2]))
    plan = DecodePlan(**json.loads(sys.argv[3]))
    connection.send_bytes(READY)
    while True:
        try:
            names = json.loads(connection.recv_bytes())
        except EOFError:
            return
        _answer(connection, files, plan, names)


def _answer(
    connection: Connection, files: FolderFiles | ZipFiles, plan: DecodePlan, names: list[str]
) -> None:
    problems: list[str | None] = []
    pixels: list[bytes] = []
    for name in names:
        try:
            content = files.read(name, max_bytes=MAX_FILE_BYTES)
            pixels.append(decode_image(content, plan).tobytes())
            problems.append(None)
        except Exception as error:  # a decoder of hostile bytes fails in every way there is
            problems.append(shown(str(error)) or type(error).__name__)
    connection.send_bytes(json.dumps(problems).encode())
    connection.send_bytes(b"".join(pixels))


if __name__ == "__main__":
    main()
