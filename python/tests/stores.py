"""The stores that the contract is tested on, and one face for synchronous and async engines.

`STORES` has a row per store: how to start it and the URL of an engine on it. A `Bench` is one
engine in one test: the engine, keys that nobody used, and a clock that can be moved where the
store allows it and else is waited for. `Awaited` gives an AsyncEngine the synchronous face, on
an event loop in a thread of its own, so that each test is written once for both.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from sessile.contract import AsyncEngine, Engine, Life
from sessile.memory import MemoryEngine
from sessile.ruled import Async

FIELDS = {b"name": b'"Ann" 1', b"cart.apple": b"2 2"}


@dataclass
class Bench:
    """One engine under test."""

    engine: Any
    now: Callable[[], int]
    """The store's clock, Unix milliseconds."""
    forward: Callable[[float], None]
    """Lets that many seconds pass."""
    tag: str = ""
    """What all keys of this test share, so that a cluster keeps them together."""

    def key(self) -> bytes:
        """A key that no session ever had."""
        return f"t:{{{self.tag}}}{secrets.token_hex(32)}".encode()

    def user(self) -> str:
        """A user without sessions."""
        return f"test:{secrets.token_hex(8)}"

    def session(self, life: Life | None = None, **options: Any) -> bytes:
        """The key of a new session with FIELDS."""
        key = self.key()
        assert self.engine.create(key, FIELDS, life or Life(), **options) is not None
        return key

    def fields(self, key: bytes) -> dict[bytes, bytes]:
        """What a session holds; it must be there."""
        loaded = self.engine.load(key)
        assert loaded, "the session is gone"
        return dict(loaded.fields)


class Awaited:
    """An AsyncEngine whose methods can be called from any thread."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._engine, name)

        def call(*args: Any, **options: Any) -> Any:
            job = asyncio.run_coroutine_threadsafe(method(*args, **options), self._loop)
            return job.result(30)

        return call

    def stop(self) -> None:
        """Closes the engine and ends the loop."""
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def facing(engine: Engine | AsyncEngine, face: str) -> Iterator[Any]:
    """The engine with its synchronous face; closed at the end."""
    if face == "sync":
        yield engine
        engine.close()
        return
    awaited = Awaited(engine)  # type: ignore[arg-type]
    try:
        yield awaited
    finally:
        awaited.stop()


class MovedClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.moment = time.time_ns() // 1_000_000

    def __call__(self) -> int:
        return self.moment

    def forward(self, seconds: float) -> None:
        self.moment += round(seconds * 1000)


def real_now() -> int:
    """The machine's clock."""
    return time.time_ns() // 1_000_000


def tag() -> str:
    return secrets.token_hex(2)


@contextmanager
def memory(face: str) -> Iterator[Bench]:
    """`memory:` with a clock that can be moved."""
    clock = MovedClock()
    engine = MemoryEngine(clock)
    with facing(engine if face == "sync" else Async(engine, waits=False), face) as facade:
        yield Bench(facade, clock, clock.forward, tag())


STORES: dict[str, Callable[[str], AbstractContextManager[Bench]]] = {"memory": memory}


def together(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Runs `work(0)` to `work(count - 1)` in threads that start at one moment."""
    gate = threading.Barrier(count)

    def one(number: int) -> Any:
        gate.wait(30)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))
