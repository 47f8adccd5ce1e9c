"""An operation that is cancelled, wherever it is, spoils nothing for those that come after it.

Each round cancels a load, a save or a rotation somewhere on its way, beside others on the same few
connections; afterwards every session holds what it can hold: its own mark, fields that are saved
together only together, and a count of at least all saves that were answered. ROUNDS=10000 makes it
longer (`make cancellations`); SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import Any

import pytest

from sessile.contract import Changes, Life, Loaded
from sessile.urls import open_async_engine
from stores import World

ROUNDS = int(os.environ.get("ROUNDS", 250))
FOREVER = Life()
SESSIONS = 6


def new_key(draw: random.Random) -> bytes:
    """A key that no session ever had."""
    return f"cancel:{draw.randbytes(24).hex()}".encode()


class Session:
    """One session, and what is known of it."""

    def __init__(self, number: int, draw: random.Random) -> None:
        self.draw = draw
        self.key = new_key(draw)
        self.mark = b"%d" % number
        self.answered = 0
        self.unknown = 0

    async def create(self, engine: Any) -> None:
        fields = {b"mark": self.mark, b"n": b"0", b"a": b"0", b"b": b"0"}
        assert await engine.create(self.key, fields, FOREVER) is not None

    async def load(self, engine: Any) -> None:
        self.check(await engine.load(self.key))

    async def save(self, engine: Any) -> None:
        value = b"%d" % self.draw.getrandbits(30)
        changes = Changes(set={b"a": value, b"b": value}, increment={b"n": 1})
        self.unknown += 1
        assert await engine.save(self.key, changes, FOREVER) is not None
        self.unknown -= 1
        self.answered += 1

    async def rotate(self, engine: Any) -> None:
        """To a new key. If that is cancelled, the session is under one of the two; under which may
        change as long as what was sent is on its way, so another session goes on in its place."""
        old, new = self.key, new_key(self.draw)
        try:
            await engine.rotate(old, new, Changes(), FOREVER)
        except asyncio.CancelledError:
            self.check(await under_one(engine, old, new))
            self.key, self.answered, self.unknown = new_key(self.draw), 0, 0
            await self.create(engine)
            raise
        self.key = new

    def check(self, found: Any) -> None:
        assert isinstance(found, Loaded), found
        fields = found.fields
        assert fields[b"mark"] == self.mark, "another session's answer"
        assert fields[b"a"] == fields[b"b"], "half a save"
        assert self.answered <= int(fields[b"n"]) <= self.answered + self.unknown


async def under_one(engine: Any, old: bytes, new: bytes) -> Any:
    """The session under whichever of two keys it is."""
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        # If it moves between the two looks, it's found the next time.
        for key in (old, new):
            found = await engine.load(key)
            if isinstance(found, Loaded):
                return found
    raise AssertionError("neither key has the session")


async def rounds(url: str, seed: int, rotates: bool) -> None:
    draw = random.Random(seed)
    engine = open_async_engine(url)
    sessions = [Session(number, draw) for number in range(SESSIONS)]
    for session in sessions:
        await session.create(engine)
    for _ in range(ROUNDS):
        works = ["load", "save", "save", *(["rotate"] if rotates else [])]
        jobs = [
            asyncio.ensure_future(getattr(session, draw.choice(works))(engine))
            for session in sessions
        ]
        victim = draw.choice(jobs)
        for _ in range(draw.randrange(14)):
            await asyncio.sleep(0)
        if draw.random() < 0.5:
            await asyncio.sleep(draw.random() * 0.002)
        victim.cancel()
        answers = await asyncio.gather(*jobs, return_exceptions=True)
        for job, answer in zip(jobs, answers, strict=True):
            if isinstance(answer, BaseException):
                assert isinstance(answer, asyncio.CancelledError) and job is victim, answer
    for session in sessions:
        await session.load(engine)
    # All connections are there to be used: as many at once as the pool has.
    await asyncio.wait_for(asyncio.gather(*(session.load(engine) for session in sessions)), 20)
    await engine.close()


@pytest.mark.timeout(3600 if ROUNDS > 1000 else 120)
@pytest.mark.parametrize("store", ["redis", "sessile", "unix", "memcached"])
def test_a_cancelled_operation_spoils_nothing(store: str, world: World) -> None:
    url = world.url(store, "pool=3&pool_wait=20&timeout=20")
    seed = int(os.environ.get("SEED", 0)) or time.time_ns() % 1_000_000
    print(f"SEED={seed}")
    # A rotation on memcached is several steps, which a client that goes away leaves half done.
    asyncio.run(rounds(url, seed, rotates=store != "memcached"))
