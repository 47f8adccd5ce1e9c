"""What a writing client was told, and which states of the store agree with that.

A client has keys of its own and keeps the state that the store has after its last acknowledged
step, with the steps that it has asked for since. One connection's steps happen in their order, and
a crash leaves a beginning of the log: so the store must be in the state after the acknowledged
steps, or after some more of those that were asked for. Anything else is a loss, a torn value, a
revived session, or half of a transaction. Steps that are acknowledged while nothing promises that
they last, since the log is switched off, count as asked for until it has been switched on again.

Keys are `letter:client:number`: k, i, x strings, h hashes, s sessions; m and n are the strings of
memcached's clients (see `cache`). `a:number` are the accounts that all clients of RESP move money
between; they belong to nobody, and their sum says it all.
"""

from __future__ import annotations

import json
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from wire import ReplyError, encode, parse

ACCOUNTS = 60
START_SUM = 1000 * ACCOUNTS
GRACE_SECONDS = 3600
TOMBSTONE_MS = 50_000
"""A tombstone lives a minute; so long it's surely there."""
FAR_MS = 120_000
"""Who ends so much later is there while a server runs."""
REMEMBERED = 30
"""How many sessions that are gone a client asks for again."""

ENDED = ("ended", "tombstone", "alias")
State = dict[str, tuple]
Change = tuple[str, "tuple | None"]


@dataclass
class Step:
    """Commands that succeed or fail as one, what they change, and what they should answer."""

    commands: list[tuple[object, ...] | bytes]
    """Of RESP, or requests to memcached as they are."""
    changes: list[Change] = field(default_factory=list)
    right: Callable[[list[object]], bool] = lambda replies: True
    silent: int = 0
    """So many of the commands have no answer."""
    revokes: bool = False
    """Whether it ends a session or deletes a key: its answer waits for the disk under every
    policy."""
    asked: float = 0.0
    """When it was asked for."""

    @property
    def replies(self) -> int:
        return len(self.commands) - self.silent

    def sent(self) -> bytes:
        """What a connection says; from here on it counts as asked for."""
        self.asked = time.time()
        return b"".join(c if isinstance(c, bytes) else encode(*c) for c in self.commands)


def transaction(commands: list[tuple[object, ...]], changes: list[Change]) -> Step:
    """A step of several commands in MULTI."""
    whole = [("MULTI",), *commands, ("EXEC",)]
    return Step(whole, changes, lambda replies: isinstance(replies[-1], list))


class Client:
    """The keys of one writer."""

    port = "resp"
    """Which of the server's ports it speaks to."""
    greeted: object = "OK"
    """The answer to its greeting."""
    parse = staticmethod(parse)
    """Takes the answers apart."""

    def __init__(self, number: int, rng: random.Random) -> None:
        self.number = number
        self.rng = rng
        self.db = int(number % 5 == 0)
        self.acked: State = {}
        self.steps: list[Step] = []
        """All that were asked for since the last check."""
        self.pending: deque[Step] = deque()
        self.loose: list[Step] = []
        """Acknowledged, but nothing promises that they last; before all that are pending."""
        self.is_loose = False
        """Whether what is acknowledged now is."""
        self.now: State = {}
        self.sessions = 0
        self.acknowledged = 0
        self.gone: deque[str] = deque()

    def again(self) -> Client:
        """The same client, who knows nothing yet, but no name that was used is used again."""
        other = type(self)(self.number, self.rng)
        other.sessions = self.sessions
        other.gone = deque(self.gone)
        return other

    def greeting(self) -> bytes:
        """What its connection says first."""
        return encode("SELECT", self.db)

    def next_step(self) -> Step:
        """A step at random; from here on it counts as asked for."""
        while True:
            (make,) = self.rng.choices(self.KINDS, self.WEIGHTS)
            step = make(self)
            if step is not None:
                step.revokes = not step.silent and any(
                    self._is_revoked(key, at) for key, at in step.changes
                )
                apply(self.now, step.changes)
                self.pending.append(step)
                self.steps.append(step)
                return step

    def _is_revoked(self, key: str, at: tuple | None) -> bool:
        """Whether that change takes away what is there, because somebody said so."""
        if at is not None:
            return at[0] in ENDED
        return self.now.get(key, " ")[0] == "string" and self._is_surely(key)

    def _is_surely(self, key: str) -> bool:
        """Whether a key is there and won't end of itself in the next minutes."""
        at = self.now.get(key)
        return at is not None and (at[2] < 0 or at[2] > time.time() * 1000 + FAR_MS)

    def told(self, replies: list[object]) -> None:
        """The oldest step was answered."""
        step = self.pending.popleft()
        wrong = any(isinstance(reply, ReplyError) for reply in replies)
        if wrong or not step.right(replies):
            raise AssertionError(f"client {self.number}: {shown(step)} answered {short(replies)}")
        if self.is_loose or self.loose:
            self.loose.append(step)
        else:
            apply(self.acked, step.changes)
        self.acknowledged += 1

    def firm(self) -> None:
        """All that was acknowledged so far lasts."""
        for step in self.loose:
            apply(self.acked, step.changes)
        self.loose.clear()
        self.is_loose = False

    def states(self):
        """The states that the store may be in, the acknowledged one first."""
        state = dict(self.acked)
        yield state
        for step in (*self.loose, *self.pending):
            apply(state, step.changes)
            yield state

    def settle(self, seen: Seen) -> int:
        """Takes over the state that the store is in, and answers how many of the steps it has that
        needn't be there, at most; raises AssertionError if it may be in none like it."""
        complaints = []
        for count, state in reversed(list(enumerate(map(dict, self.states())))):
            wrong = differences(state, seen)
            if not wrong:
                self.acked = state
                self.now = dict(state)
                self.loose.clear()
                self.is_loose = False
                self.pending.clear()
                self.steps.clear()
                return count
            complaints.append((count, wrong))
        lines = "\n".join(f"  after {n} more: {'; '.join(w)}" for n, w in reversed(complaints))
        steps = "\n".join(f"  {shown(step)}" for step in (*self.loose, *self.pending))
        raise AssertionError(
            f"client {self.number}: no state fits\n{lines}\nnothing promises:\n{steps}"
        )

    def keys(self) -> set[str]:
        """The keys that some state knows of."""
        later = {key for s in (*self.loose, *self.pending) for key, _ in s.changes}
        return later | self.acked.keys()

    def users(self) -> list[str]:
        return [f"u:{self.number}:{n}" for n in range(2)]

    # Strings and hashes.

    def _key(self) -> str:
        return f"k:{self.number}:{self.rng.randrange(16)}"

    def _value(self, key: str) -> bytes:
        size = self.rng.choice((0, 10, 100, 100, 300, 300, 1000, 9000))
        if self.rng.randrange(60) == 0:
            size = 150_000
        head = f"{key} {self.rng.getrandbits(48):x} ".encode()
        return head + self.rng.randbytes(min(size, 64)) * (size // 64 + 1)

    def _has(self, kind: str, lasting: bool = False) -> str | None:
        found = [
            key for key, at in self.now.items() if at[0] == kind and not (lasting and at[2] >= 0)
        ]
        return self.rng.choice(found) if found else None

    def _set(self) -> Step:
        key = self._key()
        value = self._value(key)
        return Step([("SET", key, value)], [(key, ("string", value, -1))])

    def _set_for_a_while(self) -> Step:
        key = self._key()
        value = self._value(key)
        at = int(time.time() * 1000) + self.rng.choice((200, 900, 3000, 10**7, 10**9))
        return Step([("SET", key, value, "PXAT", at)], [(key, ("string", value, at))])

    def _delete(self) -> Step:
        keys = {self._key() for _ in range(self.rng.randrange(1, 4))}
        name = self.rng.choice(("DEL", "UNLINK"))
        return Step([(name, *keys)], [(key, None) for key in keys])

    def _append(self) -> Step | None:
        key = self._has("string", lasting=True)
        if key is None or not key.startswith("k:"):
            return None
        value = self.now[key][1] + b"+"
        right = lambda replies: replies == [len(value)]  # noqa: E731
        return Step([("APPEND", key, "+")], [(key, ("string", value, -1))], right)

    def _rename(self) -> Step | None:
        key, other = self._has("string", lasting=True), self._key()
        if key is None or not key.startswith("k:") or key == other:
            return None
        return Step([("RENAME", key, other)], [(key, None), (other, self.now[key])])

    def _count(self) -> Step:
        key = f"i:{self.number}:0"
        number = int(self.now.get(key, ("string", b"0"))[1]) + 1
        changes: list[Change] = [(key, ("string", b"%d" % number, -1))]
        return Step([("INCR", key)], changes, lambda replies: replies == [number])

    def _hash(self) -> Step:
        key = f"h:{self.number}:{self.rng.randrange(3)}"
        fields = dict(self.now.get(key, ("hash", {}))[1])
        name = f"f{self.rng.randrange(200)}".encode()
        if name in fields and self.rng.randrange(2):
            del fields[name]
            after = ("hash", fields) if fields else None
            return Step([("HDEL", key, name)], [(key, after)], lambda replies: replies == [1])
        fields[name] = self._value(key)[:300]
        return Step([("HSET", key, name, fields[name])], [(key, ("hash", fields))])

    def _several(self) -> Step:
        one, two, three = self.rng.sample(range(16), 3)
        keys = [f"k:{self.number}:{n}" for n in (one, two, three)]
        value = self._value("both")
        commands = [("SET", keys[0], value), ("DEL", keys[2]), ("SET", keys[1], value)]
        both = ("string", value, -1)
        return transaction(commands, [(keys[0], both), (keys[1], both), (keys[2], None)])

    def _transfer(self) -> Step:
        one, other = self.rng.sample(range(ACCOUNTS), 2)
        by, key = self.rng.randrange(1, 50), f"x:{self.number}:0"
        number = int(self.now.get(key, ("string", b"0"))[1]) + 1
        accounts: list[tuple[object, ...]] = [
            ("DECRBY", f"a:{one}", by),
            ("INCR", key),
            ("INCRBY", f"a:{other}", by),
        ]
        if self.db:
            # The accounts are in database 0.
            accounts = [("INCR", key)]
        return transaction(accounts, [(key, ("string", b"%d" % number, -1))])

    # Sessions.

    def _create(self) -> Step | None:
        if sum(at[0] == "session" for at in self.now.values()) >= 5:
            return None
        key, user = self._session(), self.rng.choice(self.users())
        fields = {"n": 0, "a": self.rng.getrandbits(40), "b.c": [1]}
        command = ["SESSION.CREATE", key, "IDLE", 5000, "USER", user, "SET", len(fields)]
        for name, value in fields.items():
            command += [name, json.dumps(value)]
        return Step([tuple(command)], [(key, ("session", fields, user))], is_version)

    def _save(self) -> Step | None:
        key = self._has("session")
        if key is None:
            return None
        asked = self._has("alias") if self.rng.randrange(4) == 0 else None
        if asked is not None and self._target(asked) in self.now:
            target = self._target(asked)
            if self.now[target][0] != "session":
                return None
            key, name = target, asked
        else:
            name = key
        _, fields, user = self.now[key]
        fields, patch = self._patch(fields)
        return Step(
            [("SESSION.SAVE", name, *patch)], [(key, ("session", fields, user))], is_version
        )

    def _patch(self, fields: dict) -> tuple[dict, list[object]]:
        fields = {**fields, "n": fields["n"] + 1, "a": self.rng.getrandbits(40)}
        patch: list[object] = []
        if self.rng.randrange(3) == 0 and "b.d" in fields:
            del fields["b.d"]
            patch += ["DEL", 1, "b.d"]
        text = json.dumps(fields["a"])
        if self.rng.randrange(3) == 0:
            fields["b.d"] = "x" * self.rng.randrange(400)
            patch += ["SET", 2, "a", text, "b.d", json.dumps(fields["b.d"])]
        else:
            patch += ["SET", 1, "a", text]
        patch += ["INCR", 1, "n", 1]
        if self.rng.randrange(3) == 0:
            number = self.rng.randrange(100)
            fields["b.c"] = [*fields["b.c"], number][-4:]
            patch += ["PUSH", "b.c", number, "TRIM", 4]
        return fields, patch

    def _rotate(self) -> Step | None:
        key = self._has("session")
        if key is None:
            return None
        new, (_, fields, user) = self._session(), self.now[key]
        patch: list[object] = []
        if self.rng.randrange(2):
            fields, patch = self._patch(fields)
        made = int(time.time() * 1000)
        way = self.rng.randrange(3)
        left: tuple = ("tombstone", made)
        if way == 0 and self._depth(key) < 3:
            patch += ["GRACE", GRACE_SECONDS]
            left = ("alias", new)
        elif way == 1:
            user = next(other for other in self.users() if other != user)
            patch += ["USER", user]
        else:
            patch += ["HARD"]
        changes: list[Change] = [(key, left), (new, ("session", fields, user))]
        return self._forgetting(Step([("SESSION.ROTATE", key, new, *patch)], changes, is_version))

    def _end(self) -> Step | None:
        key = self._has("session")
        if key is None:
            return None
        named = key
        if (alias := self._has("alias")) and self.now.get(self._target(alias), " ")[0] == "session":
            key, named = self._target(alias), alias
        if self.rng.randrange(4) == 0:
            # As a plain hash, which it is too; an alias isn't anything then.
            step = Step([("DEL", key)], [(key, ("ended",))], lambda replies: replies == [1])
        else:
            command = ("SESSION.END", named)
            step = Step([command], [(key, ("ended",))], lambda replies: replies == [1])
        return self._forgetting(step)

    def _end_all(self) -> Step | None:
        user = self.rng.choice(self.users())
        ends = [key for key, at in self.now.items() if at[0] == "session" and at[2] == user]
        if not ends:
            return None
        command: list[object] = ["SESSION.ENDALL", user]
        if self.rng.randrange(2):
            command += ["EXCEPT", ends.pop()]
        count = len(ends)
        changes: list[Change] = [(key, ("ended",)) for key in ends]
        step = Step([tuple(command)], changes, lambda replies: replies == [count])
        return self._forgetting(step)

    def _save_too_late(self) -> Step | None:
        if not self.gone:
            return None
        key = self.rng.choice(self.gone)
        if self.now.get(key, ("ended",))[0] not in ("ended", "tombstone"):
            return None
        command = ("SESSION.SAVE", key, "SET", 1, "a", "1")
        return Step([command], [], lambda replies: replies == [None])

    def _session(self) -> str:
        self.sessions += 1
        return f"s:{self.number}:{self.sessions}"

    def _target(self, key: str) -> str:
        while self.now.get(key, (None,))[0] == "alias":
            key = self.now[key][1]
        return key

    def _depth(self, key: str) -> int:
        into = [name for name, at in self.now.items() if at == ("alias", key)]
        return 1 + max(map(self._depth, into), default=0)

    def _forgetting(self, step: Step) -> Step:
        """Adds that the oldest of the sessions that are gone aren't asked for any more."""
        for _ in range(len(self.gone) - REMEMBERED):
            key = self.gone.popleft()
            at = self.now.get(self._target(key), (None,))
            if at[0] == "session":
                self.gone.append(key)
            elif key in self.now:
                step.changes.append((key, None))
        self.gone += [key for key, at in step.changes if at and at[0] != "session"]
        return step

    KINDS = (
        _set,
        _set_for_a_while,
        _delete,
        _append,
        _rename,
        _count,
        _hash,
        _several,
        _transfer,
        _create,
        _save,
        _rotate,
        _end,
        _end_all,
        _save_too_late,
    )
    WEIGHTS = (8, 3, 5, 2, 2, 3, 5, 3, 8, 6, 8, 5, 4, 1, 2)


@dataclass
class Seen:
    """What the store holds of one client's."""

    began_ms: int
    """When the first of it was asked for; what was due before must be gone."""
    ended_ms: int = 0
    """When the last of it was answered; what was due before may be gone."""
    listed: set[str] = field(default_factory=set)
    """Keys that SCAN tells of."""
    values: dict[str, object] = field(default_factory=dict)
    """By key: (GET, PEXPIRETIME), for memcached's with flags and CAS value; HGETALL; or
    SESSION.LOAD."""
    users: dict[str, set[str]] = field(default_factory=dict)
    """Whose sessions SESSION.LIST tells of."""


def differences(state: State, seen: Seen) -> list[str]:
    """Where the store isn't in this state; nothing if it is."""
    wrong = []
    for key in {*state, *seen.values}:
        what = difference(state, key, seen)
        if what:
            wrong.append(f"{key}: {what}")
    lasting = {key for key, at in state.items() if is_listed(at, seen.ended_ms)}
    perhaps = {key for key, at in state.items() if is_listed(at, seen.began_ms)}
    if missing := lasting - seen.listed:
        wrong.append(f"not listed: {sorted(missing)}")
    if surplus := seen.listed - perhaps:
        wrong.append(f"listed, but gone: {sorted(surplus)}")
    for user, keys in seen.users.items():
        theirs = {key for key, at in state.items() if at[0] == "session" and at[2] == user}
        if theirs != keys:
            wrong.append(f"{user} has {sorted(keys)}, not {sorted(theirs)}")
    return wrong


def is_listed(at: tuple, now_ms: int) -> bool:
    """Whether a key of this kind is one that everybody sees, at that time."""
    if at[0] == "string":
        return at[2] < 0 or now_ms < at[2]
    return at[0] in ("hash", "session")


def difference(state: State, key: str, seen: Seen) -> str | None:
    """What is wrong with a key."""
    at, found = state.get(key), seen.values.get(key)
    if key[0] == "s":
        return session_difference(state, at, found)
    if key[0] == "h":
        fields = dict(zip(found[::2], found[1::2], strict=True)) if found else {}
        wanted = at[1] if at else {}
        names = {name for name in {*fields, *wanted} if fields.get(name) != wanted.get(name)}
        return f"fields {sorted(names)} differ" if names else None
    value, due, *kept = found or (None, -2)
    if at is None:
        return None if value is None else f"is back: {short(value)}"
    if at[2] >= 0 and seen.ended_ms >= at[2] and (value is None or due == -2):
        return None
    if value is None:
        return f"is lost: {short(at[1])}"
    if at[2] >= 0 and seen.began_ms > at[2]:
        return "is there after its deadline"
    if value != at[1]:
        return f"is {short(value)}, not {short(at[1])}"
    if due != at[2]:
        return f"is due at {due}, not {at[2]}"
    # Flags, and a CAS value that somebody has set.
    right = all(one is None or one == other for one, other in zip(at[3:], kept, strict=True))
    return None if right else f"has {kept}, not {list(at[3:])}"


def session_difference(state: State, at: tuple | None, found: object) -> str | None:
    """What is wrong with what SESSION.LOAD answered."""
    while at is not None and at[0] == "alias":
        at = state.get(at[1])
    if at is None or at[0] == "ended":
        # What was forgotten may be a tombstone still.
        right = found is None or (at is None and found == "ROTATED")
        return None if right else f"is ended, but it answers {short(found)}"
    if at[0] == "tombstone":
        fresh = time.time() * 1000 - at[1] < TOMBSTONE_MS
        right = found == "ROTATED" or (found is None and not fresh)
        return None if right else f"got another key, but it answers {short(found)}"
    if not isinstance(found, list):
        return f"is lost, it answers {found}"
    _, idle, _, user, fields = found
    names, texts = fields[::2], fields[1::2]
    there = {name.decode(): json.loads(text) for name, text in zip(names, texts, strict=True)}
    if (there, user.decode()) != at[1:]:
        return f"is {there} of {user}, not {at[1:]}"
    return None if idle is not None and 0 < idle <= 5_000_000 else f"is idle in {idle} ms"


def apply(state: State, changes: list[Change]) -> None:
    """Makes the changes."""
    for key, at in changes:
        if at is None:
            state.pop(key, None)
        else:
            state[key] = at


def is_version(replies: list[object]) -> bool:
    return len(replies) == 1 and isinstance(replies[0], int)


def shown(step: Step) -> str:
    """A step, without the bulk of its values."""
    return ", ".join(short(command) for command in step.commands)


def short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:60]}... ({len(text)} long)"
