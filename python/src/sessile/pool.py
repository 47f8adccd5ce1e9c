"""Connections to one server: moving bytes, for threads and for asyncio.

A `Pool` sends a request and answers its reply; what both mean is its caller's business, and how a
reply is cut out of the bytes that come is the `Target`'s. What always holds: a connection on which
anything went wrong, cancelling included, is never used again; connections belong to one process
and one event loop; every wait has an end: `timeout` to connect and again for a reply, `pool_wait`
for a connection; a request goes out at most twice, and never again after it timed out; a server
that failed several times in a row isn't asked for a moment.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from sessile.busy import BUSY_POLL, BusyPoll
from sessile.errors import SessionUnavailable
from sessile.waiting import within
from sessile.wire import MORE, ProtocolError, Replies

__all__ = ["AsyncPool", "Pool", "Reader", "Target"]

CHUNK = 16 * 1024
"""Bytes taken from a connection at once."""
FAILURES_MAX = 3
PAUSE = 0.5
UCRED = struct.Struct("3i")
TIMEVAL = struct.Struct("ll")

forks = 0
"""How often this process is the child of a fork that ran this module."""


def count_fork() -> None:
    global forks
    forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=count_fork)


class Reader(Protocol):
    """Cuts replies out of bytes; see `sessile.wire.Replies`."""

    def feed(self, data: bytes) -> None: ...

    def take(self) -> Any: ...

    @property
    def is_empty(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server is, how it is spoken to, and how long to wait for it."""

    host: str = ""
    port: int = 0
    path: str = ""
    """Of a Unix socket; instead of host and port."""
    tls: ssl.SSLContext | None = None
    timeout: float = 0.5
    pool: int = 64
    pool_wait: float = 0.5
    greeting: tuple[bytes, ...] = ()
    """Requests that a new connection sends first."""
    welcome: Callable[[Any], Any] = lambda reply: reply
    """Is shown each reply to the greeting; raises if it isn't what it should be."""
    reader: Callable[[], Reader] = Replies
    busy_poll: int = BUSY_POLL
    """Microseconds; see `sessile.busy`."""
    owner: int | None = None
    """The user id that the process at the other end of a Unix socket must have."""

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


class Breaker:
    """Remembers failures in a row."""

    __slots__ = ("failures", "target", "until")

    def __init__(self, target: Target) -> None:
        self.target = target
        self.failures = 0
        self.until = 0.0

    def check(self) -> None:
        """Raises SessionUnavailable while the server shall be left alone."""
        if self.failures < FAILURES_MAX:
            return
        now = time.monotonic()
        if now < self.until:
            raise SessionUnavailable(
                f"the store at {self.target} failed several times and isn't asked for a moment"
            )
        self.until = now + PAUSE

    def failed(self) -> None:
        self.failures += 1
        self.until = time.monotonic() + PAUSE


class Link:
    """One connection."""

    __slots__ = ("_busy", "_reader", "_socket", "_timeout")

    def __init__(self, target: Target) -> None:
        self._reader = target.reader()
        self._timeout = target.timeout
        self._socket = connect(target)
        self._busy = BusyPoll(self._socket, target.busy_poll)
        try:
            for request in target.greeting:
                target.welcome(self.exchange(request))
        except BaseException:
            self.close()
            raise

    def exchange(self, data: bytes) -> Any:
        """Sends a request and answers its reply. OSError if the connection is lost."""
        chunk = self._busy.send(data)
        reader = self._reader
        while True:
            if chunk is None:
                self._busy.sleep(self._timeout)
                chunk = self._socket.recv(CHUNK)
            if not chunk:
                raise ConnectionResetError("the server closed the connection")
            reader.feed(chunk)
            reply = reader.take()
            if reply is not MORE:
                if not reader.is_empty:
                    raise ProtocolError("the server answered more than was asked")
                return reply
            chunk = None

    def close(self) -> None:
        self._socket.close()


def connect(target: Target) -> socket.socket:
    """A connected socket."""
    if target.path:
        plug = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            plug.settimeout(target.timeout)
            plug.connect(target.path)
            check_owner(plug, target)
            limit(plug, target.timeout)
        except BaseException:
            plug.close()
            raise
        return plug
    plug = socket.create_connection((target.host, target.port), target.timeout)
    try:
        plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if target.tls is None:
            limit(plug, target.timeout)
            return plug
        return target.tls.wrap_socket(plug, server_hostname=target.host)
    except BaseException:
        plug.close()
        raise


def limit(plug: socket.socket, seconds: float) -> None:
    """Lets the kernel watch the time where it can: Python would poll before each call.

    Sockets that something like gevent has put in the place of Python's have ways of their own.
    """
    if sys.platform != "linux" or type(plug).__module__ != "socket":
        return
    whole, part = divmod(max(1, round(seconds * 1_000_000)), 1_000_000)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        plug.setsockopt(socket.SOL_SOCKET, option, TIMEVAL.pack(whole, part))
    plug.settimeout(None)


def check_owner(plug: Any, target: Target) -> None:
    """Raises PermissionError if the other end isn't run by whom it should be."""
    if target.owner is None or not hasattr(socket, "SO_PEERCRED"):
        return
    found = plug.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)
    _, uid, _ = UCRED.unpack(found)
    if uid != target.owner:
        raise PermissionError(f"the process at {target} is run by another user (uid {uid})")


class Pool:
    """The connections of one process."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._begin()

    def _begin(self) -> None:
        self._idle: list[Link] = []
        self._open = 0
        self._waiting = 0
        self._change = threading.Condition()
        self._breaker = Breaker(self.target)
        self._forks = forks

    def _part(self) -> None:
        """Begins anew in the child of a fork: the parent's connections stay the parent's, and its
        locks may be held by threads that aren't here. Forgetting them closes our copies only."""
        if self._forks != forks:
            self._begin()

    def exchange(self, data: bytes) -> Any:
        """The reply to a request, which is sent again once if its connection is lost."""
        self._part()
        breaker = self._breaker
        if breaker.failures:
            breaker.check()
        for last in (False, True):
            link = None
            try:
                try:
                    link = self._idle.pop()
                except IndexError:
                    link = self._another()
                reply = link.exchange(data)
            except (TimeoutError, BlockingIOError) as error:
                self._lose(link, count=True)
                raise SessionUnavailable(f"the store at {self.target} is too slow") from error
            except SessionUnavailable:
                self._lose(link, count=False)
                raise
            except OSError as error:
                self._lose(link, count=last or link is None)
                if last or link is None:
                    raise unreachable(self.target, error) from error
            except BaseException:
                self._lose(link, count=False)
                raise
            else:
                self._idle.append(link)
                if self._waiting:
                    with self._change:
                        self._change.notify()
                breaker.failures = 0
                return reply
        raise AssertionError("the second try answers or raises")

    def _another(self) -> Link:
        """A new connection, or if there are enough of them one that comes back."""
        with self._change:
            ends = time.monotonic() + self.target.pool_wait
            # Announced before looking, so that whoever gives one back sees us or we see it.
            self._waiting += 1
            try:
                while self._open >= self.target.pool:
                    if self._idle:
                        return self._idle.pop()
                    left = ends - time.monotonic()
                    if left <= 0:
                        raise full(self.target)
                    self._change.wait(left)
                self._open += 1
            finally:
                self._waiting -= 1
        try:
            return self._connect()
        except BaseException:
            self._left()
            raise

    def _connect(self) -> Link:
        return Link(self.target)

    def _lose(self, link: Link | None, *, count: bool) -> None:
        """Closes a connection, and those that were kept: they may be no better."""
        if count:
            self._breaker.failed()
        if link is not None:
            link.close()
            self._left()
            self.close()

    def _left(self) -> None:
        with self._change:
            self._open -= 1
            self._change.notify()

    def close(self) -> None:
        """Closes the connections that nobody uses at this moment."""
        self._part()
        while self._idle:
            try:
                link = self._idle.pop()
            except IndexError:
                return
            link.close()
            self._left()


class AsyncLink(asyncio.Protocol):
    """One connection in an event loop."""

    __slots__ = ("_answer", "_lost", "_reader", "_timer", "_transport", "rang")

    def __init__(self, target: Target) -> None:
        self._reader = target.reader()
        self._answer: asyncio.Future[Any] | None = None
        self._transport: asyncio.Transport | None = None
        self._lost = False
        self.rang = False

    async def exchange(self, data: bytes, timeout: float) -> Any:
        """Sends a request and answers its reply. OSError if the connection is lost."""
        if self._lost or self._transport is None:
            raise ConnectionResetError("the server closed the connection")
        loop = asyncio.get_running_loop()
        self._answer = answer = loop.create_future()
        timer = loop.call_later(timeout, self._ring)
        try:
            self._transport.write(data)
            return await answer
        finally:
            timer.cancel()
            self._answer = None

    def _ring(self) -> None:
        self.rang = True
        self._fail(TimeoutError("no reply in time"))

    def _fail(self, error: Exception) -> None:
        """Nothing good can come any more."""
        self.close()
        answer = self._answer
        if answer is not None and not answer.done():
            answer.set_exception(error)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Which writes, as that of every stream does; the type is that of datagrams as well.
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or answer.done():
            self.close()
            return
        try:
            self._reader.feed(data)
            reply = self._reader.take()
            if reply is MORE:
                return
            if not self._reader.is_empty:
                raise ProtocolError("the server answered more than was asked")
        except ProtocolError as error:
            self._fail(error)
        else:
            answer.set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or ConnectionResetError("the server closed the connection"))

    def close(self) -> None:
        self._lost = True
        if self._transport is not None:
            self._transport.abort()


class Loop:
    """The connections of one event loop."""

    def __init__(self, target: Target) -> None:
        self.idle: list[AsyncLink] = []
        self.room = asyncio.Semaphore(target.pool)
        self.breaker = Breaker(target)
        self.forks = forks
        self.keeper: AsyncGenerator[None, None] | None = None

    def clear(self) -> None:
        while self.idle:
            self.idle.pop().close()


class AsyncPool:
    """The connections of each event loop."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, Loop] = WeakKeyDictionary()

    async def exchange(self, data: bytes) -> Any:
        """The reply to a request, which is sent again once if its connection is lost."""
        running = asyncio.get_running_loop()
        loop = self._loops.get(running)
        if loop is None or loop.forks != forks:
            loop = self._loops[running] = Loop(self.target)
            loop.keeper = self._keep(loop, running)
            await anext(loop.keeper)
        if loop.breaker.failures:
            loop.breaker.check()
        if loop.room.locked():
            try:
                await within(self.target.pool_wait, loop.room.acquire())
            except asyncio.TimeoutError:
                raise full(self.target) from None
        else:
            await loop.room.acquire()
        try:
            return await self._exchange(loop, data)
        finally:
            loop.room.release()

    async def _keep(
        self, loop: Loop, running: asyncio.AbstractEventLoop
    ) -> AsyncGenerator[None, None]:
        """Closes the connections when the event loop shuts its asynchronous generators down."""
        try:
            yield
        finally:
            loop.clear()
            self._loops.pop(running, None)

    async def _exchange(self, loop: Loop, data: bytes) -> Any:
        for last in (False, True):
            link = None
            try:
                link = loop.idle.pop() if loop.idle else await self._connect()
                reply = await link.exchange(data, self.target.timeout)
            except (TimeoutError, asyncio.TimeoutError) as error:
                self._lose(loop, link, count=True)
                raise SessionUnavailable(f"the store at {self.target} is too slow") from error
            except SessionUnavailable:
                self._lose(loop, link, count=False)
                raise
            except OSError as error:
                self._lose(loop, link, count=last or link is None)
                if last or link is None:
                    raise unreachable(self.target, error) from error
            except BaseException:
                self._lose(loop, link, count=False)
                raise
            else:
                loop.idle.append(link)
                loop.breaker.failures = 0
                return reply
        raise AssertionError("the second try answers or raises")

    async def _connect(self) -> AsyncLink:
        target = self.target
        link = AsyncLink(target)
        try:
            await within(target.timeout, self._open(link))
            for request in target.greeting:
                target.welcome(await link.exchange(request, target.timeout))
        except BaseException:
            link.close()
            raise
        return link

    async def _open(self, link: AsyncLink) -> None:
        target, loop = self.target, asyncio.get_running_loop()
        if target.path:
            transport, _ = await loop.create_unix_connection(lambda: link, target.path)
            check_owner(transport.get_extra_info("socket"), target)
            return
        name = target.host if target.tls else None
        await loop.create_connection(
            lambda: link, target.host, target.port, ssl=target.tls, server_hostname=name
        )

    def _lose(self, loop: Loop, link: AsyncLink | None, *, count: bool) -> None:
        """Closes a connection, and those that were kept: they may be no better."""
        if count:
            loop.breaker.failed()
        if link is not None:
            link.close()
            loop.clear()

    async def close(self) -> None:
        """Closes the connections of this event loop that nobody uses at this moment."""
        loop = self._loops.get(asyncio.get_running_loop())
        if loop is not None:
            loop.clear()


def full(target: Target) -> SessionUnavailable:
    return SessionUnavailable(
        f"all {target.pool} connections to {target} are in use, and none came back in time"
    )


def unreachable(target: Target, error: OSError) -> SessionUnavailable:
    return SessionUnavailable(f"the store at {target} can't be reached: {error}")
