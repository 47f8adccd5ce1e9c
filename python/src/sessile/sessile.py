"""The engine on Sessile's own commands: `sessile://host:port`, `sessiles://`, `unix:///path`.

One request and one reply for each operation, over plain sockets or asyncio's streams. What always
holds: a connection on which anything went wrong, cancelling included, is never used again;
connections belong to one process and one event loop; every wait has an end: `timeout` for a
reply, `pool_wait` for a connection; a request goes out at most twice, and never again after it
timed out; a store that failed several times in a row isn't asked for a moment.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from sessile.errors import ConfigurationError, SessionUnavailable
from sessile.faces import AsyncFace, Face
from sessile.sessile_plan import Plans, Request, plain
from sessile.urls import Address
from sessile.wire import MORE, ProtocolError, Replies, pack

__all__ = ["AsyncSessileEngine", "SessileEngine", "Target", "open_async_engine", "open_engine"]

PORT = 6379
CHUNK = 64 * 1024
FAILURES_MAX = 3
PAUSE = 0.5
FULL = "all {} connections are in use, and none came back in time"


@dataclass(frozen=True, slots=True)
class Target:
    """Where the server is, and how long to wait for it."""

    host: str = ""
    port: int = PORT
    path: str = ""
    """Of a Unix socket; instead of host and port."""
    username: str = ""
    password: str = ""
    tls: ssl.SSLContext | None = None
    timeout: float = 0.5
    pool: int = 64
    pool_wait: float = 0.5

    def greeting(self) -> bytes:
        """What a new connection says first; empty if nothing."""
        if not self.password:
            return b""
        login = [self.username.encode()] if self.username else []
        return pack([b"AUTH", *login, self.password.encode()])


class Breaker:
    """Remembers failures in a row."""

    __slots__ = ("failures", "until")

    def __init__(self) -> None:
        self.failures = 0
        self.until = 0.0

    def check(self) -> None:
        """Raises SessionUnavailable while the store shall be left alone."""
        if self.failures < FAILURES_MAX:
            return
        now = time.monotonic()
        if now < self.until:
            raise SessionUnavailable("the store failed several times and isn't asked for a moment")
        self.until = now + PAUSE

    def failed(self) -> None:
        self.failures += 1
        self.until = time.monotonic() + PAUSE


class Link:
    """One connection."""

    __slots__ = ("_replies", "_socket")

    def __init__(self, target: Target) -> None:
        self._replies = Replies()
        self._socket = connect(target)
        try:
            if greeting := target.greeting():
                plain(self.exchange(greeting))
        except BaseException:
            self.close()
            raise

    def exchange(self, data: bytes) -> Any:
        """Sends a request and answers its reply. OSError if the connection is lost."""
        self._socket.sendall(data)
        replies, receive = self._replies, self._socket.recv
        while True:
            chunk = receive(CHUNK)
            if not chunk:
                raise ConnectionResetError("the server closed the connection")
            replies.feed(chunk)
            reply = replies.take()
            if reply is not MORE:
                if not replies.is_empty:
                    raise ProtocolError("the server answered more than was asked")
                return reply

    def close(self) -> None:
        self._socket.close()


def connect(target: Target) -> socket.socket:
    """A connected socket."""
    if target.path:
        plug = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            plug.settimeout(target.timeout)
            plug.connect(target.path)
        except BaseException:
            plug.close()
            raise
        return plug
    plug = socket.create_connection((target.host, target.port), target.timeout)
    plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if target.tls is None:
        return plug
    try:
        return target.tls.wrap_socket(plug, server_hostname=target.host)
    except BaseException:
        plug.close()
        raise


class SessileEngine(Face):
    """`sessile.contract.Engine` on a Sessile server."""

    def __init__(self, target: Target) -> None:
        self._plans = Plans()
        self._target = target
        self._begin()

    def _begin(self) -> None:
        self._idle: list[Link] = []
        self._room = threading.BoundedSemaphore(self._target.pool)
        self._breaker = Breaker()
        self._pid = os.getpid()

    def _run(self, plan: Request) -> Any:
        if self._pid != os.getpid():
            # The parent's connections stay the parent's: forgetting them closes our copies only.
            self._begin()
        self._breaker.check()
        if not self._room.acquire(timeout=self._target.pool_wait):
            raise SessionUnavailable(FULL.format(self._target.pool))
        try:
            reply = self._exchange(plan.data)
        finally:
            self._room.release()
        return plan.read(reply)

    def _exchange(self, data: bytes) -> Any:
        """The reply to a request, which is sent again once if its connection is lost."""
        for last in (False, True):
            link = None
            try:
                try:
                    link = self._idle.pop()
                except IndexError:
                    link = self._connect()
                reply = link.exchange(data)
            except TimeoutError as error:
                self._lose(link, count=True)
                raise SessionUnavailable("the store doesn't answer in time") from error
            except OSError as error:
                self._lose(link, count=last or link is None)
                if last or link is None:
                    raise SessionUnavailable(f"the store can't be reached: {error}") from error
            except BaseException:
                self._lose(link, count=False)
                raise
            else:
                self._idle.append(link)
                self._breaker.failures = 0
                return reply
        raise AssertionError("the second try answers or raises")

    def _connect(self) -> Link:
        return Link(self._target)

    def _lose(self, link: Link | None, *, count: bool) -> None:
        """Closes a connection, and those that were kept: they may be no better."""
        if count:
            self._breaker.failed()
        if link is not None:
            link.close()
        self.close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


class AsyncLink:
    """One connection in an event loop."""

    __slots__ = ("_reader", "_replies", "_writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._replies = Replies()

    async def exchange(self, data: bytes) -> Any:
        """Sends a request and answers its reply. OSError if the connection is lost."""
        self._writer.write(data)
        replies = self._replies
        while True:
            chunk = await self._reader.read(CHUNK)
            if not chunk:
                raise ConnectionResetError("the server closed the connection")
            replies.feed(chunk)
            reply = replies.take()
            if reply is not MORE:
                if not replies.is_empty:
                    raise ProtocolError("the server answered more than was asked")
                return reply

    def close(self) -> None:
        self._writer.transport.abort()


class Loop:
    """The connections of one event loop."""

    def __init__(self, room: int) -> None:
        self.idle: list[AsyncLink] = []
        self.room = asyncio.Semaphore(room)
        self.breaker = Breaker()
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
            self.clear()

    def clear(self) -> None:
        while self.idle:
            self.idle.pop().close()


class AsyncSessileEngine(AsyncFace):
    """`sessile.contract.AsyncEngine` on a Sessile server."""

    def __init__(self, target: Target) -> None:
        self._plans = Plans()
        self._target = target
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, Loop] = WeakKeyDictionary()

    async def _run(self, plan: Request) -> Any:
        loop = await self._loop()
        loop.breaker.check()
        if loop.room.locked():
            try:
                await asyncio.wait_for(loop.room.acquire(), self._target.pool_wait)
            except asyncio.TimeoutError:
                raise SessionUnavailable(FULL.format(self._target.pool)) from None
        else:
            await loop.room.acquire()
        try:
            reply = await self._exchange(loop, plan.data)
        finally:
            loop.room.release()
        return plan.read(reply)

    async def _exchange(self, loop: Loop, data: bytes) -> Any:
        """The reply to a request, which is sent again once if its connection is lost."""
        for last in (False, True):
            link, timer = None, None
            try:
                link = loop.idle.pop() if loop.idle else await self._connect()
                # A closed transport ends the read: cheaper than a task for each request.
                timer = Timer(self._target.timeout, link)
                reply = await link.exchange(data)
            except asyncio.TimeoutError as error:
                self._lose(loop, link, count=True)
                raise SessionUnavailable("the store doesn't answer in time") from error
            except OSError as error:
                self._lose(loop, link, count=last or link is None or bool(timer and timer.rang))
                if timer is not None and timer.rang:
                    raise SessionUnavailable("the store doesn't answer in time") from error
                if last or link is None:
                    raise SessionUnavailable(f"the store can't be reached: {error}") from error
            except BaseException:
                self._lose(loop, link, count=False)
                raise
            else:
                loop.idle.append(link)
                loop.breaker.failures = 0
                return reply
            finally:
                if timer is not None:
                    timer.stop()
        raise AssertionError("the second try answers or raises")

    async def _connect(self) -> AsyncLink:
        target = self._target
        if target.path:
            opening = asyncio.open_unix_connection(target.path)
        else:
            name = target.host if target.tls else None
            opening = asyncio.open_connection(
                target.host, target.port, ssl=target.tls, server_hostname=name
            )
        link = AsyncLink(*await asyncio.wait_for(opening, target.timeout))
        try:
            if greeting := target.greeting():
                plain(await asyncio.wait_for(link.exchange(greeting), target.timeout))
        except BaseException:
            link.close()
            raise
        return link

    def _lose(self, loop: Loop, link: AsyncLink | None, *, count: bool) -> None:
        """Closes a connection, and those that were kept: they may be no better."""
        if count:
            loop.breaker.failed()
        if link is not None:
            link.close()
        loop.clear()

    async def _loop(self) -> Loop:
        running = asyncio.get_running_loop()
        loop = self._loops.get(running)
        if loop is None or loop.pid != os.getpid():
            loop = self._loops[running] = Loop(self._target.pool)
            await loop.keep()
        return loop

    async def close(self) -> None:
        loop = self._loops.get(asyncio.get_running_loop())
        if loop is not None:
            loop.clear()


class Timer:
    """Closes a connection when its time is up."""

    __slots__ = ("_handle", "rang")

    def __init__(self, seconds: float, link: AsyncLink) -> None:
        self.rang = False
        self._handle = asyncio.get_running_loop().call_later(seconds, self._ring, link)

    def _ring(self, link: AsyncLink) -> None:
        self.rang = True
        link.close()

    def stop(self) -> None:
        self._handle.cancel()


def target_of(address: Address) -> Target:
    """Where a URL leads. Raises ConfigurationError."""
    address.only("timeout", "pool", "pool_wait")
    timing = {
        "timeout": address.number("timeout", 0.5, least=0.01),
        "pool": int(address.number("pool", 64, least=1)),
        "pool_wait": address.number("pool_wait", 0.5),
    }
    if address.scheme == "unix":
        if address.netloc or not address.path:
            raise ConfigurationError("unix URL: needs three slashes and a path: unix:///run/sock")
        return Target(path=address.path, password=address.password, **timing)  # type: ignore[arg-type]
    if address.path not in ("", "/"):
        raise ConfigurationError("sessile URL: sessions live in database 0; take the path away")
    (host, port), *more = address.hosts(PORT)
    if more:
        raise ConfigurationError("sessile URL: one host is enough")
    tls = ssl.create_default_context() if address.scheme == "sessiles" else None
    login = {"username": address.username, "password": address.password}
    return Target(host=host, port=port, tls=tls, **login, **timing)  # type: ignore[arg-type]


def open_engine(address: Address) -> SessileEngine:
    """The engine at `sessile://...`; no I/O."""
    return SessileEngine(target_of(address))


def open_async_engine(address: Address) -> AsyncSessileEngine:
    """The engine at `sessile://...` for asyncio; no I/O."""
    return AsyncSessileEngine(target_of(address))
