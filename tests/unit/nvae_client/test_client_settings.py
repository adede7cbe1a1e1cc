"""Where the service is: arguments, then the environment, then this machine."""

import pytest
from scripted_server import answer

from nvae_client import NvaeClient


@pytest.fixture(autouse=True)
def _no_address_in_the_environment(monkeypatch):
    monkeypatch.delenv("NVAE_API_URL", raising=False)
    monkeypatch.delenv("NVAE_API_KEY", raising=False)


def test_arguments_come_before_the_environment(monkeypatch, server):
    server.script("/v1/presets", answer([]))
    monkeypatch.setenv("NVAE_API_URL", f"{server.url}/")
    monkeypatch.setenv("NVAE_API_KEY", " nvae_1\n")
    with NvaeClient() as client:
        assert client.url == server.url
        client.presets.list()
    with NvaeClient("http://here", "nvae_2") as client:
        assert client.url == "http://here"
    with NvaeClient(api_key="nvae_2") as client:
        client.presets.list()
    keys = [request.headers["Authorization"] for request in server.requests]
    assert keys == ["Bearer nvae_1", "Bearer nvae_2"]


def test_without_either_it_is_the_local_stack_without_a_key(server):
    server.script("/v1/presets", answer([]))
    with NvaeClient() as client:
        assert client.url == "http://127.0.0.1:8000"
    with NvaeClient(server.url) as client:
        client.presets.list()
    assert "Authorization" not in server.requests[0].headers


@pytest.mark.parametrize(
    ("url", "key"), [("127.0.0.1:8000", None), ("ftp://x", None), (None, "nvae_é"), (None, "a\nb")]
)
def test_what_can_be_no_address_is_refused_at_once(url, key):
    with pytest.raises(ValueError, match=r"http://|characters"):
        NvaeClient(url, key)
