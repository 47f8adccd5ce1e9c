"""The SESSION commands: each operation as one request, and what its reply means.

What always holds: a request that may be sent twice changes nothing the second time: reads and
plain patches by their nature, the others because they carry a token.
Source: docs/sessions.md of the server.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sessile.contract import ROTATED, Changes, Life, Listed, Loaded, Rotated
from sessile.errors import (
    ConfigurationError,
    DocumentError,
    SessileError,
    SessionConflict,
    SessionUnavailable,
)
from sessile.wire import Refused, pack, paired

__all__ = ["Plans", "Request", "new_token"]

TOKEN_BYTES = 12
SLIDE = b"*2\r\n$12\r\nSESSION.LOAD\r\n$%d\r\n%b\r\n"
"""The request that every request of an app makes, packed but for the key."""
PEEK = b"*3\r\n$12\r\nSESSION.LOAD\r\n$%d\r\n%b\r\n$4\r\nPEEK\r\n"
BUSY = frozenset({"LOADING", "MISCONF", "OOM", "BUSY", "MASTERDOWN", "READONLY", "TRYAGAIN"})
LOGIN = frozenset({"NOAUTH", "WRONGPASS", "NOPERM", "DENIED"})


class Request(NamedTuple):
    """What to send, and what its reply says."""

    data: bytes
    read: Callable[[Any], Any]


class Plans:
    """A request for each operation."""

    def create(
        self,
        key: bytes,
        fields: Mapping[bytes, bytes],
        life: Life,
        user: str | None,
        limit: int | None,
        token: bytes | None,
    ) -> Request:
        parts = [b"SESSION.CREATE", key]
        lives(parts, life)
        owner(parts, user, limit)
        pairs(parts, b"SET", fields)
        parts += (b"REQ", token or new_token())
        return Request(pack(parts), plain)

    def load(self, key: bytes, slide: bool) -> Request:
        return Request((SLIDE if slide else PEEK) % (len(key), key), loaded)

    def save(
        self,
        key: bytes,
        changes: Changes,
        life: Life,
        expected: int | None,
        user: str | None,
        token: bytes | None,
    ) -> Request:
        parts = [b"SESSION.SAVE", key]
        patch(parts, changes, life, expected)
        owner(parts, user, None)
        if token or expected is not None or changes.increment or changes.push:
            parts += (b"REQ", token or new_token())
        return Request(pack(parts), plain)

    def rotate(
        self,
        key: bytes,
        new_key: bytes,
        changes: Changes,
        life: Life,
        expected: int | None,
        user: str | None,
        limit: int | None,
        grace: int,
        hard: bool,
        create: Mapping[bytes, bytes] | None,
        token: bytes | None,
    ) -> Request:
        parts = [b"SESSION.ROTATE", key, new_key]
        if grace:
            parts += (b"GRACE", b"%d" % grace)
        if hard:
            parts.append(b"HARD")
        if create is not None:
            parts += (b"ELSE", b"CREATE")
            parts.append(b"%d" % len(create))
            parts += [part for pair in create.items() for part in pair]
        patch(parts, changes, life, expected)
        owner(parts, user, limit)
        parts += (b"REQ", token or new_token())
        return Request(pack(parts), rotated)

    def end(self, keys: Sequence[bytes], held: Any) -> Request:
        return Request(pack([b"SESSION.END", *keys]), plain)

    def touch(self, key: bytes) -> Request:
        return Request(pack([b"SESSION.TOUCH", key]), truth)

    def sessions_of(self, user: str, names: Sequence[bytes]) -> Request:
        parts = [b"SESSION.LIST", user.encode()]
        if names:
            parts += (b"FIELDS", b"%d" % len(names), *names)
        return Request(pack(parts), listed)

    def end_all(self, user: str, keep: bytes | None) -> Request:
        parts = [b"SESSION.ENDALL", user.encode()]
        if keep is not None:
            parts += (b"EXCEPT", keep)
        return Request(pack(parts), plain)

    def exists(self, key: bytes) -> Request:
        # EXISTS knows no keys that stand for another one.
        return Request(PEEK % (len(key), key), lives_there)

    def ping(self) -> Request:
        return Request(pack([b"PING"]), plain)


def new_token() -> bytes:
    """What makes a request known again when it is repeated."""
    return os.urandom(TOKEN_BYTES)


def lives(parts: list[bytes], life: Life) -> None:
    if life.idle is not None:
        parts += (b"IDLE", b"%d" % life.idle)
    if life.expires_at is not None:
        parts += (b"EXAT", b"%d" % life.expires_at)
    elif life.maximum is not None:
        parts += (b"MAX", b"%d" % life.maximum)


def owner(parts: list[bytes], user: str | None, limit: int | None) -> None:
    if user is not None:
        parts += (b"USER", user.encode())
    if limit is not None:
        parts += (b"LIMIT", b"%d" % limit)


def pairs(parts: list[bytes], word: bytes, fields: Mapping[bytes, bytes]) -> None:
    if fields:
        parts += (word, b"%d" % len(fields))
        for pair in fields.items():
            parts += pair


def names(parts: list[bytes], word: bytes, those: Sequence[bytes]) -> None:
    if those:
        parts += (word, b"%d" % len(those), *those)


def patch(parts: list[bytes], changes: Changes, life: Life, expected: int | None) -> None:
    if expected is not None:
        parts += (b"IF", b"%d" % expected)
    lives(parts, life)
    names(parts, b"DELTREE", changes.delete_trees)
    names(parts, b"DEL", changes.delete)
    pairs(parts, b"SET", changes.set)
    pairs(parts, b"INIT", changes.init)
    if changes.increment:
        parts += (b"INCR", b"%d" % len(changes.increment))
        for name, by in changes.increment.items():
            parts += (name, repr(by).encode())
    for push in changes.push:
        parts += (b"PUSH", push.name, push.value)
        if push.trim is not None:
            parts += (b"TRIM", b"%d" % push.trim)


def plain(reply: Any) -> Any:
    if type(reply) is Refused:
        raise refusal(reply)
    return reply


def rotated(reply: Any) -> Any:
    # A session that lives under the new key is left alone; nothing was rotated.
    taken = type(reply) is Refused and "target session exists" in reply.text
    return None if taken else plain(reply)


def truth(reply: Any) -> bool:
    return bool(plain(reply))


def loaded(reply: Any) -> Loaded | Rotated | None:
    if type(reply) is list:
        version, idle, absolute, user, flat = reply
        return Loaded(version, paired(flat), user.decode(), idle, absolute)
    if plain(reply) is None:
        return None
    return ROTATED


def lives_there(reply: Any) -> bool:
    return type(loaded(reply)) is Loaded


def listed(reply: Any) -> list[Listed]:
    found = []
    for key, created, seen, flat in plain(reply):
        found.append(Listed(key, created, seen, paired(flat)))
    return found


def refusal(refused: Refused) -> Exception:
    """What an error of the server means to whoever asked."""
    code, text = refused.code, refused.text
    if code == "CONFLICT":
        return SessionConflict("the session was changed in the meantime")
    if code in BUSY:
        return SessionUnavailable(f"the store can't do this now: {text}")
    if code in LOGIN:
        return ConfigurationError(f"the store doesn't let us in: {text}")
    if "unknown command" in text:
        return ConfigurationError("the server has no SESSION commands: it isn't Sessile")
    if "field is not" in text or "number" in text or "JSON" in text:
        return DocumentError(text)
    return SessileError(text)
