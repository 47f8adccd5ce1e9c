"""redis-py's asyncio client, as Starlette and FastAPI applications use it."""

from __future__ import annotations

import asyncio

import pytest
from redis import asyncio as redis


@pytest.mark.parametrize("protocol", [2, 3])
def test_many_tasks_share_a_pool(store, protocol: int) -> None:
    async def scenario() -> None:
        pool = redis.BlockingConnectionPool(port=store.port, protocol=protocol, max_connections=10)
        client = redis.Redis(connection_pool=pool)

        async def visit(name: int) -> None:
            key = f"session:{name}"
            async with client.pipeline(transaction=True) as pipe:
                pipe.hset(key, mapping={"user": name, "hits": 0})
                pipe.expire(key, 100)
                await pipe.execute()
            for _ in range(5):
                await client.hincrby(key, "hits")
            wanted = {b"user": str(name).encode(), b"hits": b"5"}
            assert await client.hgetall(key) == wanted

        await asyncio.gather(*(visit(name) for name in range(100)))
        assert len([key async for key in client.scan_iter("session:*")]) == 100
        await client.aclose()
        await pool.disconnect()

    asyncio.run(scenario())


def test_a_cancelled_request_does_not_mix_up_replies(store) -> None:
    async def scenario() -> None:
        client = redis.Redis(port=store.port)
        await client.mset({f"k{i}": i for i in range(50)})
        for i in range(50):
            task = asyncio.create_task(client.get(f"k{i}"))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await client.get("k7") == b"7"
        await client.aclose()

    asyncio.run(scenario())


def test_unix_socket(store) -> None:
    async def scenario() -> None:
        client = redis.Redis(unix_socket_path=store.unixsocket)
        assert await client.set("k", "v", ex=10) is True
        assert await client.get("k") == b"v"
        await client.aclose()

    asyncio.run(scenario())
