"""What is read out of `Prefer` and `Accept`."""

import httpx
import pytest
from fastapi import FastAPI

from services.api.dependencies import WaitSeconds, WantsPicture


@pytest.fixture
async def ask():
    """Return a function that sends header lines and returns what is read out of them."""
    app = FastAPI()

    @app.get("/")
    async def show(wait_seconds: WaitSeconds, wants_picture: WantsPicture) -> dict[str, object]:
        return {"wait_seconds": wait_seconds, "wants_picture": wants_picture}

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test"
    ) as client:

        async def send(*lines):
            return (await client.get("/", headers=list(lines))).json()

        yield send


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("", None),
        ("wait=5", 5.0),
        ("Wait = 5", 5.0),
        ("wait=0", 0.0),
        ('respond-async, wait="20"; foo=bar', 20.0),
        ("wait=3600", 60.0),
        ("wait=-1", None),
        ("wait=soon", None),
        ("await=5", None),
    ],
)
async def test_wait_is_read_as_rfc_7240_has_it_and_what_makes_no_sense_is_ignored(
    ask, prefer, seconds
):
    assert (await ask(("Prefer", prefer)))["wait_seconds"] == seconds


@pytest.mark.parametrize("prefer", ["wait", "respond-async, Wait", "wait=", 'wait=""'])
async def test_wait_without_a_number_is_the_longest_one(ask, prefer):
    assert (await ask(("Prefer", prefer)))["wait_seconds"] == 60.0


async def test_nobody_waits_who_does_not_ask_for_it(ask):
    assert (await ask())["wait_seconds"] is None


async def test_every_line_of_a_header_is_read(ask):
    answer = await ask(
        ("Prefer", "respond-async"),
        ("Prefer", "wait=7"),
        ("Accept", "text/html"),
        ("Accept", "image/png"),
    )
    assert answer == {"wait_seconds": 7.0, "wants_picture": True}


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("image/png", True),
        ("text/html, image/PNG;q=0.9", True),
        ("image/png;q=0.01", True),
        ("image/png;q=0", False),
        ("image/png; Q=0.00, application/json", False),
        ("*/*", False),
        ("application/json", False),
        ("", False),
    ],
)
async def test_picture_is_wanted_only_by_name_and_if_it_has_weight(ask, accept, wanted):
    assert (await ask(("Accept", accept)))["wants_picture"] is wanted
