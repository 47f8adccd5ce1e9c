"""The wire: requests and replies of RESP2 as bytes, without any I/O.

What always holds: a reply is taken only when all of it is there; what isn't a reply, or is larger
than the bounds, raises ProtocolError, after which the connection is of no use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sessile import native
from sessile.errors import SessionUnavailable

__all__ = ["MORE", "ProtocolError", "Refused", "Replies", "pack"]

BULK_MAX = 512 * 1024 * 1024
ITEMS_MAX = 1024 * 1024
DEPTH_MAX = 8
LINE_MAX = 64 * 1024


_native = native.module


class ProtocolError(SessionUnavailable):
    """What came isn't a reply."""


class Refused:
    """An error that the server answered."""

    __slots__ = ("code", "text")

    def __init__(self, line: bytes) -> None:
        self.text = line.decode("utf-8", "replace")
        self.code = self.text.partition(" ")[0]

    def __repr__(self) -> str:
        return f"Refused({self.text!r})"


class _More:
    __slots__ = ()


MORE = _More()
"""No reply yet: there are bytes missing."""


def pack(parts: Sequence[bytes]) -> bytes:
    """A request."""
    out = [b"*%d\r\n" % len(parts)]
    out += [b"$%d\r\n%b\r\n" % (len(part), part) for part in parts]
    return b"".join(out)


class Replies:
    """Takes bytes in as they come, and gives replies out."""

    __slots__ = ("_data", "_needed")
    status: Callable[[bytes], Any] = staticmethod(bytes.decode)
    """What a status is given out as."""
    error: Callable[[bytes], Any] = Refused
    """What an error is given out as."""

    def __init__(self) -> None:
        self._data = b""
        self._needed = 0

    def feed(self, data: bytes) -> None:
        """Takes in what came. At least one byte."""
        self._data = self._data + data if self._data else data

    def take(self) -> Any:
        """The next reply: bytes, int, None, a list of these, str for a status, or Refused.

        MORE if it isn't all there. Raises ProtocolError.
        """
        data = self._data
        if len(data) < self._needed or not data:
            return MORE
        if _native is not None and (found := _native.reply(data)) is not None:
            reply, end = found
            self._data, self._needed = data[end:], 0
            return reply
        try:
            reply, end = self._read(data, 0, 0)
        except IndexError:
            if len(data) - self._needed > BULK_MAX:
                raise ProtocolError("the server's reply is too large") from None
            return MORE
        except ValueError:
            raise ProtocolError("the server answers something else than RESP") from None
        self._data, self._needed = data[end:], 0
        return reply

    @property
    def is_empty(self) -> bool:
        """Whether all that came was taken."""
        return not self._data

    def _read(self, data: bytes, at: int, depth: int) -> tuple[Any, int]:
        """A reply and where it ends. IndexError if it isn't all there."""
        end = data.find(b"\r\n", at)
        if end < 0:
            if len(data) - at > LINE_MAX:
                raise ValueError("a line without end")
            raise IndexError
        kind, start = data[at], end + 2
        if kind == 36:  # $
            length = int(data[at + 1 : end])
            if length < 0:
                return None, start
            if length > BULK_MAX:
                raise ValueError("too long")
            after = start + length
            if after + 2 > len(data):
                self._needed = after + 2
                raise IndexError
            return data[start:after], after + 2
        if kind == 58:  # :
            return int(data[at + 1 : end]), start
        if kind == 42:  # *
            count = int(data[at + 1 : end])
            if count < 0:
                return None, start
            if count > ITEMS_MAX or depth >= DEPTH_MAX:
                raise ValueError("too many")
            items = []
            for _ in range(count):
                item, start = self._read(data, start, depth + 1)
                items.append(item)
            return items, start
        if kind == 43:  # +
            return self.status(data[at + 1 : end]), start
        if kind == 45:  # -
            return self.error(data[at + 1 : end]), start
        raise ValueError("no reply begins so")
