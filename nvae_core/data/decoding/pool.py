"""Decoding on all cores, in the order of the names."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from nvae_core.data.decoding.decoder import Decoded, Decoder
from nvae_core.data.decoding.image import DecodePlan

MAX_PROCESSES = 16
MAX_FILES_PER_REQUEST = 64
MAX_REPLY_BYTES = 4 * 2**20
MAX_NAMES_CHARACTERS = 4096  # what waits to be read must fit the buffer between two processes
REQUESTS_AHEAD = 2  # of each decoder


def decode_in_order(
    path: Path, names: Sequence[str], plan: DecodePlan, *, num_processes: int | None = None
) -> Iterator[list[tuple[str, Decoded]]]:
    """Yield batches of (name, image or problem), the same whatever the number of processes.

    Args:
        path: folder or zip archive that holds the files.
        names: of the files.
        plan: how to decode them.
        num_processes: one for each core this process may use, where it is not given.
    """
    requests = list(_requests(names, plan))
    wanted = num_processes or min(MAX_PROCESSES, len(os.sched_getaffinity(0)))
    decoders: list[Decoder] = []
    try:
        decoders.extend(Decoder(path, plan) for _ in range(min(wanted, len(requests))))
        # Each takes its turn, so replies come in the order of the requests.
        ahead = REQUESTS_AHEAD * len(decoders)
        for turn in range(len(requests) + ahead):
            if turn < len(requests):
                decoders[turn % len(decoders)].ask(requests[turn])
            done = turn - ahead
            if done >= 0:
                decoded = decoders[done % len(decoders)].receive()
                yield list(zip(requests[done], decoded, strict=True))
    finally:
        for decoder in decoders:
            decoder.close()


def _requests(names: Sequence[str], plan: DecodePlan) -> Iterator[list[str]]:
    height, width, num_colors = plan.shape
    max_files = min(MAX_FILES_PER_REQUEST, max(1, MAX_REPLY_BYTES // (height * width * num_colors)))
    request: list[str] = []
    num_characters = 0
    for name in names:
        if request and (
            len(request) == max_files or num_characters + len(name) > MAX_NAMES_CHARACTERS
        ):
            yield request
            request, num_characters = [], 0
        request.append(name)
        num_characters += len(name)
    if request:
        yield request
