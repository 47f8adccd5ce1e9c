"""A TCP proxy that tests put between an engine and its server, to lose what they want lost."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

__all__ = ["Losing"]


class Losing:
    """Forwards connections to a port of this machine, until told otherwise."""

    def __init__(self, target: int, *, mark: bytes = b"EVAL") -> None:
        """Connections on which `mark` was sent are those whose replies can be lost."""
        self._target = target
        self._mark = mark
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._drops = 0
        self._spared = 0
        self._held = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def drop_replies(self, count: int, *, spare: int = 0) -> None:
        """Of the next so many replies to scripts, none arrives: its connection is closed.

        The first ones are spared.
        """
        with self._lock:
            self._drops, self._spared = count, spare

    def hold(self) -> None:
        """From now on no reply arrives, and no connection is closed."""
        self._held.set()

    def let_go(self) -> None:
        """No longer; what was held is lost with its connections."""
        self._held.clear()
        self._cut(*self._sockets)

    def __enter__(self) -> Losing:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._sockets += [client, server]
            scripts = threading.Event()
            self._start(self._requests, client, server, scripts)
            self._start(self._replies, client, server, scripts)

    def _requests(
        self, client: socket.socket, server: socket.socket, scripts: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self._mark in data:
                    scripts.set()
                server.sendall(data)
        self._cut(client, server)

    def _replies(
        self, client: socket.socket, server: socket.socket, scripts: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if self._held.is_set():
                    continue
                if scripts.is_set() and not data.startswith(b"-NOSCRIPT") and self._drop():
                    break
                client.sendall(data)
        self._cut(client, server)

    def _drop(self) -> bool:
        with self._lock:
            if self._spared > 0:
                self._spared -= 1
                return False
            dropped = self._drops > 0
            self._drops -= dropped
            return dropped

    def _cut(self, *both: socket.socket) -> None:
        for one in both:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
