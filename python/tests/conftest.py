"""Engines for the contract tests (see stores.py), and a store that a test can listen to.

No URL of a test waits for less than PATIENCE unless it says so: a machine that stalls is no outage.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from proxy import Proxy, counting
from servers import RIVALS, Store
from sessile import embedded
from sessile.promises import Promise
from sessile.urls import Address
from stores import BENCHES, STORES, Bench, World

PATIENCE = 20.0
"""Seconds for a reply and for a connection, instead of the half second of production."""


@pytest.fixture(scope="session", autouse=True)
def patience() -> Iterator[None]:
    """Gives PATIENCE where a URL names no time-out."""
    number = Address.number

    def patient(self: Address, name: str, default: float, **options: Any) -> float:
        least = PATIENCE if name in ("timeout", "pool_wait") else default
        return number(self, name, max(default, least), **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Address, "number", patient)
        patch.setattr(embedded, "PATIENCE", PATIENCE)
        yield


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """The servers of this test run."""
    world = World()
    try:
        yield world
    finally:
        world.stop()


@pytest.fixture(params=BENCHES)
def bench(request: pytest.FixtureRequest, world: World) -> Iterator[Bench]:
    """Each store, with its synchronous and its asynchronous engine."""
    name, _, face = request.param.rpartition("-")
    with STORES[name](face, world) as bench:
        about = request.node.name.split("_")[1].upper()
        if about in Promise.__members__ and Promise[about] not in bench.promises:
            pytest.skip(f"{name} doesn't promise it: {Promise[about].value}")
        yield bench


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Store]:
    """Debian's redis-server."""
    with Store(command=RIVALS) as store:
        yield store


@pytest.fixture
def proxy(redis_server: Store) -> Iterator[Proxy]:
    """A proxy before it that counts commands."""
    with counting(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def site(proxy: Proxy) -> Iterator[Proxy]:
    """The Django project of django_site.py, with the proxy as its store."""
    yield from site_at(proxy, "redis")


@pytest.fixture(params=["redis", "sessile"])
def any_site(request: pytest.FixtureRequest, world: World) -> Iterator[Proxy]:
    """The same, on `redis://` and on `sessile://`."""
    if request.param == "redis":
        target = request.getfixturevalue("redis_server").port
    else:
        target = world.sessile().port
    with counting(target) as proxy:
        yield from site_at(proxy, request.param)


def site_at(proxy: Proxy, scheme: str) -> Iterator[Proxy]:
    """Django with a store behind a proxy."""
    from django.test import override_settings

    import django_site

    django_site.users()
    url = f"{scheme}://127.0.0.1:{proxy.port}"
    with override_settings(SESSILE_URL=url):
        yield proxy
