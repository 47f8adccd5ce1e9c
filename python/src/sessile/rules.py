"""What each operation on sessions means, once, over a small view of a store.

A `View` is whatever can get, put and drop one entry by key and name a user's keys, inside one
transaction; a function here reads and writes it and returns the answer that `sessile.contract`
promises. `sessile.memory` runs them over a dict, `sessile.file` over sqlite, `sessile.redis_watch`
over keys that Redis watches. What always holds: no function looks at a clock or does I/O, `now`
is Unix milliseconds, an entry whose time has come is never seen, and an operation that raises has
written nothing.

The scripts for Redis and the server are other implementations of the same rules; the contract
tests and a random comparison hold all of them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sessile.contract import ROTATED, Changes, Life, Listed, Loaded, Rotated
from sessile.errors import SessionConflict
from sessile.merge import merge

__all__ = ["TOKEN_MS", "TOMBSTONE_MS", "Alias", "Entry", "Record", "Tombstone", "View", "deadline"]

TOMBSTONE_MS = 60_000
"""How long a key answers ROTATED after its session got another one."""
TOKEN_MS = 60_000
"""How long a repeat of a request is recognised."""
TOKENS_MAX = 16
"""How many answers a session remembers; the oldest go first."""
HOPS_MAX = 4
"""How many aliases are followed: one more rotation within the grace of the last each."""


@dataclass(frozen=True, slots=True)
class Record:
    """One session. Moments are Unix milliseconds, 0 means none."""

    fields: Mapping[bytes, bytes]
    version: int
    created: int
    """When it was created, or when its user signed in."""
    base: int
    """The moment that `Life.maximum` counts from: creation or rotation."""
    seen: int
    """When it last slid."""
    user: str = ""
    idle: int = 0
    """Milliseconds without use after which it ends."""
    absolute: int = 0
    """The moment at which it ends in any case."""
    tokens: tuple[tuple[bytes, int, int], ...] = ()
    """Requests already answered: token, version answered, moment when it may be forgotten."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The old key of a rotated session: answers ROTATED, and is absent for all else."""

    until: int


@dataclass(frozen=True, slots=True)
class Alias:
    """The old key of a session rotated within one user: stands for the new one for a while."""

    target: bytes
    user: str
    """Whose the session was then; once it's somebody else's, the alias is a tombstone."""
    until: int


Entry = Record | Tombstone | Alias


def deadline(entry: Entry) -> int | None:
    """The moment at which an entry is gone, in Unix milliseconds; `None` if it stays."""
    if not isinstance(entry, Record):
        return entry.until
    ends = [entry.seen + entry.idle] if entry.idle else []
    return min(ends + ([entry.absolute] if entry.absolute else []), default=None)


class View(Protocol):
    """A store inside one transaction at one moment. Entries that are due aren't there."""

    now: int

    def get(self, key: bytes) -> Entry | None: ...

    def put(self, key: bytes, entry: Entry) -> None: ...

    def drop(self, key: bytes) -> None: ...

    def keys_of(self, user: str) -> Iterable[bytes]: ...

    def next_version(self, last: int) -> int:
        """A version that no session ever had, larger than `last`."""


def create(
    view: View,
    key: bytes,
    fields: Mapping[bytes, bytes],
    life: Life,
    user: str | None = None,
    limit: int | None = None,
    token: bytes | None = None,
) -> int | None:
    """`Engine.create`."""
    there = view.get(key)
    if there is not None:
        return answered(there, token, view.now)
    now = view.now
    blank = Record(fields=dict(fields), version=0, created=now, base=now, seen=now)
    record = advance(view, timed(replace(blank, user=user or ""), life), token)
    make_room(view, record.user, limit)
    view.put(key, record)
    return record.version


def load(view: View, key: bytes, slide: bool = False) -> Loaded | Rotated | None:
    """`Engine.load`."""
    key, entry = resolve(view, key)
    if isinstance(entry, Tombstone):
        return ROTATED
    if entry is None:
        return None
    if slide and entry.idle:
        entry = replace(entry, seen=view.now)
        view.put(key, entry)
    ends = deadline(entry)
    return Loaded(
        version=entry.version,
        fields=entry.fields,
        user=entry.user,
        idle_left=ends - view.now if entry.idle and ends is not None else None,
        absolute_left=entry.absolute - view.now if entry.absolute else None,
    )


def save(
    view: View,
    key: bytes,
    changes: Changes,
    life: Life,
    expected: int | None = None,
    user: str | None = None,
    token: bytes | None = None,
) -> int | None:
    """`Engine.save`."""
    key, entry = resolve(view, key)
    if not isinstance(entry, Record):
        return None
    if (answer := answered(entry, token, view.now)) is not None:
        return answer
    record = patched(entry, changes, life, expected, user, view.now)
    if changes or record.user != entry.user:
        record = advance(view, record, token)
    view.put(key, record)
    return record.version


def rotate(
    view: View,
    key: bytes,
    new_key: bytes,
    changes: Changes,
    life: Life,
    expected: int | None = None,
    user: str | None = None,
    limit: int | None = None,
    grace: int = 0,
    hard: bool = False,
    fallback: Mapping[bytes, bytes] | None = None,
    token: bytes | None = None,
) -> int | None:
    """`Engine.rotate`; `fallback` is what is called `create` there."""
    taken = view.get(new_key)
    if taken is not None:
        return answered(taken, token, view.now)
    old = view.get(key)
    if isinstance(old, Alias) and isinstance(resolve(view, key)[1], Record):
        return None  # an id that was replaced may be used up, not renewed
    if not isinstance(old, Record):
        if fallback is None:
            return None
        return create(view, new_key, fallback, life, user, limit, token)
    moved = replace(old, base=view.now)
    if user and user != old.user:
        moved = replace(moved, created=view.now)
    record = advance(view, patched(moved, changes, life, expected, user, view.now), token)
    if hard or grace <= 0 or (user is not None and (user or old.user)):
        view.put(key, Tombstone(view.now + TOMBSTONE_MS))
    else:
        view.put(key, Alias(new_key, record.user, view.now + grace * 1000))
    make_room(view, record.user, limit)
    view.put(new_key, record)
    return record.version


def end(view: View, keys: Sequence[bytes]) -> int:
    """`Engine.end`."""
    count = 0
    for key in keys:
        target, entry = resolve(view, key)
        if isinstance(entry, Record):
            view.drop(target)
            count += 1
        if target != key:
            view.drop(key)
    return count


def touch(view: View, key: bytes) -> bool:
    """`Engine.touch`."""
    key, entry = resolve(view, key)
    if not isinstance(entry, Record):
        return False
    view.put(key, replace(entry, seen=view.now))
    return True


def exists(view: View, key: bytes) -> bool:
    """`Engine.exists`."""
    return isinstance(resolve(view, key)[1], Record)


def sessions_of(view: View, user: str, names: Sequence[bytes] = ()) -> list[Listed]:
    """`Engine.sessions_of`."""
    listed = [
        Listed(
            key=key,
            created=record.created,
            last_seen=record.seen,
            fields={name: record.fields[name] for name in names if name in record.fields},
        )
        for key, record in records_of(view, user)
    ]
    listed.reverse()
    return listed


def end_all(view: View, user: str, keep: bytes | None = None) -> int:
    """`Engine.end_all`."""
    kept = resolve(view, keep)[0] if keep is not None else None
    doomed = [key for key, _ in records_of(view, user) if key != kept]
    for key in doomed:
        view.drop(key)
    return len(doomed)


def resolve(view: View, key: bytes) -> tuple[bytes, Record | Tombstone | None]:
    """The key and entry that a key stands for, through aliases."""
    entry = view.get(key)
    for _ in range(HOPS_MAX):
        if not isinstance(entry, Alias):
            return key, entry
        owner, key = entry.user, entry.target
        entry = view.get(key)
        if isinstance(entry, Record) and entry.user != owner:
            return key, Tombstone(0)
    return key, None if isinstance(entry, Alias) else entry


def patched(
    record: Record,
    changes: Changes,
    life: Life,
    expected: int | None,
    user: str | None,
    now: int,
) -> Record:
    """The record merged, timed and slid, its version still the old one."""
    if expected is not None and expected != record.version:
        raise SessionConflict("the session was changed in the meantime")
    fields = merge(record.fields, changes) if changes else record.fields
    owner = record.user if user is None else user
    return timed(replace(record, fields=fields, user=owner, seen=now), life)


def timed(record: Record, life: Life) -> Record:
    """The record with the limits that `life` changes."""
    if life.idle is not None:
        record = replace(record, idle=life.idle * 1000)
    if life.expires_at is not None:
        record = replace(record, absolute=life.expires_at)
    elif life.maximum is not None:
        ends = record.base + life.maximum * 1000 if life.maximum else 0
        record = replace(record, absolute=ends)
    return record


def advance(view: View, record: Record, token: bytes | None) -> Record:
    """The record with its next version, which a repeat of this request will be answered with."""
    version = view.next_version(record.version)
    tokens = tuple(row for row in record.tokens if row[2] > view.now)
    if token is not None:
        tokens = (*tokens, (token, version, view.now + TOKEN_MS))[-TOKENS_MAX:]
    return replace(record, version=version, tokens=tokens)


def answered(entry: Entry, token: bytes | None, now: int) -> int | None:
    """What this request was answered when it came for the first time."""
    if token is None or not isinstance(entry, Record):
        return None
    return next((row[1] for row in entry.tokens if row[0] == token and row[2] > now), None)


def make_room(view: View, user: str, limit: int | None) -> None:
    """Ends the user's oldest sessions, so that with one more there are `limit`."""
    if not user or limit is None:
        return
    there = records_of(view, user)
    for key, _ in there[: max(0, len(there) - max(limit, 1) + 1)]:
        view.drop(key)


def records_of(view: View, user: str) -> list[tuple[bytes, Record]]:
    """The user's live sessions, oldest first."""
    if not user:
        return []
    found = [(key, view.get(key)) for key in view.keys_of(user)]
    records = [(k, e) for k, e in found if isinstance(e, Record) and e.user == user]
    return sorted(records, key=lambda row: (row[1].created, row[1].version))
