"""A cluster of Redis or Valkey: where keys live, and indexes that live elsewhere than sessions.

Old and new key of a rotation share a hash tag, so a session stays on its shard, and each change
of it is one script there. A user's index is on the shard of its own name, so it takes commands
of its own: an entry is written before the session is the user's, and removed once its key is no
session any more. Of a session that only changed hands the user before keeps the entry, until
whoever reads that index finds it old: taken away at once, it might go after the session was given
back. What always holds: a crash in between, or changes of one session at the same moment, leave
an entry without session, never a session without entry; ENDALL repeats until in a pass no session
moved on, so that none that was there when it began escapes it by rotating; replicas are never
asked.
"""

from __future__ import annotations

import time
from binascii import crc_hqx
from collections.abc import Mapping, Sequence
from typing import Any

from sessile import redis_scripts as scripts
from sessile import redis_watch as watch
from sessile import rules
from sessile.contract import Changes, Life, Listed
from sessile.errors import SessionUnavailable
from sessile.redis_ask import Address, Ask, Command, Plan, Refused, failure
from sessile.redis_conduct import Breakers, Exchange, Failure, Steps
from sessile.redis_plan import (
    Plans,
    Reindex,
    ServerClock,
    Shape,
    Word,
    create_words,
    new_token,
    rotate_words,
    save_words,
    token_for,
    user_word,
    version_of,
)
from sessile.wire import paired

__all__ = ["Cluster", "ClusterPlans", "slot_of"]

SLOTS = 16384
TRIES = 8
PASSES_MAX = 32
"""How often ENDALL looks again, at most."""
YOUNG_MS = 60_000
"""How old an entry without session must be to be a left-over, and not one about to be made."""
Seen = tuple[bytes, int, int, int, list[Any]]


def slot_of(key: bytes) -> int:
    """The slot of a key: CRC-16 of its hash tag, or of all of it (cluster specification)."""
    start = key.find(b"{")
    end = key.find(b"}", start + 1)
    if start >= 0 and end > start + 1:
        key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS


class Cluster(Breakers):
    """The primaries of a cluster, as its nodes tell."""

    def __init__(self, seeds: Sequence[Address]) -> None:
        super().__init__()
        self._seeds = list(seeds)
        self._slots: list[Address | None] = [None] * SLOTS
        self._primaries: list[Address] = []
        self._suspects: set[Address] = set()

    def locate(self, key: bytes) -> Address | None:
        if not key:
            return self._primaries[0] if self._primaries else None
        address = self._slots[slot_of(key)]
        return None if address in self._suspects else address

    def discover(self, until: float) -> Steps[None]:
        known = [node for node in self._primaries if node not in self._suspects]
        reason = "no node is left to ask"
        nodes = dict.fromkeys(known + self._seeds + list(self._suspects))
        # Who failed last time comes last: one that is silent takes the time of all the others.
        for node in sorted(nodes, key=lambda one: self.breaker(one).failures):
            if self.breaker(node).open(time.monotonic()):
                continue
            outcome = yield Exchange(node, (("CLUSTER", "SLOTS"),), "", until)
            if isinstance(outcome, Failure):
                self.breaker(node).failed(time.monotonic())
                reason = outcome.reason
                continue
            self.breaker(node).worked()
            if isinstance(outcome[0], Refused):
                reason = outcome[0].text or outcome[0].code
                continue
            self._learn(node, outcome[0])
            return
        raise SessionUnavailable(f"no node of the cluster tells where keys live: {reason}")

    def lost(self, address: Address) -> None:
        self._suspects.add(address)

    def turned(self, ask: Ask, address: Address, refused: Refused) -> Ask | None:
        if refused.code in {"MOVED", "ASK"}:
            slot, _, target = refused.text.partition(" ")
            host, _, port = target.rpartition(":")
            node = (host or address[0], int(port))
            if refused.code == "ASK":
                return Ask(ask.commands, ask.key, ask.repeat, node, asking=True)
            self._slots[int(slot)] = node
            self._suspects.discard(node)
            return Ask(ask.commands, ask.key, ask.repeat)
        if refused.code in {"READONLY", "MASTERDOWN"}:
            self.lost(address)
            return ask
        return None

    def _learn(self, node: Address, ranges: list[Any]) -> None:
        slots: list[Address | None] = [None] * SLOTS
        primaries: dict[Address, None] = {}
        for first, last, primary, *_ in ranges:
            host = primary[0].decode() if primary[0] else node[0]
            address = (host, int(primary[1]))
            primaries[address] = None
            slots[first : last + 1] = [address] * (last - first + 1)
        self._slots, self._primaries = slots, list(primaries)
        # Who was lost may be back, or be the primary still: its breaker says when to ask.
        self._suspects.clear()


class ClusterPlans(Plans):
    """The plans for a cluster."""

    def __init__(self, shape: Shape, clock: ServerClock) -> None:
        super().__init__(shape, clock)
        self.within = b""

    def create(
        self,
        key: bytes,
        fields: Mapping[bytes, bytes],
        life: Life,
        user: str | None,
        limit: int | None,
        token: bytes | None,
    ) -> Plan[int | None]:
        once = token or new_token()
        if user:
            yield from self.join(user, key)
        words = create_words(self.within, fields, life, user, limit, once)
        reply = yield from self.script(scripts.CREATE, [key], words, None)
        if user and reply is not None and limit is not None:
            yield from self.trim(user, limit, None)
        return version_of(reply)

    def save(
        self,
        key: bytes,
        changes: Changes,
        life: Life,
        expected: int | None,
        user: str | None,
        token: bytes | None,
    ) -> Plan[int | None]:
        once = token or token_for(changes, expected)
        indexed = b""
        for _ in range(TRIES):
            words = save_words(self.within, changes, life, expected, user, once, indexed)
            try:
                reply = yield from self.script(scripts.SAVE, [key], words, None)
            except Reindex as found:
                indexed = str(found).encode()
                yield from self.join(user or "", indexed)
                continue
            return version_of(reply)
        raise SessionUnavailable("too many others change the same session")

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
    ) -> Plan[int | None]:
        once = token or new_token()
        owner = user
        for _ in range(TRIES):
            if user is None:
                owner = yield from self.owner_of(key)
            if owner:
                yield from self.join(owner, new_key)
            assumed = owner if user is None else None
            words = rotate_words(
                self.within,
                changes,
                life,
                expected,
                user,
                limit,
                grace,
                hard,
                create,
                once,
                assumed,
            )
            try:
                reply = yield from self.script(
                    scripts.ROTATE, [key, new_key], words, None, confirm=True
                )
            except Reindex:
                yield from self.leave(owner or "", new_key)
                continue
            if reply is None:
                return None
            before = reply[1].decode()
            yield from self.leave(before, key)
            if owner and limit is not None:
                # Who was signed in already stays, however old; a new one has to be among the last.
                yield from self.trim(owner, limit, new_key if before == owner else None)
            return version_of(reply)
        raise SessionUnavailable("too many others change the same session")

    def end(self, keys: Sequence[bytes], held: Any) -> Plan[int]:
        count = 0
        for key in keys:
            ended, _ = yield from self.end_one(key)
            count += ended
        return count

    def sessions_of(self, user: str, names: Sequence[bytes]) -> Plan[list[Listed]]:
        rows = yield from self.rows(user, names)
        rows.reverse()
        return [
            Listed(
                key=key,
                created=created,
                last_seen=seen,
                fields={n: v for n, v in zip(names, values, strict=True) if v is not None},
            )
            for key, created, _, seen, values in rows
        ]

    def end_all(self, user: str, keep: bytes | None) -> Plan[int]:
        if keep is not None:
            keep = yield from self.target_of(keep)
        count = 0
        for _ in range(PASSES_MAX):
            again = False
            for key, since in (yield from self.entries(user)).items():
                if key == keep:
                    continue
                ended, moved = yield from self.end_one(key, user, keep)
                count += ended
                # What wasn't in the index yet began later than we did. Only what moved on while
                # we came to it is to be looked for again: it left a tombstone, or no entry.
                if moved:
                    yield from self.leave(user, key)
                    again = True
                elif not ended and not (yield from self.forget(user, key, since)):
                    again = True
            if not again:
                return count
        raise SessionUnavailable("sessions of this user move faster than they can be ended")

    def end_one(
        self, key: bytes, owner: str | None = None, keep: bytes | None = None
    ) -> Plan[tuple[int, int]]:
        """Ends one session, or only if it's the owner's and none to keep; whether it was there, or
        had moved on."""
        words: list[Word] = [self.within]
        if owner is not None:
            words += (user_word(owner), keep or b"")
        reply = yield from self.script(scripts.END, [key], words, None, confirm=True)
        ended, moved, *rest = reply
        for user, actual in zip(rest[::2], rest[1::2], strict=True):
            yield from self.leave(user.decode(), actual)
        return ended, moved

    def trim(self, user: str, limit: int, stays: bytes | None) -> Plan[None]:
        """Ends the oldest of a user's sessions, so that `limit` are left. Each sign-in does so
        when its own session is there, so the last one leaves no more than that."""
        rows = yield from self.rows(user, ())
        rows = [row for row in rows if row[0] != stays]
        most = max(limit, 1) - (stays is not None)
        for row in rows[: max(0, len(rows) - most)]:
            yield from self.end_one(row[0], user)

    def rows(self, user: str, names: Sequence[bytes]) -> Plan[list[Seen]]:
        """The user's live sessions, oldest first: key, created, version, last seen, values."""
        rows: list[Seen] = []
        for key, since in (yield from self.entries(user)).items():
            read: tuple[Command, ...] = (("TIME",), ("HGETALL", key), ("PTTL", key))
            replies = yield Ask(read, key)
            clock, flat, ttl = (refusing(reply) for reply in replies)
            found = paired(flat)
            now = int(clock[0]) * 1000 + int(clock[1]) // 1000
            entry = watch.entry_of(found, ttl, now)
            if isinstance(entry, rules.Record) and entry.user == user:
                values = [found.get(name) for name in names]
                rows.append((key, entry.created, entry.version, entry.seen, values))
            else:
                yield from self.forget(user, key, since)
        return sorted(rows, key=lambda row: (row[1], row[2], row[0]))

    def entries(self, user: str) -> Plan[dict[bytes, bytes]]:
        """What a user's index says."""
        index = self.index(user)
        return paired(refusing((yield Ask((("HGETALL", index),), index))[0]))

    def join(self, user: str, key: bytes) -> Plan[None]:
        """Indexes a session that is about to be there. Where replicas must confirm, they do so
        first: the shard of the index may be lost, and that of the session not."""
        index = self.index(user)
        if not self.clock.asked:
            # Nothing was connected yet, and others judge an entry by its age.
            self.clock.learn((yield Ask((("TIME",),), index))[0])
        commands: list[Command] = [("HSET", index, key, self.clock.now())]
        if self.shape.replicas:
            commands.append(("WAIT", self.shape.replicas, self.shape.patience))
        self.judged((yield Ask(tuple(commands), index)), len(commands) > 1)

    def leave(self, user: str, key: bytes) -> Plan[None]:
        """Removes a session from an index."""
        if user:
            index = self.index(user)
            refusing((yield Ask((("HDEL", index, key),), index))[0])

    def forget(self, user: str, key: bytes, since: bytes) -> Plan[bool]:
        """Removes what an index says of a session that isn't there, if it says so for long enough
        to be a left-over and not one about to be made. Whether it said so until now."""
        old = self.clock.now() - int(since) > YOUNG_MS
        words: list[Word] = [key, since, int(old)]
        said = yield from self.script(scripts.FORGET, [self.index(user)], words, None)
        return bool(said)

    def owner_of(self, key: bytes) -> Plan[str]:
        reply = refusing((yield Ask((("HGET", key, watch.USER),), key))[0])
        return (reply or b"").decode()

    def target_of(self, key: bytes) -> Plan[bytes]:
        """The key that a key stands for."""
        for _ in range(rules.HOPS_MAX):
            target = refusing((yield Ask((("HGET", key, watch.TARGET),), key))[0])
            if target is None:
                break
            key = target
        return key


def refusing(reply: Any) -> Any:
    """The reply, unless it's an error."""
    if isinstance(reply, Refused):
        raise failure(reply)
    return reply
