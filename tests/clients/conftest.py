"""Servers and connections that the client tests share.

One store per test run (see tools/servers.py), emptied before each test. `feature` skips a test
on the rivals when they lack a command; our own server never gets a skip.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pymemcache
import pytest
import redis

from servers import Store


@pytest.fixture(scope="session")
def running() -> Iterator[Store]:
    """The store of this test run."""
    with Store() as store:
        yield store
        assert store.alive(), f"a server died during the tests; it printed:\n{store.log()[-4000:]}"


@pytest.fixture
def store(running: Store) -> Store:
    """The store, empty on both sides."""
    with redis.Redis(port=running.port) as client:
        client.flushall()
    if not running.ours:
        flusher = pymemcache.Client(("127.0.0.1", running.memcached_port), default_noreply=False)
        flusher.flush_all()
        flusher.close()
    return running


@pytest.fixture
def left() -> Callable[..., bool]:
    """Whether so much is left of a time that the test set, whatever passed since it began.

    Takes the whole time and what was told, in seconds or in parts of one.
    """
    began = time.monotonic()

    def is_right(whole: int, told: int, parts: int = 1) -> bool:
        passed = (time.monotonic() - began) * parts
        return whole - passed - parts <= told <= whole

    return is_right


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def client(store: Store, request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    """redis-py over TCP, once under each protocol version."""
    with redis.Redis(port=store.port, protocol=request.param) as client:
        yield client


@pytest.fixture
def feature(store: Store):
    """Call with a command's name: skips where a rival doesn't know it."""

    def need(command: str) -> None:
        if store.ours:
            return
        with redis.Redis(port=store.port) as probe:
            try:
                probe.execute_command(command)
            except redis.ResponseError as error:
                if "unknown command" in str(error):
                    pytest.skip(f"the rival has no {command}")

    return need


@pytest.fixture
def both(store: Store) -> Store:
    """The store, where one process serves both protocols; skips on the pair of rivals."""
    if not store.ours:
        pytest.skip("redis-server and memcached don't share a keyspace")
    return store
