"""Primaries that die while sessions are read and written, under sentinels and in a cluster.

What is promised: each error comes within a second, only the lost shard errs, sessions are served
again within two seconds of the promotion, and nothing that the replicas confirmed comes back.
A bound is judged with what the machine itself held us up (`traffic.Stalls`) on top, and the time
that sentinels need to tell each other of the promotion is theirs; the test's report has each.
A loss that was not as promised while the machine stalled is played again, TRIES times at most.
That no ask takes longer, whoever is silent, shows test_redis_conduct.py by a clock of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from fleets import QUIET_MS, ClusterFleet, Fleet, RedisServer, SentinelFleet, wait_until
from sessile.contract import Changes, Loaded
from sessile.errors import SessionUnavailable
from sessile.promises import Promise
from sessile.redis_cluster import slot_of
from sessile.urls import open_async_engine, open_engine
from stores import FIELDS
from traffic import FOREVER, Loss, Stalls, engine_at, finish, key_of, lose

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(300)]
ERROR_SECONDS = 1.0
BACK_SECONDS = 2.0
MARGIN = 0.5
"""For threads that waited while the one that measures stalls did not."""
WAYS = ["kill", "halt"]
TRIES = 3
STALL_SECONDS = 0.25
"""Half of what a reply may take in production."""
IN_PRODUCTION = "?timeout=0.5&pool_wait=0.5"
"""What a URL that names no time-outs means there; those of tests mean more."""


@pytest.fixture
def cluster() -> Iterator[ClusterFleet]:
    """One that loses nobody."""
    fleet = ClusterFleet(QUIET_MS)
    try:
        fleet.start()
        yield fleet
    finally:
        fleet.stop()


@pytest.fixture
def record(
    request: pytest.FixtureRequest, record_testsuite_property: Callable[[str, object], None]
) -> Callable[[str], None]:
    """Puts a line about the test into the report of the run."""
    return lambda line: record_testsuite_property(request.node.name, line)


def steadily(kind: type[Fleet], trial: Callable[[Any], None]) -> None:
    """Plays a trial on a fleet of its own; again, if it failed while the machine stalled."""
    for left in reversed(range(TRIES)):
        fleet = kind()
        with Stalls() as stalls:
            try:
                fleet.start()
                trial(fleet)
                return
            except (AssertionError, SessionUnavailable):
                if left == 0 or stalls.seconds < STALL_SECONDS:
                    raise
            finally:
                fleet.stop()


def create(url: str, keys: Sequence[bytes], user: str | None = None) -> None:
    """Sessions that are there before anything is lost."""
    engine = open_engine(url)
    for key in keys:
        engine.create(key, FIELDS, FOREVER, user=user)
    engine.close()


def judge(loss: Loss, hit: list[list[float]], record: Callable[[str], None]) -> None:
    """Holds a loss against the promise; `hit` are the errors of the keys that it had to meet."""
    print(loss)
    record(str(loss))
    assert all(hit)
    assert loss.gone == 0
    assert loss.slowest < ERROR_SECONDS + MARGIN + loss.stalled
    assert loss.back - loss.told < BACK_SECONDS + MARGIN + loss.stalled


@pytest.mark.proves(Promise.OUTAGE, "sentinel")
@pytest.mark.proves(Promise.FAILOVER, "sentinel")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("face", ["sync", "async"])
def test_failover_under_sentinels(face: str, way: str, record: Callable[[str], None]) -> None:
    keys = [key_of(n) for n in range(3)]

    def trial(sentinels: SentinelFleet) -> None:
        create(sentinels.url, keys)
        # Replicas may lag: what must be there after the failover was confirmed by both.
        assert sentinels.primary.command("WAIT", 2, 5000) == 2
        engine = engine_at(sentinels.url + IN_PRODUCTION, face)
        try:
            loss = lose(engine, keys, [sentinels.primary], way, sentinels.promoted, sentinels.told)
            judge(loss, loss.errors, record)
        finally:
            finish(engine)

    steadily(SentinelFleet, trial)


@pytest.mark.parametrize("face", ["sync", "async"])
def test_failover_where_a_sentinel_hangs_with_the_primary(
    face: str, record: Callable[[str], None]
) -> None:
    keys = [key_of(n) for n in range(3)]

    def trial(sentinels: SentinelFleet) -> None:
        create(sentinels.url, keys)
        assert sentinels.primary.command("WAIT", 2, 5000) == 2
        # The one that the URL names first, so that it was asked all the time.
        victims = [sentinels.primary, sentinels.sentinels[0]]
        engine = engine_at(sentinels.url + IN_PRODUCTION, face)
        try:
            loss = lose(engine, keys, victims, "halt", sentinels.promoted, sentinels.told)
            judge(loss, loss.errors, record)
        finally:
            finish(engine)

    steadily(SentinelFleet, trial)


@pytest.mark.proves(Promise.OUTAGE, "cluster")
@pytest.mark.proves(Promise.FAILOVER, "cluster")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("face", ["sync", "async"])
def test_failover_of_one_shard(face: str, way: str, record: Callable[[str], None]) -> None:
    def trial(cluster: ClusterFleet) -> None:
        keys: dict[int, bytes] = {}
        for number in range(1000):
            keys.setdefault(cluster.primary_of(slot_of(key_of(number))).port, key_of(number))
            if len(keys) == 3:
                break
        create(cluster.url, list(keys.values()))
        slot = slot_of(next(iter(keys.values())))
        victim = cluster.primary_of(slot)
        assert victim.command("WAIT", 1, 5000) == 1

        def promoted() -> bool:
            return cluster.primary_of(slot) is not victim

        engine = engine_at(cluster.url + IN_PRODUCTION, face)
        try:
            loss = lose(engine, list(keys.values()), [victim], way, promoted)
            judge(loss, loss.errors[:1], record)
            assert loss.errors[1:] == [[], []]
        finally:
            finish(engine)

    steadily(ClusterFleet, trial)


def test_failover_revives_no_confirmed_sign_out() -> None:
    steadily(SentinelFleet, revives_nobody)


def revives_nobody(sentinels: SentinelFleet) -> None:
    keys = [key_of(n) for n in range(200)]
    create(sentinels.url, keys, user="ann")
    engine = open_engine(sentinels.url + IN_PRODUCTION + "&wait=1")
    ended: list[bytes] = []
    killer = threading.Thread(target=sentinels.primary.kill)
    for key in keys:
        if len(ended) == 50:
            killer.start()
        try:
            engine.end(key)
        except SessionUnavailable:
            break
        ended.append(key)
    killer.join()
    assert len(ended) >= 50
    wait_until(lambda: sentinels.promoted() is not None)
    wait_until(lambda: answers(engine))
    assert [key for key in ended if engine.exists(key)] == []
    engine.close()


def answers(engine: Any) -> bool:
    try:
        engine.ping()
    except SessionUnavailable:
        return False
    return True


def test_slots_that_move_are_followed(cluster: ClusterFleet) -> None:
    engine = open_engine(cluster.url)
    key, new = key_of(7), key_of(7) + b"new"
    slot = slot_of(key)
    engine.create(key, {b"n": b"0"}, FOREVER, user="ann")
    source = cluster.primary_of(slot)
    target = next(n for n in cluster.nodes if is_primary(n) and n is not source)
    names = {one: one.command("CLUSTER", "MYID").decode() for one in (source, target)}
    target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
    source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
    # Half way: what isn't at the source any more is asked for at the target.
    assert engine.load(key_of(7) + b"absent") is None
    assert engine.save(key, Changes(increment={b"n": 1}), FOREVER)
    source.command("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
    assert engine.save(key, Changes(increment={b"n": 1}), FOREVER)
    for one in (target, source):
        one.command("CLUSTER", "SETSLOT", slot, "NODE", names[target])
    assert engine.save(key, Changes(increment={b"n": 1}), FOREVER)
    assert engine.rotate(key, new, Changes(increment={b"n": 1}), FOREVER, user="ann")
    loaded = engine.load(new)
    assert isinstance(loaded, Loaded)
    assert loaded.fields == {b"n": b"4"}
    assert [row.key for row in engine.sessions_of("ann")] == [new]
    engine.close()


def is_primary(node: RedisServer) -> bool:
    return bool(node.command("ROLE")[0] in (b"master", "master"))


def test_loops_and_forks_of_a_cluster(cluster: ClusterFleet) -> None:
    engine = open_async_engine(cluster.url)

    async def one(number: int) -> None:
        key = key_of(number)
        assert await engine.create(key, FIELDS, FOREVER, user="bob", limit=2)
        assert isinstance(await engine.load(key), Loaded)

    for number in range(50):
        asyncio.run(one(number))

    async def left() -> int:
        return len(await engine.sessions_of("bob"))

    assert asyncio.run(left()) == 2
