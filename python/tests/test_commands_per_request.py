"""How often a request asks the store, counted on the wire: a rise fails.

One table for all frameworks and stores. Untouched 0, read 1, change 2, sign-in 2, sign-out 1 or 2;
what a store or a framework can't do for that stands in the table as well, and why in
docs/sessions-stores.md. What isn't counted: what a new connection says once (`proxy.GREETING`),
where a primary is (asked once a process), and the text of a script, which a server wants once.
"""

from __future__ import annotations

import json
import time

import pytest
from django.test import override_settings

from counted import Counted, counted
from django_site import DJANGOS
from frameworks import Browser, browser
from sessile.contract import Changes, Life
from sessile.urls import open_engine
from stores import World

# What a browser does, one after the other, and how many commands that takes.
STEPS = {
    "nothing, without a session": "nothing",
    "read, without a session": "read",
    "first change": "change",
    "untouched": "nothing",
    "read": "read",
    "change": "change",
    "sign-in": "sign_in?name=ada",
    "read, signed in": "read",
    "change, signed in": "change",
    "sign-out": "sign_out",
    "sign-in from nothing": "sign_in?name=ada",
}
# Django asks at sign-out who it is. Flask doesn't read before it clears, and lets reads count as
# use; Quart does, too. Quart and ASGI can't wait where a view reads, so they load before it.
KINDS = {
    "django": ("django", {}, "django"),
    "django-async": ("django", {"face": "async"}, "django"),
    "django-own-middleware": ("django", {"middleware": DJANGOS}, "django"),
    "flask": ("flask", {}, "flask"),
    "quart": ("quart", {}, "quart"),
    "starlette": ("starlette", {}, "asgi"),
    "fastapi": ("fastapi", {}, "asgi"),
    "litestar": ("litestar", {}, "asgi"),
}
USUAL = {
    "django": [0, 0, 1, 0, 1, 2, 2, 1, 2, 2, 1],
    "flask": [0, 0, 1, 0, 1, 2, 2, 1, 2, 1, 1],
    "quart": [0, 0, 1, 1, 1, 2, 2, 1, 2, 2, 1],
    "asgi": [0, 0, 1, 1, 1, 2, 2, 1, 2, 2, 1],
}
COSTS = {
    "redis": USUAL,
    "sessile": USUAL,
    "unix": USUAL,
    "embedded": USUAL,
    "sentinel": USUAL,
    # The user's index is on another node than the session.
    "cluster": {
        "django": [0, 0, 1, 0, 1, 2, 3, 1, 2, 3, 2],
        "flask": [0, 0, 1, 0, 1, 2, 3, 1, 2, 2, 2],
        "quart": [0, 0, 1, 1, 1, 2, 3, 1, 2, 3, 2],
        "asgi": [0, 0, 1, 1, 1, 2, 3, 1, 2, 3, 2],
    },
    # A new id is two values, which may be on two servers; to slide is to write.
    "memcached": {
        "django": [0, 0, 1, 0, 1, 2, 3, 1, 2, 2, 1],
        "flask": [0, 0, 1, 0, 2, 3, 4, 2, 3, 2, 1],
        "quart": [0, 0, 1, 2, 2, 3, 4, 2, 3, 3, 1],
        "asgi": [0, 0, 1, 1, 1, 2, 3, 1, 2, 2, 1],
    },
    # The clock, WATCH and reading, MULTI with each single change, EXEC.
    "redis_noscript": {
        "django": [0, 0, 8, 0, 1, 9, 17, 1, 9, 9, 10],
        "flask": [0, 0, 8, 0, 8, 17, 24, 8, 17, 8, 10],
        "quart": [0, 0, 8, 8, 8, 17, 24, 8, 17, 16, 10],
        "asgi": [0, 0, 8, 1, 1, 9, 17, 1, 9, 9, 10],
    },
}
BLIND = {"redis": 1, "sessile": 1, "memcached": 2}
"""What a request takes that counts up without reading."""
FLEETS = {"sentinel", "cluster"}


def cost(store: Counted, browser: Browser, page: str) -> int:
    """How many commands a request takes."""
    # When a session was last used is kept in milliseconds: not in the one of its last change.
    moment = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 <= moment:
        pass
    store.take()
    assert browser.get(page).status == 200
    return len(store.take())


@pytest.mark.parametrize("framework", KINDS)
@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.fleet if one in FLEETS else ()) for one in COSTS]
)
def test_commands_per_request(name: str, framework: str, world: World) -> None:
    app, config, kind = KINDS[framework]
    with counted(name, world) as store, browser(app, store.url, config) as client:
        # A first write finds out whether scripts may be run.
        client.get("change")
        client.id = None
        counts = {step: cost(store, client, page) for step, page in STEPS.items()}
        signed_in = client.get("read").text
    assert counts == dict(zip(STEPS, COSTS[name][kind], strict=True))
    assert "ada" in signed_in


@pytest.mark.parametrize("name", BLIND)
def test_commands_per_request_without_reading(name: str, world: World) -> None:
    with counted(name, world) as store, browser("django", store.url) as client:
        client.get("change")
        assert cost(store, client, "count") == BLIND[name]
        assert cost(store, client, "say?text=hello") == BLIND[name]
        assert "hello" in client.get("hear").text


def test_commands_per_request_save_every_request(world: World) -> None:
    for name in ("redis", "sessile", "memcached"):
        with counted(name, world) as store, browser("django", store.url) as client:
            client.get("change")
            with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
                assert cost(store, client, "nothing") == 2
                assert cost(store, client, "read") == 2


@pytest.mark.parametrize("framework", ["django", "flask", "quart", "starlette"])
def test_commands_per_request_with_a_bad_cookie(framework: str, world: World) -> None:
    with counted("redis", world) as store, browser(framework, store.url) as client:
        for bad in ("x", "a" * 31, "a" * 42, "A" * 32, "*" * 32, "*" * 43, "a" * 10_000):
            client.id = bad
            assert cost(store, client, "read") == 0
            assert [proxy.bytes_sent for proxy in store.proxies] == [0]


def test_commands_per_request_when_somebody_else_writes_meanwhile(world: World) -> None:
    """What memcached was asked for is not there any more: it's read again, and nothing is lost."""
    other = open_engine(world.url("memcached", "timeout=20"))
    with counted("memcached", world) as store, browser("starlette", store.url) as client:
        client.get("change")
        pear = Changes(set={b"cart.pear": b"1 9"})
        client.meanwhile(lambda: other.save(client.key(), pear, Life()))
        assert cost(store, client, "meanwhile") == 4
        assert json.loads(client.get("read").text) == {"hits": 2, "cart": {"pear": 1}}
    other.close()
