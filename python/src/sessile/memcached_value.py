"""What a session is in memcached: one value that holds all of it.

    "S" version kind ...     one byte each; the kinds are those of `sessile.rules.Entry`
    record                   HEAD, then user, tokens, lengths of names and values, names and values
    tombstone                the moment when it may be forgotten, and the mark of who wrote it
    alias                    that moment, then lengths of target and user, target and user

Numbers are little-endian, moments Unix milliseconds. What always holds: `unpack(pack(x)) == x`;
what isn't such a value, or is cut short, or was written by a newer version, raises SessileError
and is never taken for something else.
"""

from __future__ import annotations

import struct

from sessile.errors import SessileError
from sessile.rules import Alias, Entry, Record, Tombstone

__all__ = ["mark_of", "pack", "unpack"]

RECORD, TOMBSTONE, ALIAS = b"S\x01R", b"S\x01T", b"S\x01A"
HEAD = struct.Struct("<6qHHI")
"""Version, created, base, seen, idle, absolute; bytes of the user, tokens, fields."""
TOKEN = struct.Struct("<Hqq")
MOMENT = struct.Struct("<q")
ENDS = struct.Struct("<qII")


def pack(entry: Entry, mark: bytes = b"") -> bytes:
    """The value that holds an entry; `mark` makes it differ from what another request writes."""
    if isinstance(entry, Tombstone):
        return TOMBSTONE + MOMENT.pack(entry.until) + mark
    if isinstance(entry, Alias):
        user = entry.user.encode()
        return b"".join(
            (ALIAS, ENDS.pack(entry.until, len(entry.target), len(user)), entry.target, user)
        )
    user = entry.user.encode()
    head = HEAD.pack(
        entry.version,
        entry.created,
        entry.base,
        entry.seen,
        entry.idle,
        entry.absolute,
        len(user),
        len(entry.tokens),
        len(entry.fields),
    )
    parts = [RECORD, head, user]
    for token, version, until in entry.tokens:
        parts += (TOKEN.pack(len(token), version, until), token)
    texts = [text for pair in entry.fields.items() for text in pair]
    parts.append(struct.pack(f"<{len(texts)}I", *map(len, texts)))
    return b"".join(parts + texts)


def unpack(data: bytes) -> Entry:
    """The entry in a value; raises SessileError."""
    kind = data[:3]
    try:
        if kind == RECORD:
            return record(data)
        if kind == TOMBSTONE:
            return Tombstone(*MOMENT.unpack_from(data, 3))
        if kind == ALIAS:
            until, target, user = ENDS.unpack_from(data, 3)
            start = 3 + ENDS.size
            exactly(data, start + target + user)
            name = data[start + target :].decode()
            return Alias(data[start : start + target], name, until)
    except (struct.error, UnicodeDecodeError):
        pass
    raise SessileError(
        "memcached holds something under this key that no session is, "
        "or one that a newer version of this package wrote"
    )


def mark_of(data: bytes) -> bytes:
    """Who wrote a tombstone; empty for all else."""
    return data[3 + MOMENT.size :] if data[:3] == TOMBSTONE else b""


def record(data: bytes) -> Record:
    version, created, base, seen, idle, absolute, user, tokens, count = HEAD.unpack_from(data, 3)
    at = 3 + HEAD.size + user
    name = data[at - user : at].decode()
    answers = []
    for _ in range(tokens):
        length, answer, until = TOKEN.unpack_from(data, at)
        at += TOKEN.size + length
        answers.append((data[at - length : at], answer, until))
    lengths = struct.unpack_from(f"<{2 * count}I", data, at)
    at += 8 * count
    texts = []
    for length in lengths:
        texts.append(data[at : at + length])
        at += length
    exactly(data, at)
    fields = dict(zip(texts[::2], texts[1::2], strict=True))
    return Record(fields, version, created, base, seen, name, idle, absolute, tuple(answers))


def exactly(data: bytes, length: int) -> None:
    if len(data) != length:
        raise struct.error("cut short")
