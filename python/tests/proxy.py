"""A TCP proxy that counts the commands that go through it, for `redis://` and `sessile://`.

What always holds: commands that set a connection up (SETUP) are not counted, everything else is,
in the order in which it was sent; `refuse` makes the store unreachable without stopping it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SETUP = {"HELLO", "AUTH", "SELECT", "CLIENT", "INFO", "TIME", "SCRIPT"}


class Proxy:
    """Stands on `port`, in front of a store on `target`."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.commands: list[str] = []
        self.bytes_sent = 0
        self.refuse = False
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
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
            store = socket.create_connection(("127.0.0.1", self.target))
            self._open |= {client, store}
            threading.Thread(target=self._upwards, args=(client, store), daemon=True).start()
            threading.Thread(target=self._pump, args=(store, client), daemon=True).start()

    def _upwards(self, client: socket.socket, store: socket.socket) -> None:
        parser = Parser()
        self._pump(client, store, parser)

    def _pump(
        self, source: socket.socket, sink: socket.socket, parser: Parser | None = None
    ) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if parser is not None:
                    self.bytes_sent += len(data)
                    self.commands += [name for name in parser.feed(data) if name not in SETUP]
                sink.sendall(data)
        for one in (source, sink):
            self._open.discard(one)
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


class Parser:
    """Finds the names of commands in what a client sends: arrays of bulk strings."""

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


@contextmanager
def counting(target: int) -> Iterator[Proxy]:
    """A proxy for as long as a block runs."""
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
