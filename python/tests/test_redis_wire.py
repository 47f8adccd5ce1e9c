"""Commands and replies over a connection of redis-py's, against a peer that says what it's told."""

from __future__ import annotations

import asyncio
import math
import signal
import socket
import threading
import time
from typing import Any

import pytest
from redis import ConnectionError as RedisConnectionError
from redis import connection
from redis.asyncio import connection as async_connection

from forks import ends_in_a_child
from sessile import SessionUnavailable
from sessile.redis_ask import Refused
from sessile.redis_conduct import Exchange
from sessile.redis_plan import ServerClock
from sessile.redis_pool import AsyncPool, Pool, Pools
from sessile.redis_url import settings
from sessile.redis_wire import exchange, exchange_async, packed
from sessile.urls import parse
from sessile.wire import ProtocolError


class Peer:
    """A server that answers each request of `asks` bytes with these pieces, then closes."""

    def __init__(self, *pieces: bytes, asks: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(10)
        self.port = self._listener.getsockname()[1]
        self.heard = b""
        self._pieces, self._asks = pieces, asks
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with self._listener, self._listener.accept()[0] as wire:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while len(self.heard) < self._asks and (data := wire.recv(4096)):
                self.heard += data
            for piece in self._pieces:
                wire.sendall(piece)

    def arguments(self) -> dict[str, Any]:
        """Of a connection that says nothing by itself."""
        return {"host": "127.0.0.1", "port": self.port, "socket_timeout": 5.0, "protocol": 2}

    def end(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()


PING = ("PING",)
ASKED = packed([PING])


def asked_sync(peer: Peer, count: int) -> list[Any]:
    held = connection.Connection(**peer.arguments(), redis_connect_func=lambda held: None)
    try:
        return exchange(held, [PING] * count, 0)
    finally:
        held.disconnect()


def asked_async(peer: Peer, count: int) -> list[Any]:
    async def nothing(held: Any) -> None:
        pass

    async def ask() -> list[Any]:
        held = async_connection.Connection(**peer.arguments(), redis_connect_func=nothing)
        try:
            return await exchange_async(held, [PING] * count)
        finally:
            await held.disconnect(nowait=True)

    return asyncio.run(ask())


@pytest.fixture(params=[asked_sync, asked_async], ids=["sync", "async"])
def asked(request: Any) -> Any:
    def answers(count: int, *pieces: bytes) -> list[Any]:
        peer = Peer(*pieces, asks=len(ASKED) * count)
        try:
            return request.param(peer, count)
        finally:
            peer.end()
            assert peer.heard == ASKED * count

    return answers


def test_words_of_every_kind_are_packed() -> None:
    assert packed([("GET", b"k\xff"), ("X", 12)]) == (
        b"*2\r\n$3\r\nGET\r\n$2\r\nk\xff\r\n*2\r\n$1\r\nX\r\n$2\r\n12\r\n"
    )


def test_replies_in_pieces_and_of_every_kind(asked: Any) -> None:
    said = b"+OK\r\n:-7\r\n$3\r\na\r\n\r\n$-1\r\n*2\r\n$1\r\nk\r\n*-1\r\n-ERR no such thing\r\n"
    expected = [b"OK", -7, b"a\r\n", None, [b"k", None], Refused("ERR", "no such thing")]
    assert asked(6, said) == expected
    assert asked(6, *[said[at : at + 1] for at in range(len(said))]) == expected


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        (b"NOSCRIPT No matching script.", "NOSCRIPT", "No matching script."),
        (b"MOVED 3999 127.0.0.1:6381", "MOVED", "3999 127.0.0.1:6381"),
        (b"ASK 3999 :6381", "ASK", "3999 :6381"),
        (b"CONFLICT", "CONFLICT", ""),
        (b"something a script said", "ERR", "something a script said"),
    ],
)
def test_an_error_is_an_answer(asked: Any, line: bytes, code: str, text: str) -> None:
    assert asked(2, b"-" + line + b"\r\n:1\r\n") == [Refused(code, text), 1]


def test_an_error_within_a_transactions_answers(asked: Any) -> None:
    said = b"*2\r\n+OK\r\n-WRONGTYPE no hash\r\n"
    assert asked(1, said) == [[b"OK", Refused("WRONGTYPE", "no hash")]]


@pytest.mark.parametrize(
    "line",
    [
        b"LOADING Redis is loading the dataset in memory",
        b"NOAUTH Authentication required.",
        b"ERR max number of clients reached",
    ],
)
def test_a_connection_that_nothing_can_be_asked_on_is_lost(asked: Any, line: bytes) -> None:
    with pytest.raises(RedisConnectionError, match=line.decode()[:7]):
        asked(1, b"-" + line + b"\r\n")


def test_a_connection_that_ends_within_a_reply_is_lost(asked: Any) -> None:
    with pytest.raises(RedisConnectionError):
        asked(1, b"$3\r\nab")


@pytest.mark.parametrize("said", [b":1\r\n:2\r\n", b"GET / HTTP/1.1\r\n\r\n"])
def test_what_nobody_asked_for_is_no_reply(asked: Any, said: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        asked(1, said)
    assert isinstance(caught.value, SessionUnavailable)


def test_the_same_without_the_native_module(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessile.wire._native", None)
    assert asked(2, b"*2\r\n$1\r\nk\r\n:3\r\n", b"$1\r\nv\r\n") == [[b"k", 3], b"v"]


def test_who_comes_too_late_costs_nobody_a_connection() -> None:
    pool: Any = Pool(lambda: object(), 1, 5.0)
    later: Any = AsyncPool(lambda: object(), 1, 5.0)
    held, used = pool.take(math.inf)
    assert not used
    pool.give(held)
    with pytest.raises(SessionUnavailable, match="took too long"):
        pool.take(0.0)
    assert pool.take(math.inf) == (held, True)

    async def ask() -> None:
        held, _ = await later.take(math.inf)
        later.give(held)
        with pytest.raises(SessionUnavailable, match="took too long"):
            await later.take(0.0)
        assert await later.take(math.inf) == (held, True)

    asyncio.run(ask())


class Kept:
    """A connection that is idle."""

    def disconnect(self) -> None:
        pass


def test_a_child_closes_nothing_that_waits_for_a_thread_of_its_parent() -> None:
    pools = Pools(settings(parse("redis://127.0.0.1")), ServerClock())
    pool = pools._pool(Exchange(("127.0.0.1", 6379), ()))
    pool.idle.append(Kept())
    assert ends_in_a_child(pool._change, pools.close)


def test_signals_dont_prolong_the_wait_for_a_reply() -> None:
    began = time.monotonic()

    def tick(*_: Any) -> None:
        assert time.monotonic() < began + 10, "it waits as long as signals come"

    before = signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    held = None
    try:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            held = connection.Connection(
                host="127.0.0.1",
                port=port,
                socket_timeout=0.5,
                protocol=2,
                redis_connect_func=lambda held: None,
            )
            with pytest.raises(TimeoutError, match="no reply in time"):
                exchange(held, [PING], 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if held is not None:
            held.disconnect()
