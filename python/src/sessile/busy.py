"""Sending a request and waiting for a reply that comes at once, without going to sleep.

Over loopback the reply is there before a sleeping thread would have been woken: that takes longer
than all else of a round trip. So the native module sends the request and looks for the reply again
and again, for some microseconds, in which it lets other threads have the interpreter and other
processes the processor. Over TLS the socket sends and receives, and the module only looks whether
bytes came; what doesn't go out at once is sent by the socket, and its reply isn't looked for.
What always holds: it changes nothing but time; where replies take longer, it's tried more and more
rarely, and soon costs nothing; where others want the processor it's hardly ever tried, since a
thread that lets them have it gets it back milliseconds later, and one that sleeps as soon as there
is a reply; the sleep that follows ends in time, whatever wakes it. Not for:
asyncio, which has other things to do meanwhile.
"""

from __future__ import annotations

import select
import sys
from typing import Any

from sessile import native
from sessile.urls import Address

__all__ = ["BUSY_POLL", "BusyPoll", "busy_poll_of"]

BUSY_POLL = 100
"""Microseconds, where the URL says nothing else."""
MICROS_MAX = 10_000
MISSES_MAX = 8
"""After that many replies in a row that took longer, one in 256 is waited for like that."""
LATE = 2
"""A wait that took so many times as long is one in which others had the processor."""
PLAIN = {"socket", "ssl"}
"""Where the classes of sockets stand whose waiting holds up nobody else; gevent's does."""


def busy_poll_of(address: Address) -> int:
    """The microseconds that a URL asks for. Raises ConfigurationError."""
    return int(min(address.number("busy_poll", BUSY_POLL), MICROS_MAX))


class BusyPoll:
    """Sends on one connection, and takes what comes at once. Nobody else uses it meanwhile."""

    __slots__ = ("_is_tls", "_micros", "_misses", "_rest", "_sleeper", "plug")

    def __init__(self, plug: Any, micros: int) -> None:
        can = native.module is not None and type(plug).__module__ in PLAIN
        can = can and sys.platform == "linux"
        self.plug = plug
        self._micros = micros if can else 0
        self._is_tls = type(plug).__module__ == "ssl"
        self._misses = self._rest = 0
        self._sleeper: Any = None

    def send(self, data: bytes) -> bytes | None:
        """Sends a request. The bytes that came at once, empty at the connection's end; None: call
        `sleep`, then receive. OSError if the connection is lost, or nothing goes out in time."""
        plug = self.plug
        if not self._micros:
            plug.sendall(data)
            return None
        if self._rest:
            self._rest -= 1
            plug.sendall(data)
            return None
        if self._is_tls:
            plug.sendall(data)
            took, chunk = native.module.ready_after(plug.fileno(), self._micros), None
        else:
            sent, took, chunk = native.module.exchange(plug.fileno(), data, self._micros)
            if sent < len(data):
                plug.sendall(data[sent:])
                return None
        if took is not None and took <= LATE * self._micros:
            self._misses = 0
            return chunk
        self._misses = MISSES_MAX if took is not None else min(self._misses + 1, MISSES_MAX)
        self._rest = (1 << self._misses) - 1
        return chunk

    def sleep(self, seconds: float) -> None:
        """Returns when something has come, or at once where the socket keeps the time by itself.
        Raises TimeoutError."""
        if self._sleeper is None:
            if self.plug.gettimeout() is not None:
                return
            # Only the kernel watches the time, and it begins anew after each signal that Python
            # handles: a process that has one often would wait for ever. `poll` keeps to its time.
            self._sleeper = select.poll()
            self._sleeper.register(self.plug, select.POLLIN)
        if not self._sleeper.poll(seconds * 1000):
            raise TimeoutError("no reply in time")
