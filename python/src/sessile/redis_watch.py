"""Sessions in Redis without scripts: `sessile.rules` over keys that are watched.

`transact` reads what a rule asks for, lets the rule compute, and writes what it wrote in one
transaction, which Redis refuses if anything that was read has changed; then all begins anew.
The hashes are those of `sessile.redis_scripts`, so both can work on one store. What always
holds: nothing is written but in that transaction, and the connection is left without watches.
Slower than scripts by some round trips, and only for servers where all keys are within reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from sessile import rules
from sessile.contract import ROTATED, Loaded, Rotated
from sessile.errors import SessileError, SessionUnavailable
from sessile.redis_ask import Ask, Command, Plan, Refused, failure
from sessile.wire import paired

__all__ = ["loaded", "transact"]

T = TypeVar("T")
TRIES = 64
META = b"\\!"
VERSION, CREATED, BASE, IDLE, ABSOLUTE, SEEN, USER, ANSWERS, TARGET, MOVED = (
    META + letter for letter in (b"v", b"c", b"b", b"i", b"a", b"s", b"u", b"q", b"t", b"r")
)
OTHERS = (CREATED, BASE, ANSWERS)
"""What a reader of a session doesn't ask for."""
Hash = dict[bytes, bytes]


def loaded(found: Hash, now: int) -> Loaded | Rotated | None:
    """What a hash says at a moment by the server's clock; takes the hash over."""
    take = found.pop
    told = take(VERSION, None)
    if told is None:
        return ROTATED if MOVED in found else None
    version = int(told)
    idle, absolute, user = take(IDLE, None), take(ABSOLUTE, None), take(USER, None)
    seen = take(SEEN, None)
    for name in OTHERS:
        take(name, None)
    absolute_left = int(absolute) - now if absolute else None
    idle_left = None
    if idle:
        last = version // 1000
        if seen and (read := int(seen)) > last:
            last = read
        idle_left = last + int(idle) * 1000 - now
        # A clock that is a little off never shows a session as dead that the server has.
        if idle_left < 1:
            idle_left = 1
        if absolute_left is not None and absolute_left < idle_left:
            idle_left = absolute_left
    return Loaded(version, found, user.decode() if user else "", idle_left, absolute_left)


class Missing(Exception):
    """A rule asked for something that wasn't read yet."""

    def __init__(self, key: bytes, user: str | None = None) -> None:
        self.key = key
        self.user = user


class Snapshot:
    """`rules.View` of what was read, collecting what is to be written."""

    def __init__(self, prefix: bytes) -> None:
        self.now = 0
        self.now_us = 0
        self.prefix = prefix
        self.hashes: dict[bytes, tuple[Hash, int]] = {}
        """What was read: fields and time to live."""
        self.users: dict[str, list[bytes]] = {}
        self.written: dict[bytes, rules.Entry | None] = {}

    def get(self, key: bytes) -> rules.Entry | None:
        if key in self.written:
            entry = self.written[key]
            ends = rules.deadline(entry) if entry is not None else None
            return entry if ends is None or ends > self.now else None
        if key not in self.hashes:
            raise Missing(key)
        return entry_of(*self.hashes[key], self.now)

    def put(self, key: bytes, entry: rules.Entry) -> None:
        self.written[key] = entry

    def drop(self, key: bytes) -> None:
        self.get(key)
        self.written[key] = None

    def keys_of(self, user: str) -> Iterable[bytes]:
        if user not in self.users:
            raise Missing(self.prefix + user.encode(), user)
        return self.users[user]

    def next_version(self, last: int) -> int:
        return max(self.now_us, last + 1)

    def commands(self) -> list[Command]:
        """The writes: index entries first, hashes, then entries that go."""
        first: list[Command] = []
        middle: list[Command] = []
        last: list[Command] = []
        for key, entry in self.written.items():
            before = self.get_read(key)
            old = before.user if isinstance(before, rules.Record) else ""
            new = entry.user if isinstance(entry, rules.Record) else ""
            if isinstance(entry, rules.Record) and new and new != old:
                first += self.joins(new, key, entry)
            if old and new != old:
                last.append(("HDEL", self.prefix + old.encode(), key))
            middle += self.writes(key, entry)
        return first + middle + last

    def get_read(self, key: bytes) -> rules.Entry | None:
        return entry_of(*self.hashes[key], self.now) if key in self.hashes else None

    def joins(self, user: str, key: bytes, record: rules.Record) -> list[Command]:
        index = self.prefix + user.encode()
        # Without scripts nothing could lengthen the index's life when a read slides its session.
        return [("HSET", index, key, record.created), ("PERSIST", index)]

    def writes(self, key: bytes, entry: rules.Entry | None) -> list[Command]:
        if entry is None:
            return [("DEL", key)]
        before = self.hashes[key][0] if key in self.hashes else {}
        after = hash_of(entry)
        gone = [name for name in before if name not in after]
        new: list[bytes] = []
        for name, value in after.items():
            if before.get(name) != value:
                new += (name, value)
        commands: list[Command] = []
        if new:
            commands.append(("HSET", key, *new))
        if gone:
            commands.append(("HDEL", key, *gone))
        ends = rules.deadline(entry)
        commands.append(("PERSIST", key) if ends is None else ("PEXPIREAT", key, ends))
        return commands


def transact(prefix: bytes, home: bytes, work: Callable[[rules.View], T]) -> Plan[T]:
    """Does `work` on a snapshot until nothing of what it read has changed meanwhile."""
    for _ in range(TRIES):
        view = Snapshot(prefix)
        seconds, micros = checked((yield Ask((("TIME",),), home)))[0]
        view.now_us = int(seconds) * 1_000_000 + int(micros)
        view.now = view.now_us // 1000
        while True:
            view.written.clear()
            try:
                answer = work(view)
                commands = view.commands()
                break
            except Missing as missing:
                yield from read(view, home, missing)
            except SessileError:
                yield Ask((("UNWATCH",),), home, repeat=False)
                raise
        if not commands and len(view.hashes) + len(view.users) <= 1:
            yield Ask((("UNWATCH",),), home, repeat=False)
            return answer
        # An empty transaction proves that what was read belongs to one moment.
        whole: tuple[Command, ...] = (("MULTI",), *commands, ("EXEC",))
        done = checked((yield Ask(whole, home, repeat=False)))[-1]
        if done is not None:
            for reply in done:
                if isinstance(reply, Refused):
                    why = f"{reply.code} {reply.text}"
                    raise SessileError(f"the store refuses a part of the change: {why}")
            return answer
    raise SessionUnavailable("too many others change the same sessions")


def read(view: Snapshot, home: bytes, missing: Missing) -> Plan[None]:
    """Watches and reads a key, or an index with all the sessions in it."""
    keys = [missing.key]
    if missing.user is not None:
        index: tuple[Command, ...] = (
            ("WATCH", missing.key),
            ("HKEYS", missing.key),
        )
        keys = checked((yield Ask(index, home, repeat=False)))[1]
        view.users[missing.user] = keys
        keys = [key for key in keys if key not in view.hashes]
    for key in keys:
        commands: tuple[Command, ...] = (("WATCH", key), ("HGETALL", key), ("PTTL", key))
        replies = yield Ask(commands, home, repeat=False)
        if isinstance(replies[1], Refused) and replies[1].code == "WRONGTYPE":
            replies[1] = []  # a key of another type holds no session
        _, flat, ttl = checked(replies)
        view.hashes[key] = paired(flat), ttl


def checked(replies: list[Any]) -> list[Any]:
    """The replies, unless one is an error."""
    for reply in replies:
        if isinstance(reply, Refused):
            raise failure(reply)
    return replies


def entry_of(found: Mapping[bytes, bytes], ttl: int, now: int) -> rules.Entry | None:
    """The entry that a hash holds; `None` if it isn't one of ours."""
    user = found.get(USER, b"").decode()
    if MOVED in found:
        return rules.Tombstone(now + ttl)
    if TARGET in found:
        return rules.Alias(found[TARGET], user, now + ttl)
    if VERSION not in found:
        return None
    version, created = int(found[VERSION]), int(found[CREATED])
    idle, absolute = int(found.get(IDLE, 0)) * 1000, int(found.get(ABSOLUTE, 0))
    seen = max(version // 1000, int(found.get(SEEN, 0)))
    answers = found.get(ANSWERS, b"").decode().split()
    return rules.Record(
        fields={name: value for name, value in found.items() if not name.startswith(META)},
        version=version,
        created=created,
        base=int(found.get(BASE, created)),
        seen=seen,
        user=user,
        idle=idle,
        absolute=absolute,
        tokens=tuple(
            (bytes.fromhex(token), int(answer), int(answer) // 1000 + rules.TOKEN_MS)
            for token, answer in zip(answers[::2], answers[1::2], strict=False)
        ),
    )


def hash_of(entry: rules.Entry) -> Hash:
    """The hash that holds an entry."""
    if isinstance(entry, rules.Tombstone):
        return {MOVED: b"1"}
    if isinstance(entry, rules.Alias):
        owner = {USER: entry.user.encode()} if entry.user else {}
        return {TARGET: entry.target, **owner}
    found = dict(entry.fields)
    found[VERSION] = b"%d" % entry.version
    found[CREATED] = b"%d" % entry.created
    if entry.base != entry.created:
        found[BASE] = b"%d" % entry.base
    if entry.idle:
        found[IDLE] = b"%d" % (entry.idle // 1000)
    if entry.absolute:
        found[ABSOLUTE] = b"%d" % entry.absolute
    if entry.seen > entry.version // 1000:
        found[SEEN] = b"%d" % entry.seen
    if entry.user:
        found[USER] = entry.user.encode()
    if entry.tokens:
        words = (f"{token.hex()} {answer}" for token, answer, _ in entry.tokens)
        found[ANSWERS] = " ".join(words).encode()
    return found
