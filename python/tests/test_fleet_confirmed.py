"""What replicas confirmed (`wait=1`) outlives the primary: no sign-out is undone by a fail-over.

Sessions are ended, ended by user and renewed by threads while the primary that has them is lost,
under sentinels and in a cluster. Just before, its replicas stop listening: what it does then is its
own secret. Each call that was answered is held against what is there once another primary serves:
nothing that was ended opens again, no old id does, every new one does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from fleets import ClusterFleet, Fleet, RedisServer, SentinelFleet, wait_until
from sessile.contract import Changes, Loaded
from sessile.errors import SessionUnavailable
from sessile.redis_cluster import slot_of
from stores import FIELDS
from traffic import FOREVER, engine_at, finish, key_of

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(300)]
BEFORE = 15
"""How many calls of each kind are confirmed before the primary is lost."""
SESSIONS = 240
FILLER = 32 * 1024 * 1024
"""Bytes that no socket takes: what comes after them stays in the primary's own memory."""


@dataclass
class Work:
    """Calls of one kind, one after the other, until the first that fails once all is lost."""

    call: Callable[[Any], Any]
    things: list[Any]
    lost: threading.Event
    tried: int = 0
    confirmed: list[Any] = field(default_factory=list)

    def run(self) -> None:
        for thing in self.things:
            self.tried += 1
            try:
                self.call(thing)
            except SessionUnavailable:
                if self.lost.is_set():
                    return
            else:
                self.confirmed.append(thing)


@pytest.fixture(params=[SentinelFleet, ClusterFleet])
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    fleet = request.param()
    try:
        fleet.start()
        yield fleet
    finally:
        fleet.stop()


def primary_of(fleet: Any, key: bytes) -> RedisServer:
    """Who has a key now."""
    if isinstance(fleet, ClusterFleet):
        return fleet.primary_of(slot_of(key))
    return fleet.promoted() or fleet.primary  # type: ignore[no-any-return]


def replicas_of(fleet: Any, primary: RedisServer) -> list[RedisServer]:
    """Who has a copy of what the primary has."""
    if isinstance(fleet, SentinelFleet):
        return fleet.replicas
    lines = primary.command("INFO", "replication")
    ports = {lines[f"slave{n}"]["port"] for n in range(lines["connected_slaves"])}
    return [node for node in fleet.nodes if node.port in ports]


def patiently(call: Callable[[], Any]) -> Any:
    """What is answered once somebody serves."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return call()
        except SessionUnavailable:
            assert time.monotonic() < deadline, "nobody serves"
            time.sleep(0.02)


@pytest.mark.parametrize("way", ["kill", "halt"])
@pytest.mark.parametrize("face", ["sync", "async"])
def test_failover_undoes_nothing_that_was_confirmed(
    request: pytest.FixtureRequest, fleet: Any, face: str, way: str
) -> None:
    # A call that nobody confirms takes this long.
    engine = engine_at(f"{fleet.url}?wait=1&timeout=2", face)
    request.addfinalizer(lambda: finish(engine))
    # One shard has them all; the indexes of users are anywhere.
    first = key_of(0)

    def session(user: str) -> bytes:
        nonlocal count
        count += 1
        key = first + b"%06d" % count
        assert patiently(lambda: engine.create(key, FIELDS, FOREVER, user=user)) is not None
        return key

    count = 0
    victim = primary_of(fleet, first)
    ends = [session("ann") for _ in range(SESSIONS)]
    of_users = {f"user {n}": [session(f"user {n}") for _ in range(2)] for n in range(SESSIONS // 2)}
    olds = {session("eve"): first + b"new%06d" % n for n in range(SESSIONS)}
    lost = threading.Event()

    def renew(old: bytes) -> None:
        assert engine.rotate(old, olds[old], Changes(), FOREVER) is not None

    works = [
        Work(engine.end, ends, lost),
        Work(engine.end_all, list(of_users), lost),
        Work(renew, list(olds), lost),
    ]
    threads = [threading.Thread(target=work.run) for work in works]
    for thread in threads:
        thread.start()
    wait_until(lambda: all(len(work.confirmed) >= BEFORE for work in works))
    replicas = replicas_of(fleet, victim)
    assert replicas
    for replica in replicas:
        replica.halt()
    victim.command("SET", b"{0000}filler", b"x" * FILLER)
    # Two more of each, unless that kind was so fast that there are none left.
    goals = [min(work.tried + 2, len(work.things)) for work in works]
    wait_until(lambda: all(work.tried >= goal for work, goal in zip(works, goals, strict=True)))
    lost.set()
    victim.kill() if way == "kill" else victim.halt()
    for replica in replicas:
        replica.resume()
    for thread in threads:
        thread.join()
    wait_until(lambda: primary_of(fleet, first) is not victim)

    def opens(key: bytes) -> bool:
        return isinstance(patiently(lambda: engine.load(key)), Loaded)

    ended, users, renewed = (work.confirmed for work in works)
    print(f"confirmed: {len(ended)} ended, {len(users)} users, {len(renewed)} renewed")
    assert [key for key in ended if opens(key)] == []
    assert [key for user in users for key in of_users[user] if opens(key)] == []
    assert [old for old in renewed if opens(old)] == []
    assert [old for old in renewed if not opens(olds[old])] == []
    listed = {row.key for row in patiently(lambda: engine.sessions_of("eve"))}
    assert listed >= {olds[old] for old in renewed}
