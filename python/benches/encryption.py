"""What encryption adds to a load and to a save of one change: microseconds, median of many rounds.

    python python/benches/encryption.py

A session of 12 leaves and 461 bytes in memory, with and without. Prints; compares nothing.
"""

from __future__ import annotations

import platform
import secrets
import statistics
import time
from collections.abc import Callable
from typing import Any

from sessile.contract import Changes, Life
from sessile.encryption import Ring
from sessile.memory import MemoryEngine
from sessile.sealed import Sealed

ROUNDS, CALLS = 200, 50
FIELDS = {b"leaf.%d" % n: b'"%s" %d' % (b"x" * 34, n % 10) for n in range(12)}


def median(work: Callable[[], Any]) -> float:
    """Microseconds of one call."""
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            work()
        took.append((time.perf_counter() - began) / CALLS * 1e6)
    return statistics.median(took)


def main() -> None:
    plain = MemoryEngine()
    sealed = Sealed(MemoryEngine(), Ring([secrets.token_bytes(32)], "app"))
    key, rows = b"sessile:app:" + b"0" * 64, {}
    for name, engine in (("plain", plain), ("encrypted", sealed)):
        engine.create(key, FIELDS, Life())
        found: Any = engine.load(key)
        changes = Changes(set={b"leaf.3": b'"changed" 3'}, seal=found.seal)
        rows[name] = (
            median(lambda engine=engine: engine.load(key)),
            median(lambda engine=engine, changes=changes: engine.save(key, changes, Life())),
        )
    print(f"Python {platform.python_version()}, microseconds per call in memory")
    for name, (load, save) in rows.items():
        print(f"{name:10} load of 12 leaves {load:6.1f}   save of one {save:6.1f}")
    load, save = (b - a for a, b in zip(rows["plain"], rows["encrypted"], strict=True))
    print(f"{'adds':10} {load:24.1f} {save:18.1f}")


if __name__ == "__main__":
    main()
