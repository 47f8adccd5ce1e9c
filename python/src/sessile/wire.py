"""The wire: requests and replies of RESP2 as bytes, without any I/O.

What always holds: a reply is taken only when all of it is there; what isn't a reply, or is larger
than the bounds, raises ProtocolError, after which the connection is of no use. (`paired` judges
what a whole reply says; the connection stays as good as it was.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sessile import native
from sessile.errors import SessionUnavailable

__all__ = ["MORE", "ProtocolError", "Refused", "Replies", "pack", "paired"]

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


def paired(flat: Any) -> dict[bytes, bytes]:
    """What a reply of names and values says, by name. Raises ProtocolError."""
    found: dict[bytes, bytes] | None = None if _native is None else _native.paired(flat)
    if found is not None:
        return found
    try:
        return dict(zip(flat[::2], flat[1::2], strict=True))
    except (TypeError, ValueError):
        raise ProtocolError("the server answers something else than names and values") from None


class Replies:
    """Takes bytes in as they come, and gives replies out. No byte is looked at more than a few
    times, in however many pieces a reply comes."""

    __slots__ = ("_data", "_later", "_needed", "_open", "_passed", "_size")
    status: Callable[[bytes], Any] = staticmethod(bytes.decode)
    """What a status is given out as."""
    error: Callable[[bytes], Any] = Refused
    """What an error is given out as."""

    def __init__(self) -> None:
        self._data = b""
        self._later: list[bytes] = []
        """What came behind `_data`."""
        self._size = 0
        """Bytes of both."""
        self._needed = 0
        self._open: list[tuple[list[Any], int]] = []
        """The lists of which items are still missing, each within that before it, and how many
        items they have when whole."""
        self._passed = 0
        """Bytes of the reply that were taken into these lists."""

    def feed(self, data: bytes) -> None:
        """Takes in what came. At least one byte."""
        if self._data:
            self._later.append(data)
        else:
            self._data = data
        self._size += len(data)

    def take(self) -> Any:
        """The next reply: bytes, int, None, a list of these, str for a status, or Refused.

        MORE if it isn't all there. Raises ProtocolError.
        """
        if self._size < self._needed or not self._size:
            return MORE
        data = self._data
        if self._later:
            data = b"".join((data, *self._later))
            self._later.clear()
        if _native is not None and not self._open and (found := _native.reply(data)) is not None:
            reply, end = found
        else:
            try:
                reply, end = self._read(data)
            except ValueError:
                raise ProtocolError("the server answers something else than RESP") from None
        self._data = data = data[end:]
        self._size = len(data)
        if reply is not MORE:
            self._needed = self._passed = 0
            return reply
        self._passed += end
        if self._passed + len(data) - self._needed > BULK_MAX:
            raise ProtocolError("the server's reply is too large")
        return MORE

    @property
    def is_empty(self) -> bool:
        """Whether all that came was taken."""
        return not self._size and not self._open

    def _read(self, data: bytes) -> tuple[Any, int]:
        """Goes on with a reply, and says up to where: all of it, or MORE, and then what is there is
        in `_open`."""
        lists, at = self._open, 0
        self._needed = 0
        while True:
            end = data.find(b"\r\n", at)
            if end < 0:
                if len(data) - at > LINE_MAX:
                    raise ValueError("a line without end")
                return MORE, at
            kind, start = data[at], end + 2
            item: Any = None
            if kind == 36:  # $
                length = int(data[at + 1 : end])
                if length > BULK_MAX:
                    raise ValueError("too long")
                if length >= 0:
                    after = start + length
                    if after + 2 > len(data):
                        self._needed = after + 2 - at
                        return MORE, at
                    item, start = data[start:after], after + 2
            elif kind == 58:  # :
                item = int(data[at + 1 : end])
            elif kind == 42:  # *
                count = int(data[at + 1 : end])
                if count > ITEMS_MAX or (count >= 0 and len(lists) >= DEPTH_MAX):
                    raise ValueError("too many")
                if count > 0:
                    lists.append(([], count))
                    at = start
                    continue
                if count == 0:
                    item = []
            elif kind == 43:  # +
                item = self.status(data[at + 1 : end])
            elif kind == 45:  # -
                item = self.error(data[at + 1 : end])
            else:
                raise ValueError("no reply begins so")
            at = start
            while lists:
                items, count = lists[-1]
                items.append(item)
                if len(items) < count:
                    break
                item = items
                lists.pop()
            else:
                return item, at
