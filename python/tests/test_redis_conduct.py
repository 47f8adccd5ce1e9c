"""How long asking may take and whom it asks, by a clock that only the test moves.

The network is played here: each exchange is answered by what a node is said to do, and a silent
one costs as long as the pools would wait for it. So bounds are exact, whatever the machine does.
"""

from __future__ import annotations

from typing import Any

import pytest

from sessile import redis_conduct, redis_pool
from sessile.errors import SessionUnavailable
from sessile.redis_ask import Address, Ask, Plan
from sessile.redis_cluster import SLOTS, Cluster
from sessile.redis_conduct import ALLOWANCE, Exchange, Failure, Sentinel, Topology, conduct

TIMEOUT = 0.5
A, B = ("a", 6379), ("b", 6379)
S1, S2, S3 = ("s1", 26379), ("s2", 26379), ("s3", 26379)


class Network:
    """Nodes that answer as `says` tells; who isn't in it is silent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.says: dict[Address, Any] = {}
        self.asked: list[Address] = []
        monkeypatch.setattr(redis_conduct.time, "monotonic", lambda: self.now)

    def run(self, topology: Topology) -> Any:
        """One ask; what it's answered."""
        self.asked.clear()
        steps = conduct(plan(), topology, TIMEOUT)
        outcome: Any = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as done:
                return done.value
            outcome = self.outcome(step)

    def outcome(self, step: Exchange) -> Any:
        wait = redis_pool.left(step.until, TIMEOUT)
        self.asked.append(step.address)
        if step.address not in self.says:
            self.now += wait
            return Failure("silent", late=True)
        said = self.says[step.address]
        return said if isinstance(said, Failure) else list(said)


def plan() -> Plan[Any]:
    return (yield Ask((("GET", b"k"),), b"k"))[0]


def named(address: Address, epoch: int) -> list[Any]:
    host, port = address[0].encode(), b"%d" % address[1]
    return [[host, port], [b"name", b"shop", b"config-epoch", b"%d" % epoch]]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(monkeypatch)


@pytest.mark.parametrize("silent", [0, 1, 2, 3])
def test_an_error_comes_in_a_second_whoever_is_silent(network: Network, silent: int) -> None:
    sentinels = [S1, S2, S3]
    group = Sentinel(sentinels, "shop")
    for one in sentinels[silent:]:
        network.says[one] = named(A, 1)
    for _ in range(20):
        began = network.now
        with pytest.raises(SessionUnavailable):
            network.run(group)
        assert network.now - began <= TIMEOUT * ALLOWANCE + 1e-6
        network.now += 0.1


def test_a_silent_node_of_a_cluster_is_asked_last_the_next_time(network: Network) -> None:
    cluster = Cluster([A, B])
    network.says[B] = [[[0, SLOTS - 1, [b"b", 6379]]]]
    network.run(cluster)
    assert network.asked == [A, B, B]
    began = network.now
    cluster.lost(B)
    network.run(cluster)
    assert network.asked == [B, B]
    assert network.now == began


def test_a_sentinel_that_knows_of_the_promotion_is_found(network: Network) -> None:
    group = Sentinel([S1, S2, S3], "shop")
    network.says = {S1: named(A, 1), S2: named(A, 1), S3: named(A, 1), A: [b"old"]}
    assert network.run(group) == b"old"
    assert network.asked == [S1, A]
    network.says.update({S3: named(B, 2), A: Failure("refused"), B: [b"new"]})
    group.lost(A)
    assert network.run(group) == b"new"
    assert network.asked == [S1, S2, S3, B]


def test_a_sentinel_that_missed_the_promotion_is_not_believed(network: Network) -> None:
    group = Sentinel([S1, S2], "shop")
    network.says = {S1: named(B, 2), S2: named(A, 1), A: [b"old"], B: [b"new"]}
    assert network.run(group) == b"new"
    # B is away for a moment; who still names A must not lead back to it.
    group.lost(B)
    assert network.run(group) == b"new"
    del network.says[S1]
    group.lost(B)
    assert network.run(group) == b"old"
    assert network.asked == [S1, S2, A]
