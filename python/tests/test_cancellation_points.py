"""An operation that is cancelled at any of its awaits is, and never gives its answer to the next.

A pool has one connection, so whatever the cancelled operation left on it is met at once. For each
operation the first await is cancelled, then the second, until one is reached that isn't there: once
while it waits, and once when what it waited for has come but hasn't been taken; on a connection
that is open, and on an engine that has none yet, so that connecting is cancelled too. After each,
the same engine loads another session, whose mark nobody else has, and the server is asked how many
connections there are. ROUNDS=10000 makes it longer (`make cancellations`); SEED repeats a
run: keys, values and order come from it.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from sessile.contract import Changes, Life, Loaded
from sessile.urls import open_async_engine
from stores import World

ROUNDS = int(os.environ.get("ROUNDS", 250))
FOREVER = Life()
AWAITS_MOST = 200
"""So many awaits no operation has."""


class CancelledAt(Awaitable[Any]):
    """A coroutine whose task is cancelled at one of its awaits."""

    def __init__(self, work: Coroutine[Any, Any, Any], number: int, late: bool) -> None:
        self.work, self.number, self.late = work, number, late
        self.reached = False

    def __await__(self) -> Generator[Any, Any, Any]:
        task = asyncio.current_task()
        assert task is not None
        step, seen = self.work.__await__(), 0
        try:
            waits_for = step.send(None)
            while True:
                if seen == self.number:
                    self.reached = True
                    if self.late and waits_for is not None:
                        # Before the task hears of it, since it adds its own callback later.
                        waits_for.add_done_callback(lambda _: task.cancel())
                    else:
                        task.cancel()
                seen += 1
                try:
                    got = yield waits_for
                except BaseException as error:
                    waits_for = step.throw(error)
                else:
                    waits_for = step.send(got)
        except StopIteration as end:
            return end.value


class Points:
    """Sessions on an engine with one connection, cancelled point by point."""

    def __init__(self, url: str, draw: random.Random) -> None:
        self.url, self.draw = url, draw
        self.engine = open_async_engine(url)
        self.rounds = 0

    def key(self) -> bytes:
        return f"point:{self.draw.randbytes(24).hex()}".encode()

    async def make(self) -> tuple[bytes, bytes]:
        """A session, and its mark."""
        key, mark = self.key(), self.draw.randbytes(16).hex().encode()
        made = await self.engine.create(key, {b"mark": mark, b"a": b"0", b"b": b"0"}, FOREVER)
        assert made is not None
        return key, mark

    def operations(self) -> dict[str, Callable[[bytes], Coroutine[Any, Any, Any]]]:
        value = b"%d" % self.draw.getrandbits(40)
        both = Changes(set={b"a": value, b"b": value})
        fields = {b"mark": b"new"}
        return {
            "create": lambda _: self.engine.create(self.key(), fields, FOREVER),
            "load": lambda key: self.engine.load(key),
            "save": lambda key: self.engine.save(key, both, FOREVER),
            "end": lambda key: self.engine.end(key),
        }

    async def cancel(self, name: str, number: int, late: bool, cold: bool) -> bool:
        """Whether the operation has such an await. Afterwards all is as it should be."""
        key, mark = await self.make()
        if cold:
            await self.engine.close()
            self.engine = open_async_engine(self.url)
        new = self.key()
        if name == "rotate":
            work = self.engine.rotate(key, new, Changes(), FOREVER)
        else:
            work = self.operations()[name](key)
        cancelled = CancelledAt(work, number, late)

        async def run() -> Any:
            return await cancelled

        (answer,) = await asyncio.gather(asyncio.ensure_future(run()), return_exceptions=True)
        ended = isinstance(answer, asyncio.CancelledError)
        assert ended == cancelled.reached, (name, number, late, answer)
        other, its_mark = await self.make()
        found = await self.engine.load(other)
        assert isinstance(found, Loaded) and found.fields[b"mark"] == its_mark, "another's answer"
        await self.look_at(name, key, new, mark)
        self.rounds += 1
        return cancelled.reached

    async def look_at(self, name: str, key: bytes, new: bytes, mark: bytes) -> None:
        """The session is what it was, or what the operation was to make of it."""
        found = [await self.engine.load(one) for one in (key, new)]
        whole = [one for one in found if isinstance(one, Loaded)]
        for one in whole:
            assert one.fields[b"mark"] == mark, "another session's answer"
            assert one.fields[b"a"] == one.fields[b"b"], "half a save"
        if name == "rotate" and not whole:
            # What was sent is on its way: the old key was looked at before, the new one after.
            whole = [one for one in [await self.engine.load(new)] if isinstance(one, Loaded)]
        assert whole or name == "end", (name, found)


async def until_there_are(connections: Callable[[], int], number: int) -> None:
    """A server sees late that a client has gone."""
    ends = time.monotonic() + 30
    while connections() != number:
        assert time.monotonic() < ends, f"{connections()} connections instead of {number}"
        await asyncio.sleep(0.01)


async def all_points(url: str, seed: int, connections: Callable[[], int]) -> dict[str, int]:
    """Cancels everywhere until there were enough rounds; answers the awaits of each operation."""
    before = connections()
    points = Points(url, random.Random(seed))
    awaits: dict[str, int] = {}
    ways = [(late, cold) for late in (False, True) for cold in (False, True)]
    while points.rounds < ROUNDS:
        for name in ("create", "load", "save", "rotate", "end"):
            for late, cold in ways:
                for number in range(AWAITS_MOST):
                    is_there = await points.cancel(name, number, late, cold)
                    await until_there_are(connections, before + 1)
                    if not is_there:
                        break
                    awaits[name] = max(awaits.get(name, 0), number + 1)
                else:
                    raise AssertionError(f"{name} doesn't end")
    await points.engine.close()
    await until_there_are(connections, before)
    return awaits


@pytest.mark.timeout(3600 if ROUNDS > 1000 else 120)
@pytest.mark.parametrize("store", ["redis", "sessile", "unix", "memcached"])
def test_a_cancelled_await_leaves_nothing_to_the_next_request(store: str, world: World) -> None:
    if store == "memcached":
        asked = memcached_connections(world.memcached()[0])
    else:
        asked = redis_connections(
            world.redis().url if store == "redis" else world.sessile().redis_url
        )
    url = world.url(store, "pool=1&pool_wait=20&timeout=20")
    seed = int(os.environ.get("SEED", 0)) or time.time_ns() % 1_000_000
    print(f"SEED={seed}")
    with asked as connections:
        awaits = asyncio.run(all_points(url, seed, connections))
    print(f"{store}: awaits of {awaits}")
    assert set(awaits) == {"create", "load", "save", "rotate", "end"}


@contextmanager
def redis_connections(url: str) -> Iterator[Callable[[], int]]:
    """Asks redis-server, or ours, how many clients it has."""
    import redis

    with redis.Redis.from_url(url) as client:
        yield lambda: client.info("clients")["connected_clients"]


@contextmanager
def memcached_connections(address: str) -> Iterator[Callable[[], int]]:
    """Asks memcached."""
    from pymemcache.client.base import Client

    host, port = address.rsplit(":", 1)
    with closing(Client((host, int(port)), no_delay=True)) as client:
        yield lambda: int(client.stats()[b"curr_connections"])
