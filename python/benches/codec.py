"""Measures the codec: decode, and the patch of one changed leaf, for 1 KB in 40 leaves.

`python benches/codec.py` prints microseconds per call for the native module and for plain Python:
the median and the best of several rounds. The document has three levels and 40 leaves, strings,
numbers, booleans and a list among them, and changes are made as an application makes them. Numbers
are of the machine that they were taken on, and nothing fails by them.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from sessile import document

ROUNDS = 15
CALLS = 2000


def sample() -> dict[str, Any]:
    """40 leaves on three levels."""
    cart = {f"sku-{n:04}": {"quantity": n, "price": "19.99", "title": "Blue jug"} for n in range(8)}
    return {
        "_auth_user_id": "4711",
        "_auth_user_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "_csrftoken": "Zk3bTq0n5WvY8cR1uXf6LhJ2eG7mS4pA",
        "cart": cart,
        "shop": {
            "currency": "EUR",
            "visits": 17,
            "beta": True,
            "voucher": None,
            "recent": [101, 102, 107],
            "address": {"street": "Elm Street 7", "city": "Berlin", "zip": "10115", "floor": 3},
        },
        "language": "de",
        "theme": "dark",
        "seen_at": 1763877600.25,
        "step": 3,
    }


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Median and best, in microseconds per call."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(CALLS):
            call()
        rounds.append((time.perf_counter() - start) / CALLS * 1e6)
    return statistics.median(rounds), min(rounds)


def measure(name: str) -> None:
    fields = document.encode(sample())
    read, base = document.decode(fields)
    changed, kept = document.decode(fields)
    changed["cart"]["sku-0003"]["quantity"] = 99
    added, new = document.decode(fields)
    added["shop"]["latest"] = 99
    removed, less = document.decode(fields)
    del removed["shop"]["voucher"]
    calls: dict[str, Callable[[], object]] = {
        "decode": lambda: document.decode(fields),
        "changes, nothing changed": lambda: document.encode_changes(base, read),
        "changes, one leaf changed": lambda: document.encode_changes(kept, changed),
        "changes, one leaf added": lambda: document.encode_changes(new, added),
        "changes, one leaf deleted": lambda: document.encode_changes(less, removed),
        "encode": lambda: document.encode(read),
    }
    size = sum(len(key) + len(value) for key, value in fields.items())
    print(f"{name}: {len(fields)} leaves, {size} bytes with names and stamps")
    for what, call in calls.items():
        median, best = timed(call)
        print(f"  {what:26} {median:7.2f} us   best {best:7.2f}")


if __name__ == "__main__":
    if document._native is None:
        print("native: not built")
    else:
        measure("native")
    document._native = None
    measure("plain Python")
