"""Stores that are full and may not evict: who writes is told, and nothing that is there is lost.

A store is filled up to a cap a little above what it holds, and has its old one back afterwards.
What stores do that may evict is their operator's choice; test_redis_health.py has what the doctor
says of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from fleets import ClusterFleet, SentinelFleet
from sessile.contract import Changes, Life
from sessile.errors import SessionUnavailable
from sessile.file import FileEngine
from sessile.promises import Promise
from stores import STORES, World

ROOM = 4 * 1024 * 1024
"""Bytes that a store may have beyond what it holds."""
VALUE = b'"' + b"x" * 20_000 + b'"'
SESSIONS_MAX = 5_000
FOREVER = Life()
CAPPED = ["sessile", "embedded", "redis", "redis_noscript", "sentinel", "cluster"]


def redis_servers(name: str, world: World) -> list[redis.Redis]:
    """Clients of the servers that hold a store's sessions."""
    if name == "embedded":
        return [redis.Redis(unix_socket_path=str(world.home() / "sock"))]
    if name == "sessile":
        return [redis.Redis(port=world.sessile().port)]
    if name == "sentinel":
        return [redis.Redis(port=world.fleet(SentinelFleet).primary.port)]
    if name == "cluster":
        clients = [redis.Redis(port=node.port) for node in world.fleet(ClusterFleet).nodes]
        return [one for one in clients if one.execute_command("ROLE")[0] == b"master"]
    return [redis.Redis(port=world.redis().port)]


def store(name: str) -> Any:
    """A store, and what is proven of it."""
    marks = [pytest.mark.proves(Promise.EVICTION, name)]
    return pytest.param(name, marks=marks)


@contextmanager
def capped(servers: list[redis.Redis]) -> Iterator[None]:
    """Lets none of the servers have much more memory than it uses now."""
    wanted = ("maxmemory", "maxmemory-policy")
    before = [server.config_get(*wanted) for server in servers]
    try:
        for server in servers:
            most = server.info("memory")["used_memory"] + ROOM
            server.config_set("maxmemory-policy", "noeviction")
            server.config_set("maxmemory", most)
        yield
    finally:
        for server, settings in zip(servers, before, strict=True):
            for setting in wanted:
                server.config_set(setting, settings[setting])
            server.close()


def fill(engine: Any, key: Callable[[], bytes]) -> list[bytes]:
    """Fills a store: what it confirmed stays as it is, and can be read. The keys of it."""
    keys: list[bytes] = []
    with pytest.raises(SessionUnavailable):
        for _ in range(SESSIONS_MAX):
            one = key()
            assert engine.create(one, {b"v": VALUE}, FOREVER)
            keys.append(one)
    assert len(keys) > 10
    with pytest.raises(SessionUnavailable):
        for one in keys:
            engine.save(one, Changes(set={b"v": VALUE, b"more": VALUE}), FOREVER)
    found = [engine.load(one) for one in keys]
    assert all(loaded and loaded.fields[b"v"] == VALUE for loaded in found)
    return keys


def empty(engine: Any, keys: list[bytes], key: Callable[[], bytes]) -> None:
    """Ends all of them: then there is room again."""
    assert engine.end(*keys) == len(keys)
    assert engine.create(key(), {b"v": VALUE}, FOREVER)


@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.parametrize("store", [store(name) for name in CAPPED])
def test_a_full_store_refuses_and_keeps_what_it_has(store: str, face: str, world: World) -> None:
    with STORES[store](face, world) as bench:
        bench.engine.ping()
        with capped(redis_servers(store, world)):
            keys = fill(bench.engine, bench.key)
            if store == "redis_noscript":
                # A full Redis takes nothing in a MULTI, not even what would make room.
                with pytest.raises(SessionUnavailable):
                    bench.engine.end(*keys)
            else:
                empty(bench.engine, keys, bench.key)
        if store == "redis_noscript":
            empty(bench.engine, keys, bench.key)


@pytest.mark.proves(Promise.EVICTION, "file")
def test_a_full_disk_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    def key() -> bytes:
        return secrets.token_hex(32).encode()

    engine = FileEngine(tmp_path / "sessions", sync="off")
    engine.ping()
    engine._database().execute(f"PRAGMA max_page_count = {ROOM // 4096}")
    empty(engine, fill(engine, key), key)
    engine.close()
