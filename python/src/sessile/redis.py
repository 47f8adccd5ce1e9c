"""The engine on Redis and Valkey: `redis://`, `rediss://`, `valkey://`, over redis-py.

A session is a hash, each write one small script (`sessile.redis_scripts`), a read one script
that also slides. redis-py makes connections, logs in and reads replies; which node is asked,
and how often, is ours (`sessile.redis_conduct`). What always holds: a connection on which
anything went wrong, cancelling included, is never used again; connections belong to one process
and one event loop; every wait has an end: `timeout` for a reply, `pool_wait` for a connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from sessile.contract import Changes, Life, Listed, Loaded, Rotated
from sessile.redis_ask import Plan
from sessile.redis_conduct import conduct
from sessile.redis_plan import ServerClock
from sessile.redis_pool import AsyncPools, Pools
from sessile.redis_url import Settings, settings
from sessile.urls import Address

__all__ = ["AsyncRedisEngine", "RedisEngine", "open_async_engine", "open_engine"]

T = TypeVar("T")


class RedisEngine:
    """`sessile.contract.Engine` on Redis."""

    def __init__(self, given: Settings) -> None:
        clock = ServerClock()
        self._plans = given.plans(clock)
        self._topology = given.topology()
        self._timeout = given.timeout
        self._pools = Pools(given, clock)

    def _run(self, plan: Plan[T]) -> T:
        return self._pools.run(conduct(plan, self._topology, self._timeout))

    def create(
        self,
        key: bytes,
        fields: Mapping[bytes, bytes],
        life: Life,
        *,
        user: str | None = None,
        limit: int | None = None,
        token: bytes | None = None,
    ) -> int | None:
        return self._run(self._plans.create(key, fields, life, user, limit, token))

    def load(self, key: bytes, *, slide: bool = False) -> Loaded | Rotated | None:
        return self._run(self._plans.load(key, slide))

    def save(
        self,
        key: bytes,
        changes: Changes,
        life: Life,
        *,
        expected: int | None = None,
        user: str | None = None,
        token: bytes | None = None,
    ) -> int | None:
        return self._run(self._plans.save(key, changes, life, expected, user, token))

    def rotate(
        self,
        key: bytes,
        new_key: bytes,
        changes: Changes,
        life: Life,
        *,
        expected: int | None = None,
        user: str | None = None,
        limit: int | None = None,
        grace: int = 0,
        hard: bool = False,
        create: Mapping[bytes, bytes] | None = None,
        token: bytes | None = None,
    ) -> int | None:
        plan = self._plans.rotate(
            key, new_key, changes, life, expected, user, limit, grace, hard, create, token
        )
        return self._run(plan)

    def end(self, *keys: bytes) -> int:
        return self._run(self._plans.end(keys)) if keys else 0

    def touch(self, key: bytes) -> bool:
        return self._run(self._plans.touch(key))

    def sessions_of(self, user: str, names: Sequence[bytes] = ()) -> list[Listed]:
        return self._run(self._plans.sessions_of(user, names)) if user else []

    def end_all(self, user: str, *, keep: bytes | None = None) -> int:
        return self._run(self._plans.end_all(user, keep)) if user else 0

    def exists(self, key: bytes) -> bool:
        return self._run(self._plans.exists(key))

    def ping(self) -> None:
        self._run(self._plans.ping())

    def close(self) -> None:
        self._pools.close()


class AsyncRedisEngine:
    """`sessile.contract.AsyncEngine` on Redis."""

    def __init__(self, given: Settings) -> None:
        clock = ServerClock()
        self._plans = given.plans(clock)
        self._topology = given.topology()
        self._timeout = given.timeout
        self._pools = AsyncPools(given, clock)

    async def _run(self, plan: Plan[T]) -> T:
        return await self._pools.run(conduct(plan, self._topology, self._timeout))

    async def create(
        self,
        key: bytes,
        fields: Mapping[bytes, bytes],
        life: Life,
        *,
        user: str | None = None,
        limit: int | None = None,
        token: bytes | None = None,
    ) -> int | None:
        return await self._run(self._plans.create(key, fields, life, user, limit, token))

    async def load(self, key: bytes, *, slide: bool = False) -> Loaded | Rotated | None:
        return await self._run(self._plans.load(key, slide))

    async def save(
        self,
        key: bytes,
        changes: Changes,
        life: Life,
        *,
        expected: int | None = None,
        user: str | None = None,
        token: bytes | None = None,
    ) -> int | None:
        return await self._run(self._plans.save(key, changes, life, expected, user, token))

    async def rotate(
        self,
        key: bytes,
        new_key: bytes,
        changes: Changes,
        life: Life,
        *,
        expected: int | None = None,
        user: str | None = None,
        limit: int | None = None,
        grace: int = 0,
        hard: bool = False,
        create: Mapping[bytes, bytes] | None = None,
        token: bytes | None = None,
    ) -> int | None:
        plan = self._plans.rotate(
            key, new_key, changes, life, expected, user, limit, grace, hard, create, token
        )
        return await self._run(plan)

    async def end(self, *keys: bytes) -> int:
        return await self._run(self._plans.end(keys)) if keys else 0

    async def touch(self, key: bytes) -> bool:
        return await self._run(self._plans.touch(key))

    async def sessions_of(self, user: str, names: Sequence[bytes] = ()) -> list[Listed]:
        return await self._run(self._plans.sessions_of(user, names)) if user else []

    async def end_all(self, user: str, *, keep: bytes | None = None) -> int:
        return await self._run(self._plans.end_all(user, keep)) if user else 0

    async def exists(self, key: bytes) -> bool:
        return await self._run(self._plans.exists(key))

    async def ping(self) -> None:
        await self._run(self._plans.ping())

    async def close(self) -> None:
        await self._pools.close()


def open_engine(address: Address) -> RedisEngine:
    """The engine at `redis://...`; no I/O."""
    return RedisEngine(settings(address))


def open_async_engine(address: Address) -> AsyncRedisEngine:
    """The engine at `redis://...` for asyncio; no I/O."""
    return AsyncRedisEngine(settings(address))
