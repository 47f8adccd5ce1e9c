"""Sessions that are read and written without pause while a primary is lost, and what that took.

`lose` kills or halts servers under traffic and waits until every key is served again: the base
of test_fleet.py, and of the measurement `python python/tests/failover.py`. What always holds:
each call is timed by itself, an answer that a session was gone is counted, and a server that was
halted runs no more. How long the machine itself held us up is measured beside it, so that a
bound can be judged on a busy machine, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fleets import RedisServer, wait_until
from sessile.contract import Changes, Life, Loaded
from sessile.errors import SessionUnavailable
from sessile.urls import open_async_engine, open_engine
from stalls import Stalls
from stores import Awaited

__all__ = ["FOREVER", "Loss", "Stalls", "engine_at", "finish", "key_of", "lose"]

FOREVER = Life()


@dataclass
class Traffic:
    """Reads and writes one session without pause, and remembers how that went."""

    engine: Any
    key: bytes
    errors: list[float] = field(default_factory=list)
    """Seconds that each failing call took."""
    lost: int = 0
    """Answers that said the session was gone."""
    failed: float = 0.0
    """When a call last failed."""
    back: float = 0.0
    """When a call first succeeded after that."""
    last_good: float = 0.0
    done: int = 0

    def run(self, until: threading.Event) -> None:
        while not until.is_set():
            version = self.timed(
                lambda: self.engine.save(self.key, Changes(increment={b"n": 1}), FOREVER)
            )
            if version is not None and isinstance(self.timed(self.load), Loaded):
                self.last_good = time.monotonic()
                if self.back < self.failed:
                    self.back = self.last_good
                self.done += 1

    def load(self) -> Any:
        return self.engine.load(self.key)

    def timed(self, call: Callable[[], Any]) -> Any:
        """What a call answers; `None` if it failed."""
        began = time.monotonic()
        try:
            answer = call()
        except SessionUnavailable:
            self.failed = time.monotonic()
            self.errors.append(self.failed - began)
            time.sleep(0.02)
            return None
        self.lost += not answer
        return answer


@contextmanager
def running(engine: Any, keys: Sequence[bytes]) -> Iterator[list[Traffic]]:
    """Traffic on several keys, each in a thread."""
    traffic = [Traffic(engine, key) for key in keys]
    until = threading.Event()
    threads = [threading.Thread(target=one.run, args=(until,)) for one in traffic]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: all(one.done > 20 for one in traffic))
        yield traffic
    finally:
        until.set()
        for thread in threads:
            thread.join()


@dataclass(frozen=True)
class Loss:
    """What one loss of a primary took, in seconds."""

    promotion: float
    """From the loss until another one said that it's the primary."""
    told: float
    """From then until sentinels or nodes named that one."""
    back: float
    """From the promotion until the last of the keys was served."""
    errors: list[list[float]]
    """What the failing calls of each key took."""
    gone: int
    """Answers that a session was gone."""
    stalled: float
    """How long the machine held us up in all."""

    @property
    def slowest(self) -> float:
        return max((took for errors in self.errors for took in errors), default=0.0)

    def __str__(self) -> str:
        count = sum(map(len, self.errors))
        return (
            f"promotion after {self.promotion:.2f} s, told {self.told:.2f} s after it, "
            f"back {self.back:.2f} s after it, {count} errors, the slowest {self.slowest:.3f} s, "
            f"stalled {self.stalled:.2f} s"
        )


def lose(
    engine: Any,
    keys: Sequence[bytes],
    victims: Sequence[RedisServer],
    way: str,
    promoted: Callable[[], object],
    told: Callable[[], object] = lambda: True,
) -> Loss:
    """Kills (`kill`) or halts (`halt`) a primary, and what goes with it, until all is well."""
    with running(engine, keys) as traffic, Stalls() as stalls:
        began = time.monotonic()
        for victim in victims:
            victim.kill() if way == "kill" else victim.halt()
        wait_until(promoted)
        at = time.monotonic()
        wait_until(told)
        knew = time.monotonic()
        for one in traffic:
            wait_until(lambda one=one: one.last_good > at)
    back = max(0.0, *(one.back - at for one in traffic))
    gone = sum(one.lost for one in traffic)
    errors = [one.errors for one in traffic]
    return Loss(at - began, knew - at, back, errors, gone, stalls.seconds)


def engine_at(url: str, face: str) -> Any:
    """The synchronous engine, or the asynchronous one to be called alike."""
    return open_engine(url) if face == "sync" else Awaited(open_async_engine(url))


def finish(engine: Any) -> None:
    engine.stop() if isinstance(engine, Awaited) else engine.close()


def key_of(tag: int) -> bytes:
    """A key whose hash tag is a number."""
    return b"t:{%04d}" % tag + b"%032x" % tag
