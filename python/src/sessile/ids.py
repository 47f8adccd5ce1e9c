"""Ids: what a browser holds, and what the store knows instead.

A store never sees an id. It sees the handle, a hash of it, so that whoever reads the store can't
take over a session; and a handle is never a valid id, so it can't be sent as one. With keys the
hash is keyed: the first key makes handles, the others still find them.
What always holds: an id has at least 128 random bits from the operating system; whether something
could be an id is decided before anything is sent anywhere.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from sessile.errors import ConfigurationError

__all__ = [
    "DJANGO",
    "ROUTING_LENGTH",
    "URL_SAFE",
    "Shape",
    "handle",
    "handles",
    "mark_of",
    "name_of",
    "new_id",
    "route",
]

BITS_LEAST = 128
HANDLE_LENGTH = 64
"""A handle is SHA-256 in lower-case hexadecimal."""
ROUTING_LENGTH = 4
"""Characters of an id that choose the node of a cluster; rotation keeps them."""
_DOMAIN = b"sessile session handle 1"


@dataclass(frozen=True)
class Shape:
    """What ids look like."""

    alphabet: str
    length: int
    earlier: int = 0
    """Another length that ids had before, and which stay good; 0 for none."""

    def __post_init__(self) -> None:
        shortest = min(self.length, self.earlier or self.length)
        bits = (shortest - ROUTING_LENGTH) * math.log2(len(set(self.alphabet)) or 1)
        if bits < BITS_LEAST:
            raise ConfigurationError(f"ids of {shortest} characters can be guessed")
        if len(self.alphabet) > 256:
            raise ConfigurationError("an alphabet of ids has 256 letters at most: one for a byte")
        if max(self.length, self.earlier) >= HANDLE_LENGTH:
            raise ConfigurationError(f"ids have less than {HANDLE_LENGTH} characters")

    def fits(self, text: object) -> bool:
        """Whether this could be an id."""
        return isinstance(text, str) and self._match(text) is not None

    @cached_property
    def _match(self) -> Callable[[str], re.Match[str] | None]:
        letters = f"[{re.escape(self.alphabet)}]"
        lengths = {self.length, self.earlier or self.length}
        return re.compile("|".join(f"{letters}{{{length}}}" for length in lengths)).fullmatch


DJANGO = Shape("abcdefghijklmnopqrstuvwxyz0123456789", 32)
"""Lower-case letters and digits, as Django's own."""
URL_SAFE = Shape("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", 43)
"""256 bits, for frameworks that leave the choice."""


def new_id(alphabet: str = DJANGO.alphabet, length: int = DJANGO.length, like: str = "") -> str:
    """A new id. `like` is one that it shall share its routing characters with."""
    start = route(like)
    return start + drawn(alphabet, length - len(start))


def drawn(alphabet: str, count: int) -> str:
    """Letters by the operating system's generator, each as likely as any other.

    Many bytes are drawn at once, and of these only such that favour no letter are taken: to ask
    the system for each letter costs ten times as much.
    """
    fair = 256 - 256 % len(alphabet)
    letters = ""
    while len(letters) < count:
        found = secrets.token_bytes(count + count // 4)
        letters += "".join([alphabet[byte % len(alphabet)] for byte in found if byte < fair])
    return letters[:count]


def route(id: str) -> str:
    """The characters of an id that choose its node."""
    return id[:ROUTING_LENGTH]


def handle(id: str, namespace: str, keys: Sequence[bytes | str] = ()) -> bytes:
    """What the store knows the session as: by the first key, or by none."""
    return handles(id, namespace, keys)[0]


def handles(id: str, namespace: str, keys: Sequence[bytes | str] = ()) -> list[bytes]:
    """All that it may be known as, the current one first."""
    if not keys:
        begun = _begun(namespace).copy()
        begun.update(id.encode())
        return [begun.hexdigest().encode()]
    return [_keyed(key, _opening(namespace) + id.encode()) for key in keys]


@lru_cache(maxsize=16)
def _begun(namespace: str) -> Any:
    """SHA-256 of all that stands before an id. It's everybody's: copy it before adding to it."""
    return hashlib.sha256(_opening(namespace))


def _opening(namespace: str) -> bytes:
    return b"\0".join([_DOMAIN, namespace.encode(), b""])


def _keyed(key: bytes | str, message: bytes) -> bytes:
    secret = key.encode() if isinstance(key, str) else key
    if len(secret) < 16:
        raise ConfigurationError("a key for ids has 16 bytes at least")
    return hmac.new(secret, message, hashlib.sha256).hexdigest().encode()


def name_of(key: bytes) -> str:
    """How a session is called in logs: the beginning of its handle."""
    return key.rpartition(b":")[2][-64:][:12].decode()


def mark_of(key: bytes) -> bytes:
    """How a handle ends, as a leaf: enough to tell it from another, too little to use it."""
    return b'"' + key[-8:] + b'"'
