"""Times what ways to keep a session cost, in turns: shared by the measurements of the frameworks.

A way has a name and some operations, each a function that does one request's part and answers its
seconds. In a round each way does each operation a number of times, so that a machine that slows
down slows all of them. The client has the first core for itself and the servers the last: else the
scheduler moves them together and apart, and a round trip takes 40 or 150 microseconds from one
moment to the next.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from servers import RIVALS, ROOT, Store, server_bin

sys.path.insert(0, str(ROOT / "python/src"))
REQUESTS = 200
LEAVES = {f"field{n:02}": "v" * 26 for n in range(11)} | {"_auth_user_id": "12345678"}

Operation = Callable[[str], float]
"""Does it with that value, which is new each time; answers the seconds."""
Ways = dict[str, dict[str, Operation]]
Times = dict[str, dict[str, list[list[float]]]]
"""By way and operation: for each round the seconds of its requests."""


@contextmanager
def stores() -> Iterator[tuple[Store, Store]]:
    """Debian's redis-server and memcached, and our own release binary, on another core."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-1:])
    try:
        ours = Store(command=server_bin(), extra=["--appendonly", "no"])
        with Store(command=RIVALS) as rivals, ours:
            os.sched_setaffinity(0, cores[:1])
            yield rivals, ours
    finally:
        os.sched_setaffinity(0, cores)


def measure(ways: Ways, rounds: int) -> Times:
    """Has the ways take turns. A first round warms up and isn't counted."""
    times: Times = {name: {what: [] for what in way} for name, way in ways.items()}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            for what, operation in way.items():
                took = [operation(f"{turn}:{n:020}") for n in range(REQUESTS)]
                if turn:
                    times[name][what].append(took)
    return times


def figures(times: Times) -> dict[str, Any]:
    """What was measured, in microseconds: over all requests, and the median of each round."""
    targets: dict[str, Any] = {}
    for name, way in times.items():
        for what, rounds in way.items():
            every = sorted(second for one in rounds for second in one)
            targets.setdefault(name, {})[what] = {
                "p50": statistics.median(every) * 1e6,
                "p99": every[len(every) * 99 // 100] * 1e6,
                "rounds": [round(statistics.median(one) * 1e6, 2) for one in rounds],
            }
    return {
        "unit": "microseconds",
        "rounds": max(len(rounds) for way in times.values() for rounds in way.values()),
        "requests of a round": REQUESTS,
        "leaves": len(LEAVES),
        "json_bytes": len(json.dumps(LEAVES)),
        "targets": targets,
    }


def show(found: dict[str, Any], base: str) -> None:
    """Prints a line for each way, with the ratio of its median to that of `base`."""
    targets = found["targets"]
    size = f"{found['leaves']} leaves, {found['json_bytes']} bytes as JSON"
    print(f"microseconds; a session of {size}; the ratio is to {base}")
    titles = [f"{what + ' p50':>12} {'p99':>7} {'ratio':>6}" for what in targets[base]]
    print(f"{'':34} {'  '.join(titles)}")
    for name, way in targets.items():
        cells = []
        for what, first in targets[base].items():
            cell = way[what]
            ratio = cell["p50"] / first["p50"]
            cells.append(f"{cell['p50']:12.0f} {cell['p99']:7.0f} {ratio:6.2f}")
        print(f"{name:34} {'  '.join(cells)}")


def main(doc: str, base: str, ways_of: Callable[[Store, Store], Ways]) -> None:
    """The command line of a measurement: its ways on both stores, beside `base`."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("rounds", type=int, nargs="?", default=15)
    parser.add_argument("--json", type=Path, help="also write the figures to that file")
    options = parser.parse_args()
    with stores() as (rivals, ours):
        found = figures(measure(ways_of(rivals, ours), options.rounds))
    show(found, base)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
