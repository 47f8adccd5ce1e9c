"""memcached's meta protocol as bytes, without any I/O: requests, and replies cut out of a stream.

What always holds: a reply is taken only when all of it is there; what isn't a reply, or is larger
than the bounds, raises ProtocolError, after which the connection is of no use; a key of any bytes
and length has a name that memcached takes.
Source: doc/protocol.txt of memcached 1.6.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, NamedTuple

from sessile.wire import MORE, ProtocolError

__all__ = ["Answer", "Answers", "name_of"]

LINE_MAX = 4096
VALUE_MAX = 128 * 1024 * 1024
NAME = re.compile(rb"[!-~]{1,250}")


class Answer(NamedTuple):
    """One reply."""

    code: bytes
    """`VA HD EN NF NS EX MN`, `STORED`, or one of the three words for an error."""
    value: bytes = b""
    """What was asked for; of an error, what it says."""
    cas: bytes = b""
    """The version that memcached gave the item."""


class Answers:
    """Takes bytes in as they come, and gives replies out."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> None:
        """Takes in what came. At least one byte."""
        self._data = self._data + data if self._data else data

    @property
    def is_empty(self) -> bool:
        """Whether all that came was taken."""
        return not self._data

    def take(self) -> Any:
        """The next reply, MORE if it isn't all there. Raises ProtocolError."""
        data = self._data
        end = data.find(b"\r\n")
        if end < 0:
            if len(data) > LINE_MAX:
                raise ProtocolError("the server answers something else than memcached does")
            return MORE
        code, *rest = data[:end].split(b" ")
        end += 2
        value = b""
        if code == b"VA":
            start, end = end, end + size(rest) + 2
            if end > len(data):
                return MORE
            value = data[start : end - 2]
        elif code in ERRORS:
            value = b" ".join(rest)
        elif code not in CODES:
            raise ProtocolError("the server answers something else than memcached does")
        self._data = data[end:]
        cas = next((flag[1:] for flag in rest if flag[:1] == b"c"), b"")
        return Answer(code, value, cas)


ERRORS = frozenset({b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR"})
CODES = frozenset({b"HD", b"EN", b"NF", b"NS", b"EX", b"MN", b"STORED"})


def size(words: list[bytes]) -> int:
    """The length that the first word says."""
    if not words or not words[0].isdigit() or int(words[0]) > VALUE_MAX:
        raise ProtocolError("the server's reply is too large, or none")
    return int(words[0])


def name_of(key: bytes) -> bytes:
    """The key as memcached takes it: itself where it can be, else its hash."""
    if NAME.fullmatch(key) and not key.startswith(b"sha256="):
        return key
    return b"sha256=" + hashlib.sha256(key).hexdigest().encode()
