"""The stores that the contract is tested on, and one face for synchronous and async engines.

`STORES` has a row per store: how to start it and the URL of an engine on it. A `Bench` is one
engine in one test: the engine, keys that nobody used, and a clock that can be moved where the
store allows it and else is waited for. `Awaited` gives an AsyncEngine the synchronous face, on
an event loop in a thread of its own, so that each test is written once for both.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import secrets
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from fleets import QUIET_MS, ClusterFleet, Fleet, Memcached, RedisServer, SentinelFleet
from servers import RIVALS, StartError, Store, server_bin
from sessile.contract import AsyncEngine, Engine, Life
from sessile.file import FileEngine
from sessile.memory import MemoryEngine
from sessile.promises import INDEXED, Promise
from sessile.ruled import Async
from sessile.sealed import AsyncSealed, Sealed, async_sealed, sealed
from sessile.urls import open_async_engine, open_engine

SEALING = (b"the newest key of all the tests here", b"one that sealed before, and opens")
FIELDS = {b"name": b'"Ann" 1', b"cart.apple": b"2 2"}
TRIES = 6


@dataclass
class Bench:
    """One engine under test."""

    engine: Any
    now: Callable[[], int]
    """The store's clock, Unix milliseconds."""
    wait: Callable[[float], None]
    """Moves that clock, or sleeps."""
    tag: str = ""
    """What all keys of this test share, so that a cluster keeps them together."""
    passed: float = 0.0
    """Seconds that the test let pass so far."""

    def forward(self, seconds: float) -> None:
        """Lets that many seconds pass."""
        self.wait(seconds)
        self.passed += seconds

    @property
    def promises(self) -> frozenset[Promise]:
        """What the engine declares."""
        engine = self.engine._engine if isinstance(self.engine, Awaited) else self.engine
        return cast(frozenset[Promise], engine.promises)

    @property
    def indexed(self) -> bool:
        """Whether a user's sessions can be listed, ended together and limited."""
        return self.promises >= INDEXED

    def encrypted(self) -> Any:
        """An engine over this one that encrypts."""
        inner = self.engine._engine if isinstance(self.engine, Awaited) else self.engine
        if isinstance(inner, (Sealed, AsyncSealed)):
            pytest.skip("encrypts already, and the whole contract runs over it")
        return sealed(self.engine, SEALING, "test")

    def key(self) -> bytes:
        """A key that no session ever had."""
        return f"t:{{{self.tag}}}{secrets.token_hex(32)}".encode()

    def user(self) -> str:
        """A user without sessions."""
        return f"test:{secrets.token_hex(8)}"

    def session(self, life: Life | None = None, **options: Any) -> bytes:
        """The key of a new session with FIELDS."""
        key = self.key()
        assert self.engine.create(key, FIELDS, life or Life(), **options) is not None
        return key

    def fields(self, key: bytes) -> dict[bytes, bytes]:
        """What a session holds; it must be there."""
        loaded = self.engine.load(key)
        assert loaded, "the session is gone"
        return dict(loaded.fields)

    def lists(self, user: str, *keys: bytes) -> bool:
        """Whether a user has these sessions and no others, as far as the store can tell."""
        if not self.indexed:
            return True
        return {row.key for row in self.engine.sessions_of(user)} == set(keys)


def unless_held_up(seconds: float) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """For a test of real time: what it asserts holds if the machine holds it up for less than that.

    If it failed and more had passed, by the store's clock, than it let pass, it's tried again.
    """

    def around(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def tried(bench: Bench) -> None:
            for left in reversed(range(TRIES)):
                began, before = bench.now(), bench.passed
                try:
                    test(bench)
                    return
                except Exception:
                    held_up = (bench.now() - began) / 1000 - (bench.passed - before)
                    if left == 0 or held_up < seconds:
                        raise

        return tried

    return around


class Awaited:
    """An AsyncEngine whose methods can be called from any thread."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._engine, name)

        def call(*args: Any, **options: Any) -> Any:
            job = asyncio.run_coroutine_threadsafe(method(*args, **options), self._loop)
            return job.result(30)

        return call

    def stop(self) -> None:
        """Closes the engine and ends the loop."""
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def facing(engine: Engine | AsyncEngine, face: str) -> Iterator[Any]:
    """The engine with its synchronous face; closed at the end."""
    if face == "sync":
        yield engine
        engine.close()
        return
    awaited = Awaited(engine)  # type: ignore[arg-type]
    try:
        yield awaited
    finally:
        awaited.stop()


class MovedClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.moment = time.time_ns() // 1_000_000

    def __call__(self) -> int:
        return self.moment

    def forward(self, seconds: float) -> None:
        self.moment += round(seconds * 1000)


def real_now() -> int:
    """The machine's clock."""
    return time.time_ns() // 1_000_000


def tag() -> str:
    return secrets.token_hex(2)


def together(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Runs `work(0)` to `work(count - 1)` in threads that start at one moment."""
    gate = threading.Barrier(count)

    def one(number: int) -> Any:
        gate.wait(30)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


class World:
    """The servers of this test run, each started when the first test wants it."""

    def __init__(self) -> None:
        self._running: dict[str, RedisServer | Memcached | Store | Fleet] = {}
        self._home: Path | None = None

    def home(self) -> Path:
        """A folder for a server that starts by itself."""
        if self._home is None:
            self._home = Path(tempfile.mkdtemp())
        return self._home

    def redis(self) -> RedisServer:
        """Debian's redis-server, with a user `noscript` that may run no scripts."""
        if "redis" not in self._running:
            server = RedisServer()
            self._running["redis"] = server
            server.start()
            rules = ("on", ">pw", "~*", "&*", "+@all", "-@scripting")
            server.command("ACL", "SETUSER", "noscript", *rules)
        return self._running["redis"]  # type: ignore[return-value]

    def sessile(self) -> Store:
        """Our own server."""
        if "sessile" not in self._running:
            try:
                found = server_bin()
            except StartError as missing:
                pytest.skip(str(missing))
            if found == RIVALS:
                pytest.skip("the rivals are under test, not our own server")
            self._running["sessile"] = Store(command=found).start()
        return self._running["sessile"]  # type: ignore[return-value]

    def memcached(self) -> list[str]:
        """Where two of Debian's memcached listen."""
        for name in ("memcached-1", "memcached-2"):
            if name not in self._running:
                self._running[name] = Memcached().start()
        return [self._running[f"memcached-{n}"].place for n in (1, 2)]  # type: ignore[union-attr]

    def url(self, store: str, options: str) -> str:
        """The address of a store for an engine: redis, sessile, unix or memcached."""
        if store == "redis":
            return f"{self.redis().url}?{options}"
        if store == "memcached":
            return f"memcached://{self.memcached()[0]}?{options}"
        ours = self.sessile()
        if store == "unix":
            return f"unix://{ours.unixsocket}?{options}"
        return f"sessile://{ours.host}:{ours.port}?{options}"

    def fleet(self, kind: type[SentinelFleet] | type[ClusterFleet]) -> Fleet:
        """Many servers that belong together, and lose nobody."""
        name = kind.__name__
        if name not in self._running:
            self._running[name] = kind(QUIET_MS)
            self._running[name].start()
        return self._running[name]  # type: ignore[return-value]

    def stop(self) -> None:
        """Ends all servers."""
        if self._home is not None:
            end_embedded(self._home)
            shutil.rmtree(self._home)
        for server in self._running.values():
            server.stop()


def end_embedded(folder: Path) -> None:
    """Kills the server of `embedded:` in a folder, if there is one."""
    started = re.findall(r"PID: ([0-9]+)", (folder / "server.log").read_text())
    with suppress(ProcessLookupError):
        os.kill(int(started[-1]), signal.SIGKILL)


@contextmanager
def memory(face: str, world: World) -> Iterator[Bench]:
    """`memory:` with a clock that can be moved."""
    clock = MovedClock()
    engine = MemoryEngine(clock)
    with facing(engine if face == "sync" else Async(engine, waits=False), face) as facade:
        yield Bench(facade, clock, clock.forward, tag())


@contextmanager
def file(face: str, world: World) -> Iterator[Bench]:
    """`file:` with a clock that can be moved."""
    clock = MovedClock()
    with tempfile.TemporaryDirectory() as folder:
        engine = FileEngine(Path(folder) / "sessions", sync="off", clock=clock)
        with facing(engine if face == "sync" else Async(engine, waits=True), face) as facade:
            yield Bench(facade, clock, clock.forward, tag())


@contextmanager
def at(url: str, face: str) -> Iterator[Bench]:
    """The engine at a URL, on a store whose clock can't be moved."""
    opener: Any = open_engine if face == "sync" else open_async_engine
    # What takes long on a machine that stalls isn't told from a store that is gone.
    patient = f"{url}{'&' if '?' in url else '?'}timeout=10&pool_wait=10"
    with facing(opener(patient), face) as facade:
        yield Bench(facade, real_now, time.sleep, tag())


def plain_redis(face: str, world: World) -> AbstractContextManager[Bench]:
    """`redis://` on redis-server."""
    return at(world.redis().url, face)


def redis_without_scripts(face: str, world: World) -> AbstractContextManager[Bench]:
    """`redis://` for a user without script rights."""
    return at(world.redis().url.replace("//", "//noscript:pw@"), face)


def redis_on_sessile(face: str, world: World) -> AbstractContextManager[Bench]:
    """`redis://` on our own server, which has no scripts."""
    return at(world.sessile().redis_url, face)


def own_server(face: str, world: World) -> AbstractContextManager[Bench]:
    """`sessile://` on our own server."""
    return at(world.sessile().redis_url.replace("redis:", "sessile:").removesuffix("/0"), face)


@contextmanager
def embedded(face: str, world: World) -> Iterator[Bench]:
    """`embedded:` in a folder of this test run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SESSILE_SERVER_BIN", server_bin())
        with at(f"embedded:{world.home()}", face) as bench:
            yield bench


def own_socket(face: str, world: World) -> AbstractContextManager[Bench]:
    """`unix://` on our own server, in a database of its own."""
    return at(f"unix://{world.sessile().unixsocket}?database=3", face)


@contextmanager
def memcached(face: str, world: World) -> Iterator[Bench]:
    """`memcached://` on two of Debian's memcached."""
    with at("memcached://" + ",".join(world.memcached()), face) as bench:
        yield bench


@contextmanager
def memcached_on_sessile(face: str, world: World) -> Iterator[Bench]:
    """`memcached://` on our own server."""
    with at("memcached://" + world.sessile().memcached, face) as bench:
        yield bench


def sentinel(face: str, world: World) -> AbstractContextManager[Bench]:
    """`redis+sentinel://` on a primary with two replicas and three sentinels."""
    return at(world.fleet(SentinelFleet).url, face)


def cluster(face: str, world: World) -> AbstractContextManager[Bench]:
    """`redis+cluster://` on three primaries with a replica each."""
    return at(world.fleet(ClusterFleet).url, face)


def encrypted(store: str) -> Callable[[str, World], AbstractContextManager[Bench]]:
    """A store with encrypted values."""

    @contextmanager
    def opener(face: str, world: World) -> Iterator[Bench]:
        with STORES[store](face, world) as bench:
            awaited = isinstance(bench.engine, Awaited)
            below = bench.engine._engine if awaited else bench.engine
            above: Any = encrypting(below, face)
            if awaited:
                bench.engine._engine = above
            else:
                bench.engine = above
            yield bench

    return opener


def encrypting(engine: Any, face: str) -> Any:
    """The engine with encrypted values."""
    return (sealed if face == "sync" else async_sealed)(engine, SEALING, "test")


STORES: dict[str, Callable[[str, World], AbstractContextManager[Bench]]] = {
    "memory": memory,
    "file": file,
    "redis": plain_redis,
    "redis_noscript": redis_without_scripts,
    "redis_on_sessile": redis_on_sessile,
    "sessile": own_server,
    "unix": own_socket,
    "embedded": embedded,
    "memcached": memcached,
    "memcached_on_sessile": memcached_on_sessile,
    "sentinel": sentinel,
    "cluster": cluster,
    "memory_encrypted": encrypted("memory"),
    "redis_encrypted": encrypted("redis"),
    "sessile_encrypted": encrypted("sessile"),
    "memcached_encrypted": encrypted("memcached"),
}
LONG = {"redis_encrypted-sync", "sessile_encrypted-async", "memcached_encrypted-async"}
"""Those that say little new: encryption has both its faces over `memory:`, and the stores too."""
BENCHES = [
    pytest.param(bench, marks=pytest.mark.fleet if bench in LONG else ())
    for bench in (f"{name}-{face}" for name in STORES for face in ("sync", "async"))
]
