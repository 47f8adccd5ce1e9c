"""The engine on Redis and Valkey: `redis://`, `rediss://`, `valkey://`, over redis-py.

A session is a hash, each write one small script (`sessile.redis_scripts`), a read one script
that also slides. redis-py makes connections and logs in; which node is asked, and how often
(`sessile.redis_conduct`), and the bytes after that (`sessile.redis_wire`) are ours. What always
holds: a connection on which anything went wrong, cancelling included, is never used again;
connections belong to one process and one event loop; every wait has an end: `timeout` for a reply,
`pool_wait` for a connection.
"""

from __future__ import annotations

from typing import Any

from sessile.faces import AsyncFace, Face
from sessile.redis_ask import Plan
from sessile.redis_conduct import conduct
from sessile.redis_plan import ServerClock
from sessile.redis_pool import AsyncPools, Pools
from sessile.redis_url import Settings, settings
from sessile.urls import Address

__all__ = ["AsyncRedisEngine", "RedisEngine", "open_async_engine", "open_engine"]


class RedisEngine(Face):
    """`sessile.contract.Engine` on Redis."""

    def __init__(self, given: Settings) -> None:
        clock = ServerClock()
        self._plans = given.plans(clock)
        self._topology = given.topology()
        self._timeout = given.timeout
        self.promises = given.promises()
        self._pools = Pools(given, clock)

    def _run(self, plan: Plan[Any]) -> Any:
        return self._pools.run(conduct(plan, self._topology, self._timeout))

    def close(self) -> None:
        self._pools.close()


class AsyncRedisEngine(AsyncFace):
    """`sessile.contract.AsyncEngine` on Redis."""

    def __init__(self, given: Settings) -> None:
        clock = ServerClock()
        self._plans = given.plans(clock)
        self._topology = given.topology()
        self._timeout = given.timeout
        self.promises = given.promises()
        self._pools = AsyncPools(given, clock)

    async def _run(self, plan: Plan[Any]) -> Any:
        return await self._pools.run(conduct(plan, self._topology, self._timeout))

    async def close(self) -> None:
        await self._pools.close()


def open_engine(address: Address) -> RedisEngine:
    """The engine at `redis://...`; no I/O."""
    return RedisEngine(settings(address))


def open_async_engine(address: Address) -> AsyncRedisEngine:
    """The engine at `redis://...` for asyncio; no I/O."""
    return AsyncRedisEngine(settings(address))
