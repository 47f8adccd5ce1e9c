"""Replicas are never read: what they are asked while sessions are used, by their own count."""

from __future__ import annotations

from typing import Any

import pytest

from fleets import ClusterFleet, Fleet, RedisServer, SentinelFleet
from sessile.contract import Changes, Life
from stores import STORES, World

FOREVER = Life()
READS = {"evalsha", "eval", "hgetall", "hget", "hmget", "hkeys", "exists", "pttl", "readonly"}
"""Commands that reach no replica by replication, and the one that lets a cluster's be read."""


def nodes_of(fleet: Fleet) -> tuple[list[RedisServer], list[RedisServer]]:
    """Primaries and replicas."""
    if isinstance(fleet, SentinelFleet):
        return [fleet.primary], fleet.replicas
    assert isinstance(fleet, ClusterFleet)
    primaries = [node for node in fleet.nodes if node.command("ROLE")[0] == b"master"]
    return primaries, [node for node in fleet.nodes if node not in primaries]


def reads(nodes: list[RedisServer]) -> int:
    """How often somebody wanted to read them since they started."""
    count = 0
    for node in nodes:
        for name, row in node.command("INFO", "commandstats").items():
            if name.removeprefix("cmdstat_").lower() in READS:
                count += row["calls"] + row["rejected_calls"]
    return count


@pytest.mark.parametrize("kind", [SentinelFleet, ClusterFleet])
@pytest.mark.parametrize("face", ["sync", "async"])
def test_replicas_are_never_read(world: World, kind: type[Fleet], face: str) -> None:
    store = "sentinel" if kind is SentinelFleet else "cluster"
    primaries, replicas = nodes_of(world.fleet(kind))
    assert replicas
    # What is counted is there: a read of a replica by hand.
    start = reads(replicas)
    replicas[0].command("CONFIG", "GET", "port")
    assert reads(replicas) == start
    replicas[0].command("EVAL", "return 1", 0)
    assert reads(replicas) == start + 1
    with STORES[store](face, world) as bench:
        before, served = reads(replicas), reads(primaries)
        for _ in range(20):
            use(bench.engine, bench.user(), bench.key(), bench.key())
    assert reads(replicas) == before
    assert reads(primaries) > served + 20


def use(engine: Any, user: str, key: bytes, new: bytes) -> None:
    """Everything that an engine can be asked."""
    assert engine.create(key, {b"a": b"1"}, FOREVER, user=user)
    assert engine.load(key) and engine.load(key, slide=True)
    assert engine.exists(key) and engine.touch(key)
    assert engine.save(key, Changes(increment={b"a": 1}), FOREVER)
    assert engine.rotate(key, new, Changes(), FOREVER, limit=3)
    assert [row.key for row in engine.sessions_of(user)] == [new]
    assert engine.end(new) == 1
    assert engine.end_all(user) == 0
    engine.ping()
