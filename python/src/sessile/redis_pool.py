"""Connections to Redis nodes, and the two ways of moving bytes over them: sockets and asyncio.

`Pools.run` and `AsyncPools.run` do what `sessile.redis_conduct` asks for, over connections of
redis-py. What always holds: a connection goes back to its pool only when each command sent has
had its reply; after an error, a time-out or a cancelled await it's closed; a process that was
forked, or another event loop, begins with no connections; at most `pool` of them exist for a
node, and waiting for one ends after `pool_wait` seconds; no reply is waited for longer than the
exchange allows.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from redis import ConnectionError as RedisConnectionError
from redis import TimeoutError as RedisTimeoutError
from redis import connection
from redis.asyncio import connection as async_connection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from sessile.errors import SessionUnavailable
from sessile.redis_ask import Address, Command
from sessile.redis_conduct import Exchange, Failure, Steps
from sessile.redis_plan import ServerClock
from sessile.redis_url import Settings
from sessile.redis_wire import exchange, exchange_async, limit
from sessile.waiting import within

__all__ = ["AsyncPools", "Pools"]

LOG = logging.getLogger("sessile.redis")
T = TypeVar("T")
FULL = "all {} connections are in use, and none came back in time"
LEAST = 0.01
"""Seconds that there must be left for it to be worth asking."""
KNOWN = inspect.signature(connection.AbstractConnection.__init__).parameters
SILENT = {name: None for name in ("driver_info", "lib_name", "lib_version") if name in KNOWN}
"""What keeps redis-py from introducing itself, which costs two round trips per connection."""
if "driver_info" in SILENT:
    SILENT = {"driver_info": None}


class Pool:
    """Connections of one process to one node."""

    def __init__(self, make: Callable[[], Any], room: int, patience: float) -> None:
        self.idle: list[Any] = []
        self._make = make
        self._limit = room
        self._patience = patience
        self._used = 0
        """Connections that somebody has or that are idle."""
        self._waiting = 0
        self._change = threading.Condition()

    def take(self, until: float) -> tuple[Any, bool]:
        """A connection, and whether it was used before. Raises SessionUnavailable."""
        seconds = left(until, self._patience)
        try:
            return self.idle.pop(), True
        except IndexError:
            return self._another(seconds)

    def _another(self, seconds: float) -> tuple[Any, bool]:
        """A new connection, or if there are enough of them one that comes back in time."""
        ends = time.monotonic() + seconds
        with self._change:
            # Announced before looking, so that whoever gives one back sees us or we see it.
            self._waiting += 1
            try:
                while self._used >= self._limit:
                    with suppress(IndexError):
                        return self.idle.pop(), True
                    if (seconds := ends - time.monotonic()) <= 0:
                        raise SessionUnavailable(FULL.format(self._limit))
                    self._change.wait(seconds)
                self._used += 1
            finally:
                self._waiting -= 1
        try:
            return self._make(), False
        except BaseException:
            self._left()
            raise

    def give(self, connection: Any) -> None:
        """Takes back a connection in good order."""
        self.idle.append(connection)
        if self._waiting:
            with self._change:
                self._change.notify()

    def drop(self, connection: Any) -> None:
        """Closes a connection that isn't, and those that were kept: they may be no better."""
        self._left()
        connection.disconnect()
        self.clear()

    def _left(self) -> None:
        with self._change:
            self._used -= 1
            self._change.notify()

    def clear(self) -> None:
        """Closes the connections that nobody uses."""
        while self.idle:
            try:
                connection = self.idle.pop()
            except IndexError:
                return
            self._left()
            connection.disconnect()


class Pools:
    """The connections of one engine in this process."""

    def __init__(self, settings: Settings, clock: ServerClock) -> None:
        self._settings = settings
        self._pools: dict[tuple[Address, str], Pool] = {}
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._greeting = Greeting(clock)

    def run(self, steps: Steps[T]) -> T:
        """Does the exchanges that `steps` asks for and answers its result."""
        pool: Pool | None = None
        held: Any = None
        used = False
        try:
            step = next(steps)
            while True:
                wanted = self._pool(step)
                if wanted is not pool:
                    if pool is not None and held is not None:
                        pool.give(held)
                    pool, held = wanted, None
                if held is None:
                    held, used = pool.take(step.until)
                try:
                    hurry(held, step.until, self._settings.timeout)
                    if not used:
                        self._greet(held, step)
                    outcome: Any = exchange(held, step.commands, self._settings.busy_poll)
                except (RedisConnectionError, RedisTimeoutError, OSError) as error:
                    outcome = failure(error, used)
                except BaseException:
                    dead, held = held, None
                    pool.drop(dead)
                    raise
                if type(outcome) is Failure:
                    dead, held = held, None
                    pool.drop(dead)
                used = True
                step = steps.send(outcome)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            if pool is not None and held is not None:
                pool.give(held)

    def close(self) -> None:
        """Closes the connections that nobody uses."""
        self._part()
        for pool in list(self._pools.values()):
            pool.clear()

    def _part(self) -> None:
        """Begins anew in the child of a fork: the parent's connections stay the parent's, and its
        locks may be held by threads that aren't here. Forgetting them closes our copies only."""
        if self._pid != os.getpid():
            self._pools, self._lock, self._pid = {}, threading.Lock(), os.getpid()

    def _pool(self, step: Exchange) -> Pool:
        self._part()
        pool = self._pools.get((step.address, step.role))
        if pool is None:
            with self._lock:
                pool = self._pools.get((step.address, step.role)) or self._new(step)
                self._pools[step.address, step.role] = pool
        return pool

    def _new(self, step: Exchange) -> Pool:
        given = self._settings
        arguments = given.arguments(step.address, step.role)
        arguments.update(SILENT, retry=Retry(NoBackoff(), 0))
        kind: Any = connection.Connection
        if given.kind == "unix":
            kind = connection.UnixDomainSocketConnection
        elif given.tls is not None:
            kind = connection.SSLConnection
        return Pool(lambda: kind(**arguments), given.pool, given.pool_wait)

    def _greet(self, held: Any, step: Exchange) -> None:
        if not step.role:
            busy_poll = self._settings.busy_poll
            self._greeting.heard(exchange(held, self._greeting.commands(), busy_poll))


class AsyncPool:
    """Connections of one event loop to one node."""

    def __init__(self, make: Callable[[], Any], room: int, patience: float) -> None:
        self.idle: list[Any] = []
        self._make = make
        self._limit = room
        self._room = asyncio.Semaphore(room)
        self._patience = patience

    async def take(self, until: float) -> tuple[Any, bool]:
        """A connection, and whether it was used before. Raises SessionUnavailable."""
        seconds = left(until, self._patience)
        if self._room.locked():
            try:
                await within(seconds, self._room.acquire())
            except asyncio.TimeoutError:
                raise SessionUnavailable(FULL.format(self._limit)) from None
        else:
            await self._room.acquire()
        return (self.idle.pop(), True) if self.idle else (self._make(), False)

    def give(self, connection: Any) -> None:
        """Takes back a connection in good order."""
        self.idle.append(connection)
        self._room.release()

    async def drop(self, connection: Any) -> None:
        """Closes a connection that isn't, and those that were kept: they may be no better."""
        self._room.release()
        await connection.disconnect(nowait=True)
        await self.clear()

    async def clear(self) -> None:
        """Closes the connections that nobody uses."""
        while self.idle:
            await self.idle.pop().disconnect(nowait=True)


class LoopPools:
    """The connections of one engine in one event loop."""

    def __init__(self) -> None:
        self.pools: dict[tuple[Address, str], AsyncPool] = {}
        self.pid = os.getpid()
        self.keeper: AsyncGenerator[None, None] | None = None

    async def keep(self) -> None:
        """Has the connections closed when the loop shuts its asynchronous generators down."""
        self.keeper = self._kept()
        await anext(self.keeper)

    async def _kept(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self.clear()

    async def clear(self) -> None:
        for pool in list(self.pools.values()):
            await pool.clear()


class AsyncPools:
    """The connections of one engine in this process, apart for each event loop."""

    def __init__(self, settings: Settings, clock: ServerClock) -> None:
        self._settings = settings
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopPools] = WeakKeyDictionary()
        self._greeting = Greeting(clock)

    async def run(self, steps: Steps[T]) -> T:
        """Does the exchanges that `steps` asks for and answers its result."""
        pool: AsyncPool | None = None
        held: Any = None
        used = False
        try:
            step = next(steps)
            while True:
                wanted = await self._pool(step)
                if wanted is not pool:
                    if pool is not None and held is not None:
                        pool.give(held)
                    pool, held = wanted, None
                if held is None:
                    held, used = await pool.take(step.until)
                try:
                    hurry(held, step.until, self._settings.timeout)
                    if not used:
                        await self._greet(held, step)
                    outcome: Any = await exchange_async(held, step.commands)
                except (RedisConnectionError, RedisTimeoutError, OSError) as error:
                    outcome = failure(error, used)
                except BaseException:
                    dead, held = held, None
                    await pool.drop(dead)
                    raise
                if type(outcome) is Failure:
                    dead, held = held, None
                    await pool.drop(dead)
                used = True
                step = steps.send(outcome)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            if pool is not None and held is not None:
                pool.give(held)

    async def close(self) -> None:
        """Closes the connections of this event loop that nobody uses."""
        pools = self._loops.get(asyncio.get_running_loop())
        if pools is not None:
            await pools.clear()

    async def _pool(self, step: Exchange) -> AsyncPool:
        loop = asyncio.get_running_loop()
        pools = self._loops.get(loop)
        if pools is None or pools.pid != os.getpid():
            pools = self._loops[loop] = LoopPools()
            await pools.keep()
        pool = pools.pools.get((step.address, step.role))
        if pool is None:
            pool = pools.pools[step.address, step.role] = self._new(step)
        return pool

    def _new(self, step: Exchange) -> AsyncPool:
        given = self._settings
        arguments = given.arguments(step.address, step.role)
        arguments.update(SILENT, retry=AsyncRetry(NoBackoff(), 0))
        kind: Any = async_connection.Connection
        if given.kind == "unix":
            kind = async_connection.UnixDomainSocketConnection
        elif given.tls is not None:
            kind = async_connection.SSLConnection
        return AsyncPool(lambda: kind(**arguments), given.pool, given.pool_wait)

    async def _greet(self, held: Any, step: Exchange) -> None:
        if not step.role:
            self._greeting.heard(await exchange_async(held, self._greeting.commands()))


class Greeting:
    """What a new connection asks: the time, and once, whether sessions in use may be evicted."""

    def __init__(self, clock: ServerClock) -> None:
        self._clock = clock
        self._due = True

    def commands(self) -> tuple[Command, ...]:
        return (("TIME",), ("INFO", "memory")) if self._due else (("TIME",),)

    def heard(self, replies: list[Any]) -> None:
        """Learns from the replies; a server that refuses to tell is not asked again."""
        self._clock.learn(replies[0])
        info = replies[1] if len(replies) > 1 else b""
        self._due = False
        if isinstance(info, bytes) and b"maxmemory_policy:allkeys-" in info:
            LOG.warning(
                "the server evicts any key when its memory is full (maxmemory-policy allkeys-*): "
                "users will be signed out; use volatile-ttl or noeviction for sessions"
            )


def left(until: float, most: float) -> float:
    """The seconds until a moment, at most `most`. Raises SessionUnavailable if none are left."""
    seconds = until - time.monotonic()
    if seconds < LEAST:
        raise SessionUnavailable("the store took too long to answer")
    return min(seconds, most)


def hurry(held: Any, until: float, timeout: float) -> None:
    """Has a connection wait for a reply no longer than until a moment, or the timeout as always."""
    seconds = left(until, timeout)
    if held.socket_timeout != seconds:
        held.socket_timeout = held.socket_connect_timeout = seconds
        if getattr(held, "_sock", None) is not None:
            limit(held)


def failure(error: Exception, used: bool) -> Failure:
    """What went wrong on a connection that had been used before, or not."""
    late = isinstance(error, (RedisTimeoutError, TimeoutError, BlockingIOError))
    return Failure(f"{type(error).__name__}: {error}", late, used and not late)
