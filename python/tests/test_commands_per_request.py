"""How often a request asks the store, counted on the wire: a rise fails.

Untouched 0, read 1, change 2, sign-in 2, sign-out 2 (the signal that Django sends at sign-out
wants to know who it is, so the session is read). A sign-in from nothing is 1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import AsyncClient, Client, override_settings

from django_site import DJANGOS, OURS, middleware
from proxy import Proxy


class Browser:
    """A client that is synchronous or asynchronous, and one way to use either."""

    def __init__(self, proxy: Proxy, face: str) -> None:
        self.proxy, self.a = proxy, "a" if face == "async" else ""
        self.client: Any = AsyncClient() if self.a else Client()
        self.loop = asyncio.new_event_loop() if self.a else None

    def get(self, name: str) -> Any:
        if self.loop is None:
            return self.client.get(f"/{name}")
        return self.loop.run_until_complete(self.client.get(f"/{self.a}{name}"))

    def cost(self, name: str) -> int:
        """How many commands a request takes."""
        self.proxy.take()
        assert self.get(name).status_code == 200
        return len(self.proxy.take())

    def close(self) -> None:
        if self.loop is not None:
            from sessile.django.config import configured

            self.loop.run_until_complete(configured().async_engine().close())
            self.loop.close()


@pytest.fixture(params=["sync", "async"])
def browser(request: pytest.FixtureRequest, any_site: Proxy) -> Iterator[Browser]:
    browser = Browser(any_site, request.param)
    # The first of each script is sent in full; that isn't what is counted here.
    for name in ("change", "change", "sign_in?name=ada", "sign_out"):
        browser.get(name)
    browser.client.cookies.clear()
    yield browser
    browser.close()


@pytest.mark.parametrize("whose", [OURS, DJANGOS])
def test_commands_per_request_django(browser: Browser, whose: str) -> None:
    with middleware(whose):
        counts = {
            "nothing without a session": browser.cost("nothing"),
            "read without a session": browser.cost("read"),
            "first change": browser.cost("change"),
            "untouched": browser.cost("nothing"),
            "read": browser.cost("read"),
            "change": browser.cost("change"),
            "sign-in": browser.cost("sign_in?name=ada"),
            "read, signed in": browser.cost("read"),
            "change, signed in": browser.cost("change"),
            "sign-out": browser.cost("sign_out"),
            "sign-in from nothing": browser.cost("sign_in?name=ada"),
        }
    assert counts == {
        "nothing without a session": 0,
        "read without a session": 0,
        "first change": 1,
        "untouched": 0,
        "read": 1,
        "change": 2,
        "sign-in": 2,
        "read, signed in": 1,
        "change, signed in": 2,
        "sign-out": 2,
        "sign-in from nothing": 1,
    }


def test_commands_per_request_without_reading(any_site: Proxy) -> None:
    browser = Browser(any_site, "sync")
    browser.get("change")
    assert browser.cost("count") == 1
    assert browser.cost("say?text=hello") == 1
    assert browser.get("hear").json() == {"heard": ["hello"]}


def test_commands_per_request_save_every_request(any_site: Proxy) -> None:
    browser = Browser(any_site, "sync")
    browser.get("change")
    with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
        assert browser.cost("nothing") == 2
        assert browser.cost("read") == 2


def test_commands_per_request_with_a_bad_cookie(any_site: Proxy) -> None:
    browser = Browser(any_site, "sync")
    for bad in ("x", "a" * 31, "A" * 32, "*" * 32, "a" * 10_000, "\u00e9" * 32):
        browser.client.cookies["sessionid"] = bad
        assert browser.cost("read") == 0
        assert any_site.bytes_sent == 0
