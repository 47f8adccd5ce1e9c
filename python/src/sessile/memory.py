"""The engine `memory:`: sessions in a dict of this process, for tests and as the reference.

Every operation is one function of `sessile.rules` under one lock, at a moment that the clock
tells. What always holds: what these engines answer is right, and the others are compared with
it. Not for production: sessions die with the process, other workers don't see them, and a
user's sessions are found by looking at all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from sessile import rules
from sessile.errors import ConfigurationError
from sessile.ruled import Async, Ruled
from sessile.urls import Address

__all__ = ["MemoryEngine", "now_ms"]


def now_ms() -> int:
    """The wall clock in Unix milliseconds."""
    return time.time_ns() // 1_000_000


class MemoryEngine(Ruled):
    """`sessile.contract.Engine` over a dict. `clock` answers Unix milliseconds."""

    def __init__(self, clock: Callable[[], int] = now_ms) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._view = DictView()

    @contextmanager
    def view(self) -> Iterator[rules.View]:
        with self._lock:
            self._view.now = self._clock()
            self._view.sweep()
            yield self._view


class DictView:
    """`rules.View` over a dict. Rules write only after all that can fail, so nothing is undone."""

    def __init__(self) -> None:
        self.now = 0
        self._entries: dict[bytes, rules.Entry] = {}
        self._version = 0
        self._crowd = 1_000

    def get(self, key: bytes) -> rules.Entry | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        ends = rules.deadline(entry)
        return entry if ends is None or ends > self.now else None

    def put(self, key: bytes, entry: rules.Entry) -> None:
        self._entries[key] = entry

    def drop(self, key: bytes) -> None:
        self._entries.pop(key, None)

    def keys_of(self, user: str) -> Iterable[bytes]:
        entries = self._entries.items()
        return [k for k, e in entries if isinstance(e, rules.Record) and e.user == user]

    def next_version(self, last: int) -> int:
        self._version = max(self._version, last) + 1
        return self._version

    def sweep(self) -> None:
        """Drops what is due, once there are twice as many entries as after the last time."""
        if len(self._entries) > self._crowd:
            self._entries = {k: e for k, e in self._entries.items() if self.get(k) is not None}
            self._crowd = max(1_000, 2 * len(self._entries))


def open_engine(address: Address) -> MemoryEngine:
    """`memory:` or `memory:NAME`, each time a store of its own."""
    if address.netloc or (not address.path.isalnum() and address.path):
        raise ConfigurationError("memory URL: only a name may follow `memory:`")
    address.only()
    return MemoryEngine()


def open_async_engine(address: Address) -> Async:
    """`memory:` with await."""
    return Async(open_engine(address), waits=False)
