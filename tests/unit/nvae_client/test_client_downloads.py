"""Downloads are resumed, checked, and get their name last."""

import hashlib
import random

import pytest
from scripted_server import Reply, answer, problem

from nvae_client import ChecksumMismatch, NvaeError, ServiceError
from nvae_client.files import safe_path

CONTENT = random.Random(1).randbytes(50_000)
PATH = "/v1/jobs/job_1/artifacts/grid.png"
FILE = {
    "id": "art_1",
    "name": "grid.png",
    "size_bytes": len(CONTENT),
    "sha256": hashlib.sha256(CONTENT).hexdigest(),
    "content_type": "image/png",
    "created_at": "2026-01-01T00:00:00Z",
}


def rest(start, content=CONTENT, cut_after=None):
    body = content[start:]
    content_range = f"bytes {start}-{len(content) - 1}/{len(content)}"
    return Reply(body, 206, {"Content-Range": content_range}, cut_after)


@pytest.fixture
def artifact(client, server, job_answer):
    server.script("/v1/jobs", answer(job_answer(), 201))
    server.script("/v1/jobs/job_1/artifacts", answer([FILE]))
    [found] = client.jobs.submit({}).artifacts()
    server.requests.clear()
    return found


def ranges(server):
    return [request.headers.get("Range") for request in server.requests]


def test_download_over_cut_connections_comes_together(artifact, server, tmp_path):
    server.script(PATH, Reply(CONTENT, cut_after=20_000), rest(20_000, cut_after=100), rest(20_100))
    told = []
    path = artifact.download(tmp_path / "new" / "grid.png", on_progress=told.append)
    assert path.read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=20000-", "bytes=20100-"]
    assert told == sorted(told)
    assert told[-1] == len(CONTENT)
    assert [entry.name for entry in path.parent.iterdir()] == ["grid.png"]


def test_part_of_an_earlier_download_is_gone_on_with(artifact, server, tmp_path):
    (tmp_path / "grid.png.part").write_bytes(CONTENT[:30_000])
    server.script(PATH, rest(30_000))
    assert artifact.download(tmp_path / "grid.png").read_bytes() == CONTENT
    assert ranges(server) == ["bytes=30000-"]


def test_damaged_part_is_fetched_anew_once(artifact, server, tmp_path):
    (tmp_path / "grid.png.part").write_bytes(b"x" * 30_000)
    server.script(PATH, rest(30_000), Reply(CONTENT))
    assert artifact.download(tmp_path / "grid.png").read_bytes() == CONTENT
    assert ranges(server) == ["bytes=30000-", None]


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 5])
def test_part_that_is_complete_but_wrong_is_fetched_anew(artifact, server, tmp_path, size):
    (tmp_path / "grid.png.part").write_bytes(b"x" * size)
    server.script(PATH, Reply(CONTENT))
    assert artifact.download(tmp_path / "grid.png").read_bytes() == CONTENT
    assert ranges(server) == [None]


def test_what_is_wrong_twice_is_refused_and_leaves_what_was_there(artifact, server, tmp_path):
    (tmp_path / "grid.png").write_bytes(b"old")
    server.script(PATH, Reply(b"y" * len(CONTENT)))
    with pytest.raises(ChecksumMismatch, match=r"grid\.png"):
        artifact.download(tmp_path / "grid.png")
    assert len(server.requests) == 2
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [
        ("grid.png", b"old")
    ]


def test_server_without_ranges_begins_anew(artifact, server, tmp_path):
    (tmp_path / "grid.png.part").write_bytes(CONTENT[:30_000])
    server.script(PATH, Reply(CONTENT))
    assert artifact.download(tmp_path / "grid.png").read_bytes() == CONTENT


def test_file_shorter_than_its_part_is_fetched_anew(artifact, server, tmp_path):
    (tmp_path / "grid.png.part").write_bytes(CONTENT[:30_000])
    server.script(PATH, problem(416, "range_not_satisfiable"), Reply(CONTENT))
    assert artifact.download(tmp_path / "grid.png").read_bytes() == CONTENT


def test_file_that_is_there_is_not_fetched_again_unless_told(artifact, server, tmp_path):
    (tmp_path / "grid.png").write_bytes(CONTENT)
    server.script(PATH, Reply(CONTENT))
    artifact.download(tmp_path / "grid.png")
    assert server.requests == []
    artifact.download(tmp_path / "grid.png", resume=False)
    assert len(server.requests) == 1


def test_redirect_to_another_host_does_not_get_the_key(artifact, server, tmp_path):
    other = server.url.replace("127.0.0.1", "localhost")
    server.script(PATH, Reply(b"", 307, {"Location": f"{other}/bucket/grid.png?signed=1"}))
    server.script("/bucket/grid.png", Reply(CONTENT))
    assert artifact.download(tmp_path / "grid.png").read_bytes() == CONTENT
    asked, fetched = server.requests
    assert asked.headers["Authorization"] == "Bearer nvae_key"
    assert "Authorization" not in fetched.headers


def test_file_that_is_gone_is_an_error_at_once(artifact, server, tmp_path):
    server.script(PATH, problem(410, "gone", "was deleted"))
    with pytest.raises(ServiceError, match="was deleted"):
        artifact.download(tmp_path / "grid.png")
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", ""])
def test_no_file_is_written_outside_its_folder(name):
    with pytest.raises(NvaeError, match="outside"):
        safe_path(name)
