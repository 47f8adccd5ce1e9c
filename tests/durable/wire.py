"""RESP2 as the crash tests speak it: many connections, one thread, and every reply accounted for.

`Wire` is one connection that never blocks; `ask` is a conversation that waits. redis-py would do,
but a client that knows exactly which replies it has read, and keeps a core free for the server, is
simpler to have than to find.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

CHUNK = 1 << 16


class ReplyError(str):
    """An error that the server answered."""


def encode(*words: object) -> bytes:
    """A command."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def parse(buffer: bytes | bytearray, at: int = 0) -> tuple[object, int] | None:
    """A reply and where it ends; None if it isn't all there."""
    end = buffer.find(b"\r\n", at)
    if end < 0:
        return None
    kind, text, at = buffer[at], bytes(buffer[at + 1 : end]), end + 2
    if kind in b"+-:":
        if kind == ord("-"):
            return ReplyError(text.decode()), at
        return (int(text) if kind == ord(":") else text.decode()), at
    size = int(text)
    if size < 0:
        return None, at
    if kind == ord("$"):
        if len(buffer) < at + size + 2:
            return None
        return bytes(buffer[at : at + size]), at + size + 2
    found: list[object] = []
    for _ in range(size):
        one = parse(buffer, at)
        if one is None:
            return None
        found.append(one[0])
        at = one[1]
    return found, at


Parse = Callable[[bytes | bytearray, int], "tuple[object, int] | None"]


class Wire:
    """A connection whose replies are taken when they come, by whoever parses its protocol."""

    def __init__(self, port: int, parse: Parse = parse) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.ends = (port, self.socket.getsockname()[1])
        self.parse = parse
        self.is_open = True
        self._in = bytearray()
        self._out = b""

    def send(self, data: bytes) -> None:
        """Sends as much as there is room for; the rest with the next call."""
        self._out += data
        try:
            while self._out:
                self._out = self._out[self.socket.send(self._out) :]
        except BlockingIOError:
            pass
        except OSError:
            self.is_open = False

    def replies(self) -> list[object]:
        """What has come, as far as it's whole."""
        while self.is_open:
            try:
                data = self.socket.recv(CHUNK)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            self._in += data
            self.is_open = bool(data)
        if self._out:
            self.send(b"")
        found: list[object] = []
        at = 0
        while (one := self.parse(self._in, at)) is not None:
            found.append(one[0])
            at = one[1]
        del self._in[:at]
        return found

    def close(self) -> None:
        self.is_open = False
        self.socket.close()


class Talk:
    """A conversation that waits for its answers, in batches."""

    def __init__(self, port: int, parse: Parse = parse) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.parse = parse
        self.buffer = bytearray()

    def ask(self, *words: object) -> object:
        """One answer."""
        return self.ask_all([words])[0]

    def ask_all(self, commands: list[tuple[object, ...]], batch: int = 1000) -> list[object]:
        """An answer for each."""
        return self.ask_raw([encode(*words) for words in commands], batch)

    def ask_raw(self, requests: list[bytes], batch: int = 1000) -> list[object]:
        """An answer for each of what stands as it's sent."""
        found: list[object] = []
        for start in range(0, len(requests), batch):
            some = requests[start : start + batch]
            self.socket.sendall(b"".join(some))
            found += self._read(len(some))
        return found

    def _read(self, count: int) -> list[object]:
        found: list[object] = []
        at = 0
        while len(found) < count:
            one = self.parse(self.buffer, at)
            if one is not None:
                found.append(one[0])
                at = one[1]
                continue
            data = self.socket.recv(CHUNK * 4)
            if not data:
                raise ConnectionError("the server closed the connection")
            self.buffer += data
        del self.buffer[:at]
        return found

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()
