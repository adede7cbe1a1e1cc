"""Where the service is: arguments, then the environment, then this machine."""

import pytest

from nvae_client._transport import Address


def test_arguments_come_before_the_environment():
    environment = {"NVAE_API_URL": "https://there/", "NVAE_API_KEY": " nvae_1\n"}
    assert Address.choose(None, None, environment) == Address("https://there", "nvae_1")
    assert Address.choose("http://here", "nvae_2", environment) == Address("http://here", "nvae_2")
    assert Address.choose(None, None, {}) == Address("http://127.0.0.1:8000", None)


@pytest.mark.parametrize(
    ("url", "key"), [("127.0.0.1:8000", None), ("ftp://x", None), (None, "nvae_é"), (None, "a\nb")]
)
def test_what_can_be_no_address_is_refused_at_once(url, key):
    with pytest.raises(ValueError, match=r"http://|characters"):
        Address.choose(url, key, {})
