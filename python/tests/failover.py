"""How long sessions are away when a primary is lost.

    PYTHONPATH=tools:python/src:python/tests .venv/bin/python python/tests/failover.py --rounds 10

Each round starts a fleet of Debian's redis-server, kills or halts a primary under traffic, and
prints what `traffic.lose` saw; at the end, a table of medians and worst cases. It judges nothing.
Six threads call the engine, so that those of one primary overlap. `host` is a sentinel group where
the sentinel that stands first in the URL is lost with the primary, as if they shared a machine.
"""

from __future__ import annotations

import argparse
import statistics
from itertools import product

from fleets import ClusterFleet, SentinelFleet
from sessile.redis_cluster import slot_of
from stores import FIELDS
from traffic import FOREVER, Loss, engine_at, finish, key_of, lose

KEYS = 6


def of_host(face: str, way: str) -> Loss:
    """One round in which the first sentinel goes with the primary."""
    return of_sentinels(face, way, with_sentinels=1)


def of_sentinels(face: str, way: str, with_sentinels: int = 0) -> Loss:
    """One round with a group of sentinels."""
    fleet = SentinelFleet()
    try:
        fleet.start()
        engine = engine_at(fleet.url, face)
        keys = [key_of(n) for n in range(KEYS)]
        for key in keys:
            engine.create(key, FIELDS, FOREVER)
        fleet.primary.command("WAIT", 2, 5000)
        victims = [fleet.primary, *fleet.sentinels[:with_sentinels]]
        loss = lose(engine, keys, victims, way, fleet.promoted, fleet.told)
        finish(engine)
        return loss
    finally:
        fleet.stop()


def of_cluster(face: str, way: str) -> Loss:
    """One round with a cluster, all keys on the shard that is lost."""
    fleet = ClusterFleet()
    try:
        fleet.start()
        engine = engine_at(fleet.url, face)
        victim = fleet.primary_of(slot_of(key_of(0)))
        served = (key_of(n) for n in range(10_000))
        keys = [key for key in served if fleet.primary_of(slot_of(key)) is victim][:KEYS]
        for key in keys:
            engine.create(key, FIELDS, FOREVER)
        victim.command("WAIT", 1, 5000)
        slot = slot_of(keys[0])
        loss = lose(engine, keys, [victim], way, lambda: fleet.primary_of(slot) is not victim)
        finish(engine)
        return loss
    finally:
        fleet.stop()


KINDS = {"sentinel": of_sentinels, "host": of_host, "cluster": of_cluster}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    given = parser.parse_args()
    table: dict[tuple[str, str, str], list[Loss]] = {}
    for number in range(given.rounds):
        for kind, face, way in product(given.kinds, ("sync", "async"), ("kill", "halt")):
            loss = KINDS[kind](face, way)
            table.setdefault((kind, face, way), []).append(loss)
            print(f"{number + 1} {kind} {face} {way}: {loss}", flush=True)
    print("| | promotion | told | errors | median, slowest error | back: median, slowest | lost |")
    print("|---|---|---|---|---|---|---|")
    for names, losses in table.items():
        print(f"| {' '.join(names)} | {row(losses)} |")


def row(losses: list[Loss]) -> str:
    """The cells of some rounds."""
    took = [one for loss in losses for errors in loss.errors for one in errors]
    back = [loss.back for loss in losses]
    cells = [
        f"{statistics.median(loss.promotion for loss in losses):.2f}",
        f"{statistics.median(loss.told for loss in losses):.2f}",
        f"{len(took)}",
        f"{statistics.median(took):.3f}, {max(took):.3f}",
        f"{statistics.median(back):.2f}, {max(back):.2f}",
        f"{sum(loss.gone for loss in losses)}",
    ]
    return " | ".join(cells)


if __name__ == "__main__":
    main()
