"""A proxy that counts the commands that go through it: Redis' protocol or memcached's, over TCP or
over a socket in the file system.

What always holds: every command counts, in the order in which it was sent, but for what a new
connection says once before its first request (GREETING); `refuse` makes the store unreachable
without stopping it. A script's text counts as the EVAL that it's sent with.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

GREETING = frozenset({"HELLO", "AUTH", "SELECT", "CLIENT", "TIME", "INFO", "PING"})
"""What a connection says for itself: protocol, login, database, the client's name, and what our
engines ask a server first (its clock, its policy, whether it's still loading). Each counts from
its second time on, and as soon as anything else was said."""


class Proxy:
    """Stands on `port`, or on the socket `path`, in front of a store on `target`."""

    def __init__(
        self,
        target: int | str,
        *,
        path: str = "",
        parser: Callable[[], Parser] | None = None,
    ) -> None:
        """`target` is a port of this machine or a socket's path."""
        self.target = target
        self.commands: list[str] = []
        self.bytes_sent = 0
        self.refuse = False
        self._parser = parser or Resp
        self._open: set[socket.socket] = set()
        self.port = 0
        if path:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(path)
            self._listener.listen(64)
        else:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def take(self) -> list[str]:
        """The commands since the last call."""
        commands, self.commands = self.commands, []
        return commands

    def cut(self) -> None:
        """Breaks all connections."""
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refuse:
                client.close()
                continue
            store = self._connect()
            self._open |= {client, store}
            threading.Thread(target=self._upwards, args=(client, store), daemon=True).start()
            threading.Thread(target=self._pump, args=(store, client), daemon=True).start()

    def _connect(self) -> socket.socket:
        if isinstance(self.target, int):
            return socket.create_connection(("127.0.0.1", self.target))
        store = socket.socket(socket.AF_UNIX)
        store.connect(self.target)
        return store

    def _upwards(self, client: socket.socket, store: socket.socket) -> None:
        self._pump(client, store, Greeted(self._parser()))

    def _pump(
        self, source: socket.socket, sink: socket.socket, parser: Parser | None = None
    ) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if parser is not None:
                    self.bytes_sent += len(data)
                    self.commands += parser.feed(data)
                sink.sendall(data)
        for one in (source, sink):
            self._open.discard(one)
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


class Parser(Protocol):
    """Finds the names of commands in what a client sends."""

    def feed(self, data: bytes) -> list[str]: ...


class Greeted:
    """The commands of a connection without what it says once at its beginning."""

    def __init__(self, parser: Parser) -> None:
        self.parser = parser
        self.due = set(GREETING)

    def feed(self, data: bytes) -> list[str]:
        return [name for name in self.parser.feed(data) if not self._greets(name)]

    def _greets(self, name: str) -> bool:
        greets = name in self.due
        self.due = self.due - {name} if greets else set()
        return greets


class Resp:
    """Redis' protocol: arrays of bulk strings."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> list[str]:
        self.rest += data
        names = []
        while (command := self._next()) is not None:
            names.append(command[0].decode().upper())
        return names

    def _next(self) -> list[bytes] | None:
        end = self.rest.find(b"\r\n")
        if end < 0:
            return None
        assert self.rest[:1] == b"*", self.rest[:40]
        at, parts = end + 2, []
        for _ in range(int(self.rest[1:end])):
            end = self.rest.find(b"\r\n", at)
            if end < 0:
                return None
            length = int(self.rest[at + 1 : end])
            at = end + 2 + length + 2
            if at > len(self.rest):
                return None
            parts.append(self.rest[end + 2 : at - 2])
        self.rest = self.rest[at:]
        return parts


class Meta:
    """memcached's meta commands: a line each, and `ms` has a value after it."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> list[str]:
        self.rest += data
        names = []
        while b"\r\n" in self.rest:
            line, _, after = self.rest.partition(b"\r\n")
            words = line.split(b" ")
            assert words[0] in (b"mg", b"ms", b"md", b"mn"), line
            if words[0] == b"ms":
                length = int(words[2]) + 2
                if len(after) < length:
                    break
                after = after[length:]
            names.append(words[0].decode())
            self.rest = after
        return names


@contextmanager
def counting(target: int | str, **options: object) -> Iterator[Proxy]:
    """A proxy for as long as a block runs."""
    proxy = Proxy(target, **options)  # type: ignore[arg-type]
    try:
        yield proxy
    finally:
        proxy.close()
