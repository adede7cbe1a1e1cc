"""What the ranks of a run print, read in pieces as it appears."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

MAX_PIECE_BYTES = 64 * 1024
OUTPUTS = ("stdout.log", "stderr.log")  # of a rank that torchrun started
SINGLE = "trainer.log"  # of the one that runs alone, and of torchrun itself


@dataclass(frozen=True)
class Piece:
    """Whole lines of one rank, and where they begin in all that it has printed."""

    rank: int
    offset: int
    text: str
    path: Path
    end: int  # in the file


class RankLogs:
    """Follows the files in a run's folder of logs.

    Ranks are counted over all nodes of the run; torchrun's own words are rank 0's, or rather those
    of the node's first rank.
    """

    def __init__(self, folder: Path, *, first_rank: int) -> None:
        self._folder = folder
        self._first_rank = first_rank
        self._read: dict[Path, int] = defaultdict(int)  # bytes, by file
        self._stored: dict[int, int] = defaultdict(int)  # bytes, by rank

    def read(self) -> list[Piece]:
        """Return the next piece of each file that has grown; one per rank."""
        pieces: dict[int, Piece] = {}
        for path, rank in self._files():
            if rank not in pieces and (piece := self._next(path, rank)) is not None:
                pieces[rank] = piece
        return list(pieces.values())

    def has_stored(self, piece: Piece) -> None:
        """Go on behind a piece."""
        self._read[piece.path] = piece.end
        self._stored[piece.rank] += len(piece.text.encode())

    def _files(self) -> list[tuple[Path, int]]:
        files = [(self._folder / SINGLE, self._first_rank)]
        for path in sorted(self._folder.rglob("std*.log")):
            if path.name in OUTPUTS and path.parent.name.isdecimal():
                files.append((path, self._first_rank + int(path.parent.name)))
        return files

    def _next(self, path: Path, rank: int) -> Piece | None:
        start = self._read[path]
        try:
            with path.open("rb") as file:
                file.seek(start)
                content = file.read(MAX_PIECE_BYTES)
        except FileNotFoundError:
            return None
        # The last line may still be written; one that is too long for a piece is cut.
        end = content.rfind(b"\n") + 1
        if end == 0 and len(content) == MAX_PIECE_BYTES:
            end = len(content)
        if end == 0:
            return None
        text = content[:end].decode(errors="replace").replace("\0", "\ufffd")
        return Piece(rank, self._stored[rank], text, path, start + end)
