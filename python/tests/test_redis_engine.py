"""The Redis engine where the contract doesn't look: outages, connections, forks, event loops.

Every failure is a real one: servers are killed and stopped, connections cut by a proxy between
a request and its reply, awaits cancelled at every step.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleets import RedisServer, certificate, wait_until
from losing import Losing
from sessile import redis_conduct
from sessile.contract import Changes, Life, Loaded, Push
from sessile.errors import SessileError, SessionUnavailable
from sessile.promises import Promise
from sessile.urls import open_async_engine, open_engine
from stores import FIELDS, World, tag, together
from traffic import Stalls

FOREVER = Life()
SLACK = 5.0
"""Seconds that a slow machine may add to a bound before a test calls it broken."""


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server that the test may kill."""
    server = RedisServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


def key() -> bytes:
    return f"t:{tag()}{os.urandom(16).hex()}".encode()


def sockets() -> int:
    """How many sockets this process has open."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except OSError:
            continue
    return sum(link.startswith("socket:") for link in links)


# outages


def test_a_database_that_is_not_there_is_told(server: RedisServer) -> None:
    url = f"{server.url.partition('?')[0].rstrip('/')}/99"
    with pytest.raises(SessileError, match="DB index is out of range") as caught:
        open_engine(url).load(key())
    assert not isinstance(caught.value, SessionUnavailable)

    async def load() -> None:
        await open_async_engine(url).load(key())

    with pytest.raises(SessileError, match="DB index is out of range"):
        asyncio.run(load())


@pytest.mark.proves(Promise.OUTAGE, "redis")
def test_outage_is_told_at_once_and_passes(server: RedisServer) -> None:
    engine = open_engine(server.url)
    one = key()
    engine.create(one, FIELDS, FOREVER)
    server.kill()
    with Stalls() as stalls:
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(SessionUnavailable):
                engine.load(one)
        took = time.monotonic() - began
    assert took < SLACK + stalls.seconds
    server.start()
    wait_until(lambda: works(engine))
    engine.close()


def works(engine: Any) -> bool:
    try:
        engine.ping()
    except SessionUnavailable:
        return False
    return True


def test_outage_of_a_server_that_hangs_costs_one_time_out_each(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(server.url + "?timeout=0.2")
    wait_until(lambda: works(engine))
    monkeypatch.setattr(redis_conduct, "PAUSE", 60)
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        for _ in range(3):
            with Stalls() as stalls:
                began = time.monotonic()
                with pytest.raises(SessionUnavailable):
                    engine.ping()
                took = time.monotonic() - began
            assert took < 0.2 + SLACK + stalls.seconds
        with pytest.raises(SessionUnavailable, match="isn't asked"):
            engine.ping()
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    engine.close()


def test_outage_async(server: RedisServer) -> None:
    async def main() -> None:
        engine = open_async_engine(server.url)
        await engine.ping()
        server.kill()
        for _ in range(5):
            with pytest.raises(SessionUnavailable):
                await engine.ping()
        await engine.close()

    asyncio.run(main())


def test_nothing_listens() -> None:
    engine = open_engine("redis://127.0.0.1:1")
    with pytest.raises(SessionUnavailable, match="reached"):
        engine.ping()


def test_a_wrong_password_is_told_without_the_password(world: World) -> None:
    engine = open_engine(world.redis().url.replace("//", "//noscript:wrong-pw@"))
    with pytest.raises(SessileError) as caught:
        engine.ping()
    assert "wrong-pw" not in str(caught.value)
    assert "wrong-pw" not in repr(engine.__dict__)


# connections


def test_a_connection_that_the_server_closed_is_replaced(world: World) -> None:
    engine = open_engine(world.redis().url)
    one = key()
    engine.create(one, {b"n": b"0"}, FOREVER)
    for n in range(1, 6):
        world.redis().command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert engine.save(one, Changes(increment={b"n": 1}), FOREVER)
        assert dict(engine.load(one).fields) == {b"n": b"%d" % n}  # type: ignore[union-attr]
    engine.close()


def test_a_script_that_the_server_forgot_is_sent_again(world: World) -> None:
    engine = open_engine(world.redis().url)
    one = key()
    engine.create(one, FIELDS, FOREVER)
    world.redis().command("SCRIPT", "FLUSH")
    assert isinstance(engine.load(one, slide=True), Loaded)
    engine.close()


def test_a_lost_reply_is_asked_for_again_and_nothing_is_done_twice(world: World) -> None:
    with Losing(world.redis().port) as proxy:
        engine = open_engine(f"redis://127.0.0.1:{proxy.port}")
        one, new = key(), key()
        proxy.drop_replies(1)
        assert engine.create(one, FIELDS, FOREVER)
        for _ in range(3):
            proxy.drop_replies(1)
            changes = Changes(increment={b"n": 1}, push=[Push(b"l", b"1")])
            assert engine.save(one, changes, FOREVER)
        loaded = engine.load(one)
        assert isinstance(loaded, Loaded)
        assert (loaded.fields[b"n"], loaded.fields[b"l"]) == (b"3", b"[1,1,1]")
        proxy.drop_replies(1)
        strict = Changes(set={b"a": b"1"})
        assert engine.save(one, strict, FOREVER, expected=loaded.version)
        proxy.drop_replies(1)
        assert engine.rotate(one, new, Changes(increment={b"n": 1}), FOREVER, user="ann")
        after = engine.load(new)
        assert isinstance(after, Loaded)
        assert after.fields[b"n"] == b"4"
        proxy.drop_replies(2)
        with pytest.raises(SessionUnavailable):
            engine.load(new, slide=True)
        engine.close()


def test_waiting_for_a_connection_ends(world: World) -> None:
    with Losing(world.redis().port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}?pool=2&pool_wait=0.05&timeout=60"
        engine = open_engine(url)
        together(2, lambda _: engine.ping())
        told: list[str] = []

        def note(error: SessionUnavailable) -> None:
            """Once two were told, the other two needn't hold their connections any longer."""
            told.append(str(error))
            if len(told) == 2:
                proxy.let_go()

        def ask(_: int) -> None:
            try:
                engine.ping()
            except SessionUnavailable as error:
                note(error)

        proxy.hold()
        together(4, ask)
        assert len(told) == 2 and all("in use" in text for text in told)
        engine.close()
        told.clear()

        async def main() -> None:
            engine = open_async_engine(url)

            async def ask() -> None:
                try:
                    await engine.ping()
                except SessionUnavailable as error:
                    note(error)

            proxy.hold()
            await asyncio.gather(*(ask() for _ in range(4)))
            assert len(told) == 2 and all("in use" in text for text in told)
            await engine.close()

        asyncio.run(main())


def test_a_cancelled_await_leaves_no_reply_behind(world: World) -> None:
    """With one connection, a reply left behind would be the next request's answer."""

    async def main() -> None:
        engine = open_async_engine(world.redis().url + "?pool=1&pool_wait=5")
        keys = [key() for _ in range(4)]
        for n, one in enumerate(keys):
            await engine.create(one, {b"n": b"%d" % n}, FOREVER)

        async def ask(n: int) -> None:
            loaded = await engine.load(keys[n])
            assert isinstance(loaded, Loaded)
            assert loaded.fields[b"n"] == b"%d" % n

        for steps in range(1_500):
            task = asyncio.ensure_future(ask(steps % 4))
            for _ in range(steps % 12):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if not task.cancelled() and task.exception() is not None:
                raise task.exception() or AssertionError
            await ask((steps + 1) % 4)
        await engine.close()

    asyncio.run(main())


def test_parallel_tasks_of_one_loop(world: World) -> None:
    async def main() -> None:
        engine = open_async_engine(world.redis().url + "?pool=5&pool_wait=20")
        one = key()
        await engine.create(one, {}, FOREVER)
        change = Changes(increment={b"n": 1})
        await asyncio.gather(*(engine.save(one, change, FOREVER) for _ in range(200)))
        loaded = await engine.load(one)
        assert isinstance(loaded, Loaded)
        assert loaded.fields[b"n"] == b"200"
        await engine.close()

    asyncio.run(main())


# what is announced, and how much is asked


def test_eviction_of_any_key_is_warned_of_once(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    engine = open_engine(server.url)
    with caplog.at_level(logging.WARNING, "sessile.redis"):
        together(3, lambda _: engine.ping())
        engine.close()
        engine.ping()
    assert 1 <= sum("allkeys" in record.message for record in caplog.records) <= 3
    engine.close()


def test_missing_script_rights_are_announced_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    engine = open_engine(world.redis().url.replace("//", "//noscript:pw@"))
    with caplog.at_level(logging.WARNING, "sessile.redis"):
        for _ in range(3):
            assert engine.create(key(), FIELDS, FOREVER)
    assert sum("no scripts" in record.message for record in caplog.records) == 1
    taken = key()
    world.redis().command("SET", taken, "x")
    assert engine.load(taken) is None
    with pytest.raises(SessileError, match="WRONGTYPE"):
        engine.create(taken, FIELDS, FOREVER)
    engine.close()


def test_each_operation_but_a_read_is_one_script(server: RedisServer) -> None:
    """By the server's own count."""
    engine = open_engine(server.url)
    one, new, user = key(), key(), "test:1"
    operations: list[Any] = [
        lambda: engine.create(one, FIELDS, Life(idle=60), user=user, limit=3),
        lambda: engine.load(one, slide=True),
        lambda: engine.save(one, Changes(set={b"a": b"1"}), Life(idle=60)),
        lambda: engine.rotate(one, new, Changes(), Life(idle=60), user=user, limit=3),
        lambda: engine.touch(new),
        lambda: engine.sessions_of(user),
        lambda: engine.end(new),
        lambda: engine.end_all(user),
    ]
    for operation in operations:
        operation()
    one, new = key(), key()
    for operation in operations:
        before = calls(server, "evalsha")
        operation()
        assert calls(server, "evalsha") == before + 1
        for _ in range(3):
            engine.load(one)
        assert calls(server, "evalsha") == before + 1
    assert calls(server, "eval") == len(operations)
    engine.close()


def test_a_read_is_one_plain_command(server: RedisServer) -> None:
    engine = open_engine(server.url)
    one = key()
    engine.create(one, FIELDS, Life(idle=60))
    server.command("CONFIG", "RESETSTAT")
    for _ in range(5):
        assert isinstance(engine.load(one), Loaded)
    counts = [calls(server, name) for name in ("hgetall", "pttl", "time", "evalsha")]
    assert counts == [5, 0, 0, 0]
    engine.close()


def test_times_left_are_by_the_clock_of_the_server(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    engine = open_engine(world.redis().url)
    one = key()
    engine.create(one, FIELDS, Life(idle=6000, maximum=9000))
    loaded = engine.load(one)
    assert isinstance(loaded, Loaded)
    assert 5_960_000 < (loaded.idle_left or 0) <= 6_001_000
    assert 8_960_000 < (loaded.absolute_left or 0) <= 9_001_000
    engine.close()


def calls(server: RedisServer, name: str) -> int:
    """How often the server has run a command."""
    stats = server.command("INFO", "commandstats")
    row = stats.get(f"cmdstat_{name}", {"calls": 0})
    return int(row["calls"])


def test_replicas_that_must_confirm_are_waited_for(server: RedisServer) -> None:
    replica = RedisServer("--replicaof", "127.0.0.1", str(server.port))
    replica.start()
    try:
        wait_until(lambda: server.command("INFO", "replication")["connected_slaves"] == 1)
        wait_until(lambda: replica.command("INFO", "replication")["master_link_status"] == "up")
        engine = open_engine(server.url + "?wait=1")
        one, new = key(), key()
        engine.create(one, FIELDS, FOREVER, user="ann")
        assert engine.rotate(one, new, Changes(), FOREVER, hard=True)
        assert engine.end(new) == 1
        assert replica.command("EXISTS", new) == 0
        assert engine.end_all("ann") == 0
    finally:
        replica.stop()
    # It waits for most of the time-out: with a longer one, a stall isn't what takes the rest.
    for timeout in (0.5, 5, 20):
        engine.create(one := key(), FIELDS, FOREVER)
        brief = open_engine(f"{server.url}?wait=1&timeout={timeout}")
        with pytest.raises(SessionUnavailable) as told:
            brief.end(one)
        brief.close()
        if "replicas" in str(told.value):
            break
    else:
        raise told.value
    engine.close()


def test_a_hash_that_is_no_session_is_left_alone(world: World) -> None:
    engine = open_engine(world.redis().url)
    for words in (("HSET", "{}", "a", "1"), ("SET", "{}", "x"), ("RPUSH", "{}", "x")):
        one = key()
        world.redis().command(*(one if word == "{}" else word for word in words))
        assert engine.load(one) is None
        assert engine.save(one, Changes(set={b"a": b"2"}), FOREVER) is None
        assert engine.rotate(one, key(), Changes(), FOREVER) is None
        assert engine.create(one, FIELDS, FOREVER) is None
        assert engine.end(one) == 0
        assert world.redis().command("EXISTS", one) == 1
    engine.close()


def test_the_index_goes_with_its_sessions(world: World) -> None:
    engine = open_engine(world.redis().url)
    one, user = key(), f"test:{tag()}{tag()}"
    index = "sessile:user:" + user
    engine.create(one, FIELDS, Life(idle=60), user=user)
    assert 60 < world.redis().command("TTL", index) <= 180
    engine.save(one, Changes(), Life(idle=6000))
    assert world.redis().command("TTL", index) > 6000
    other = key()
    engine.create(other, FIELDS, FOREVER, user=user)
    assert world.redis().command("TTL", index) == -1
    engine.end(one, other)
    assert world.redis().command("EXISTS", index) == 0
    engine.close()


def test_tls_with_a_certificate_that_is_checked(tmp_path: Path) -> None:
    ca, stranger = certificate(tmp_path, "ca"), certificate(tmp_path, "stranger")
    server = RedisServer()
    server.arguments = ("--tls-port", str(server.port), "--port", "0", "--tls-auth-clients", "no")
    server.arguments += ("--tls-cert-file", f"{ca}.pem", "--tls-key-file", f"{ca}.key")
    server.arguments += ("--tls-ca-cert-file", f"{ca}.pem")
    server.start()
    try:
        url = f"rediss://localhost:{server.port}?timeout=5"
        engine = open_engine(f"{url}&ca={ca}.pem")
        one = key()
        assert engine.create(one, FIELDS, FOREVER)
        engine.close()
        for wrong in ("", f"&ca={stranger}.pem"):
            with pytest.raises(SessionUnavailable):
                open_engine(url + wrong).ping()

        async def main() -> None:
            engine = open_async_engine(f"{url}&ca={ca}.pem")
            assert isinstance(await engine.load(one), Loaded)
            await engine.close()

        asyncio.run(main())
    finally:
        server.stop()


def test_the_rights_that_the_docs_name_are_enough(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    docs = Path(__file__).parents[2] / "docs" / "redis.md"
    rule = docs.read_text().split("ACL SETUSER ")[1].split("```")[0]
    name, *words = rule.split()
    server.command("ACL", "SETUSER", name, *words)
    engine = open_engine(server.url.replace("//", f"//{name}:password@"))
    keys = [b"sessile:shop:" + key() for _ in range(4)]
    life, user = Life(idle=60, maximum=900), "ann"
    for one in keys[:2]:
        assert engine.create(one, FIELDS, life, user=user, limit=3)
    large = Changes(increment={b"n": 2**60}, push=[Push(b"l", b"1", 2)], delete=[b"name"])
    assert engine.save(keys[0], large, life)
    assert isinstance(engine.load(keys[0]), Loaded)
    assert isinstance(engine.load(keys[0], slide=True), Loaded)
    assert engine.rotate(keys[0], keys[2], Changes(), life, grace=5)
    assert engine.rotate(keys[2], keys[3], Changes(), life, user=user, limit=2)
    assert engine.touch(keys[3])
    assert engine.save(keys[3], Changes(), Life(idle=0, maximum=0))
    assert len(engine.sessions_of(user, [b"n"])) == 2
    assert engine.end(keys[1]) == 1
    assert engine.end_all(user) == 1
    assert caplog.records == []
    with pytest.raises(SessileError):
        engine.load(b"another:app")
    engine.close()
