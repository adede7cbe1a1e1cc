"""What ranks print is read whole, in order, by rank, while it is written."""

import pytest

from services.worker.publish import rank_logs
from services.worker.publish.rank_logs import RankLogs


@pytest.fixture
def logs(tmp_path):
    return RankLogs(tmp_path, first_rank=0)


def read(logs):
    """Read and store; return rank, offset and text of each piece."""
    pieces = logs.read()
    for piece in pieces:
        logs.has_stored(piece)
    return [(piece.rank, piece.offset, piece.text) for piece in pieces]


def test_lines_come_when_they_are_whole(tmp_path, logs):
    assert read(logs) == []
    with (tmp_path / "trainer.log").open("w") as file:
        file.write("one\ntw")
        file.flush()
        assert read(logs) == [(0, 0, "one\n")]
        assert read(logs) == []
        file.write("o\n")
    assert read(logs) == [(0, 4, "two\n")]


def test_piece_that_could_not_be_stored_comes_again(tmp_path, logs):
    (tmp_path / "trainer.log").write_text("one\n")
    assert logs.read() == logs.read()


def test_ranks_are_counted_over_the_nodes(tmp_path):
    for local_rank in range(2):
        folder = tmp_path / "none_x" / "attempt_0" / str(local_rank)
        folder.mkdir(parents=True)
        (folder / "stderr.log").write_text(f"err {local_rank}\n")
        (folder / "stdout.log").write_text(f"out {local_rank}\n")
    (tmp_path / "trainer.log").write_text("torchrun\n")
    logs = RankLogs(tmp_path, first_rank=4)
    found = [piece for _ in range(3) for piece in read(logs)]
    assert [text for rank, _, text in found if rank == 4] == ["torchrun\n", "err 0\n", "out 0\n"]
    assert [text for rank, _, text in found if rank == 5] == ["err 1\n", "out 1\n"]
    assert [offset for rank, offset, _ in found if rank == 4] == [0, 9, 15]


def test_long_lines_are_cut_and_bytes_that_are_no_text_are_replaced(tmp_path, logs, monkeypatch):
    monkeypatch.setattr(rank_logs, "MAX_PIECE_BYTES", 8)
    (tmp_path / "trainer.log").write_bytes(b"a" * 20 + b"\nb\0\xff\n")
    texts = [text for _ in range(6) for _, _, text in read(logs)]
    assert "".join(texts) == "a" * 20 + "\nb\ufffd\ufffd\n"
