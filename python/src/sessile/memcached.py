"""The engine on memcached: `memcached://host[:port],host[:port]...`, over the meta protocol.

One value holds a session with its user and its deadlines (`sessile.memcached_value`). A change is
read, merged by `sessile.rules` and written on condition that nobody else wrote meanwhile (CAS),
over and over until that holds. The first time, what the request has loaded before stands for the
reading, and a new key is taken to be free. What always holds: what wasn't read just now is only
ever the ground for a write, which CAS proves right, and never for an answer without one; a key
belongs to the same server for good, so
a server that is down is an error and never an empty one, and a session that ended can't return
with it; a rotation adds the new session first and turns the old one into a tombstone then, by
CAS, so that a session that ends meanwhile isn't signed in again by it.

Deadlines are kept to the millisecond by the clocks of the app's machines, and by memcached's own
within two seconds. There is no index of users: listing, ending all of a user's and limits raise
NotSupported. memcached evicts what it has no room for.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, NoReturn, TypeVar

from sessile import memcached_value, rules
from sessile.busy import busy_poll_of
from sessile.contract import Changes, Life, Loaded, Rotated
from sessile.errors import (
    ConfigurationError,
    DocumentError,
    NotSupported,
    SessileError,
    SessionConflict,
    SessionUnavailable,
)
from sessile.faces import AsyncFace, Face
from sessile.memcached_wire import Answer, Answers, name_of
from sessile.pool import AsyncPool, Pool, Target
from sessile.promises import EVERYWHERE, Promise
from sessile.sessile_plan import new_token
from sessile.urls import Address

__all__ = ["AsyncMemcachedEngine", "MemcachedEngine", "open_async_engine", "open_engine"]

OPTIONS = {
    "timeout": "seconds to connect, and again to get a reply (0.5)",
    "pool": "connections of one process or event loop to one server, at most (64)",
    "pool_wait": "seconds to wait for a free connection (0.5)",
    "busy_poll": "microseconds to wait for a reply without going to sleep; 0: none (100)",
}
PORT = 11211
TRIES = 128
"""How often a change is tried anew. Each time somebody else's was made, so all get their turn."""
VALUE_MAX = 1024 * 1024 - 1024
"""memcached takes 1 MB, by its usual settings, with the key and what it keeps beside the value."""
RELATIVE_MAX = 30 * 86400
"""Seconds; memcached takes more for a moment, in Unix seconds."""
MOMENT_MAX = 2**31 - 1
PROMISES = EVERYWHERE | {Promise.OUTAGE}
NO_INDEX = "memcached has no index of users: {} needs another engine"

T = TypeVar("T")


class Ask(NamedTuple):
    """A request, and the key that says to which server it goes; without one, to all of them."""

    key: bytes | None
    data: bytes


Plan = Generator[Ask, Answer, T]


@dataclass(slots=True)
class Read:
    """What was found under a key, with the number that CAS compares."""

    entry: rules.Entry | None
    cas: bytes = b""
    mark: bytes = b""
    """Of a tombstone: which rotation left it."""


Reads = dict[bytes, Read]
FREE = Read(None)
"""What is found under a key that nobody has used."""


class Missing(Exception):
    """A rule asked for a key that wasn't read yet."""

    def __init__(self, key: bytes) -> None:
        self.key = key


class Snapshot:
    """`rules.View` of what was read, collecting what is to be written."""

    def __init__(self, now: int, own: dict[bytes, bytes], mark: bytes) -> None:
        self.now = now
        self.mark = mark
        self.own = own
        """Sessions that this very rotation added before it had to begin anew, with their CAS."""
        self.read: Reads = {}
        self.assumed: Reads = {}
        """What is taken to be there, and wasn't read for this."""
        self.written: dict[bytes, rules.Entry | None] = {}

    def get(self, key: bytes) -> rules.Entry | None:
        if key in self.written:
            return self.alive(self.written[key])
        if key in self.own:
            return None
        if key not in self.read:
            raise Missing(key)
        return self.alive(self.read[key].entry)

    def alive(self, entry: rules.Entry | None) -> rules.Entry | None:
        ends = rules.deadline(entry) if entry is not None else None
        return entry if ends is None or ends > self.now else None

    def put(self, key: bytes, entry: rules.Entry) -> None:
        self.written[key] = entry

    def drop(self, key: bytes) -> None:
        self.get(key)
        self.written[key] = None

    def keys_of(self, user: str) -> NoReturn:
        raise NotSupported(NO_INDEX.format("a limit of sessions"))

    def next_version(self, last: int) -> int:
        return max(time.time_ns() // 1000, last + 1)

    def only_slid(self, key: bytes, entry: rules.Entry | None) -> bool:
        """Whether nothing of a session changes but when it was used."""
        before = self.read[key].entry if key in self.read and key not in self.assumed else None
        if not isinstance(before, rules.Record) or not isinstance(entry, rules.Record):
            return False
        return replace(before, seen=entry.seen) == entry


class Plans:
    """A plan for each operation."""

    def create(
        self,
        key: bytes,
        fields: Mapping[bytes, bytes],
        life: Life,
        user: str | None,
        limit: int | None,
        token: bytes | None,
    ) -> Plan[int | None]:
        mark = token or new_token()
        return self._transact(
            lambda view: rules.create(view, key, fields, life, user, None, mark),
            assumed={key: FREE},
        )

    def load(self, key: bytes, slide: bool) -> Plan[Loaded | Rotated | None]:
        seen: Reads = {}
        found = yield from self._transact(lambda view: rules.load(view, key, slide), seen=seen)
        return replace(found, held=seen) if isinstance(found, Loaded) else found

    def save(
        self,
        key: bytes,
        changes: Changes,
        life: Life,
        expected: int | None,
        user: str | None,
        token: bytes | None,
    ) -> Plan[int | None]:
        if not token and (expected is not None or changes.increment or changes.push):
            token = new_token()
        return self._transact(
            lambda view: rules.save(view, key, changes, life, expected, user, token),
            assumed=changes.held,
        )

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
        mark = token or new_token()

        def work(view: Snapshot) -> int | None:
            taken = view.get(new_key)
            again = taken is not None and rules.answered(taken, mark, view.now) is not None
            if again and not replaced(view, key, new_key):
                # This rotation was cut off after its first half, and whoever ended or renewed the
                # session since then knew nothing of the new key.
                view.own[new_key] = view.read[new_key].cas
            return rules.rotate(
                view,
                key,
                new_key,
                changes,
                life,
                expected,
                user,
                None,
                grace,
                hard,
                create,
                mark,
            )

        return self._transact(work, mark, assumed={**(changes.held or {}), new_key: FREE})

    def end(self, keys: Sequence[bytes], held: Any) -> Plan[int]:
        count = 0
        for key in keys:
            count += yield from self._end(key, held if held and key in held else None)
        return count

    def _end(self, key: bytes, held: Any) -> Plan[int]:
        return self._transact(lambda view: rules.end(view, [key]), assumed=held)

    def touch(self, key: bytes) -> Plan[bool]:
        return self._transact(lambda view: rules.touch(view, key))

    def exists(self, key: bytes) -> Plan[bool]:
        return self._transact(lambda view: rules.exists(view, key))

    def ping(self) -> Plan[None]:
        checked((yield Ask(None, b"mn\r\n")))

    def _transact(
        self,
        work: Callable[[Snapshot], T],
        mark: bytes = b"",
        *,
        assumed: Reads | None = None,
        seen: Reads | None = None,
    ) -> Plan[T]:
        """Does `work` until what it read is still there when it writes.

        The first time, `assumed` spares it reading. `seen` gets what is there afterwards.
        """
        own: dict[bytes, bytes] = {}
        for _ in range(TRIES):
            view = Snapshot(time.time_ns() // 1_000_000, own, mark)
            view.assumed, assumed = assumed or {}, None
            view.read.update(view.assumed)
            try:
                answer = yield from worked(view, work)
            except SessileError as error:
                if view.assumed and isinstance(error, (SessionConflict, DocumentError)):
                    continue
                yield from withdraw(view)
                raise
            if view.assumed and not view.written:
                continue
            yield from withdraw(view)
            if (yield from commit(view)):
                if seen is not None:
                    seen.update(view.read)
                return answer
        raise SessionUnavailable("too many others change the same session")


def worked(view: Snapshot, work: Callable[[Snapshot], T]) -> Plan[T]:
    """What `work` answers once all that it asks for was read."""
    while True:
        view.written.clear()
        try:
            return work(view)
        except Missing as missing:
            view.read[missing.key] = yield from read(missing.key)


def read(key: bytes) -> Plan[Read]:
    """What is under a key."""
    answer = checked((yield Ask(key, b"mg %b v c\r\n" % name_of(key))))
    if answer.code != b"VA":
        return Read(None)
    entry = memcached_value.unpack(answer.value)
    return Read(entry, answer.cas, memcached_value.mark_of(answer.value))


def replaced(view: Snapshot, key: bytes, new_key: bytes) -> bool:
    """Whether an old key says that this very rotation came to its end."""
    old = view.get(key)
    if isinstance(old, rules.Alias):
        return old.target == new_key
    return isinstance(old, rules.Tombstone) and view.read[key].mark == view.mark


def withdraw(view: Snapshot) -> Plan[None]:
    """Takes back what this rotation added, if it comes to nothing after all."""
    for key in [key for key in view.own if key not in view.written]:
        yield from remove(key, view.own.pop(key))


def commit(view: Snapshot) -> Plan[bool]:
    """Writes; whether all that was read was still there.

    What is added comes first, then what is replaced, then what goes. A session that ends through
    a key that stands for it goes first of all: only its end can fail.
    """
    added = [key for key in view.written if key in view.own or not view.read[key].cas]
    others = [key for key in view.written if key not in added]
    for key in added:
        entry = view.written[key]
        if entry is None:
            continue
        mode = b"C%b" % view.own[key] if key in view.own else b"ME"
        answer = yield from store(key, entry, mode, view)
        if answer.code != b"HD":
            view.own.pop(key, None)
            return False
        view.own[key] = answer.cas
    for key in others:
        entry = view.written[key]
        if entry is None:
            answer = yield from remove(key, view.read[key].cas)
            # Who stands for a session that has ended stands for nothing.
            good = isinstance(view.read[key].entry, rules.Alias)
        else:
            answer = yield from store(key, entry, b"C%b" % view.read[key].cas, view)
            # Somebody else used the session at this very moment: that did it, too.
            good = answer.code == b"EX" and view.only_slid(key, entry)
            view.read.pop(key)
            if answer.code == b"HD":
                view.read[key] = Read(entry, answer.cas)
            if answer.code == b"EX" and not isinstance(entry, rules.Record):
                good = yield from is_there(key, memcached_value.pack(entry, view.mark))
        if answer.code != b"HD" and not good:
            return False
    return True


def is_there(key: bytes, value: bytes) -> Plan[bool]:
    """Whether a first try wrote what replaces a rotated session, and only its reply was lost."""
    answer = checked((yield Ask(key, b"mg %b v\r\n" % name_of(key))))
    return answer.value == value


def store(key: bytes, entry: rules.Entry, mode: bytes, view: Snapshot) -> Plan[Answer]:
    value = memcached_value.pack(entry, view.mark)
    if len(value) > VALUE_MAX:
        raise DocumentError(
            f"the session has {len(value)} bytes, and memcached takes {VALUE_MAX} at most"
        )
    words = (name_of(key), len(value), mode, time_to_live(entry, view.now), value)
    return checked((yield Ask(key, b"ms %b %d c %b T%d\r\n%b\r\n" % words)))


def remove(key: bytes, cas: bytes) -> Plan[Answer]:
    return checked((yield Ask(key, b"md %b C%b\r\n" % (name_of(key), cas))))


def time_to_live(entry: rules.Entry, now: int) -> int:
    """When memcached may forget an entry, as it wants to be told: never before it is due."""
    ends = rules.deadline(entry)
    if ends is None:
        return 0
    if ends <= now:
        return -1
    # memcached's clock goes by whole seconds.
    seconds = -((now - ends) // 1000) + 1
    if seconds <= RELATIVE_MAX:
        return seconds
    moment = now // 1000 + seconds
    return moment if moment <= MOMENT_MAX else 0


def checked(answer: Answer) -> Answer:
    """The answer, unless it is an error."""
    if answer.code not in ERRORS:
        return answer
    text = answer.value.decode("utf-8", "replace")
    if answer.code == b"ERROR":
        raise ConfigurationError("the server has no meta commands: it isn't memcached 1.6 or later")
    if "too large" in text:
        raise DocumentError("the session is larger than memcached takes (its option -I)")
    if "unauthenticated" in text or "authentication" in text:
        raise ConfigurationError(f"memcached doesn't let us in: {text}")
    if answer.code == b"SERVER_ERROR":
        raise SessionUnavailable(f"memcached can't do this now: {text}")
    raise SessileError(f"memcached refuses: {text}")


ERRORS = frozenset({b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR"})


class Ring:
    """Which server a key belongs to: the one whose name goes best with it (rendezvous hashing)."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = [name.encode() for name in names]

    def place(self, key: bytes) -> int:
        if len(self._names) == 1:
            return 0
        ranks = [hashlib.sha256(name + b"\0" + key).digest() for name in self._names]
        return ranks.index(max(ranks))


class MemcachedEngine(Face):
    """`sessile.contract.Engine` on memcached."""

    promises = PROMISES

    def __init__(self, targets: Sequence[Target]) -> None:
        self._plans = Plans()
        self._ring = Ring([str(target) for target in targets])
        self._pools = [Pool(target) for target in targets]

    def _run(self, plan: Plan[Any]) -> Any:
        try:
            ask = next(plan)
            while True:
                if ask.key is None:
                    answers = [pool.exchange(ask.data) for pool in self._pools]
                    ask = plan.send(worst(answers))
                else:
                    pool = self._pools[self._ring.place(ask.key)]
                    ask = plan.send(pool.exchange(ask.data))
        except StopIteration as done:
            return done.value

    def close(self) -> None:
        for pool in self._pools:
            pool.close()


class AsyncMemcachedEngine(AsyncFace):
    """`sessile.contract.AsyncEngine` on memcached."""

    promises = PROMISES

    def __init__(self, targets: Sequence[Target]) -> None:
        self._plans = Plans()
        self._ring = Ring([str(target) for target in targets])
        self._pools = [AsyncPool(target) for target in targets]

    async def _run(self, plan: Plan[Any]) -> Any:
        try:
            ask = next(plan)
            while True:
                if ask.key is None:
                    answers = [await pool.exchange(ask.data) for pool in self._pools]
                    ask = plan.send(worst(answers))
                else:
                    pool = self._pools[self._ring.place(ask.key)]
                    ask = plan.send(await pool.exchange(ask.data))
        except StopIteration as done:
            return done.value

    async def close(self) -> None:
        for pool in self._pools:
            await pool.close()


def worst(answers: Sequence[Answer]) -> Answer:
    """An error, if there is one among these."""
    return next((answer for answer in answers if answer.code in ERRORS), answers[-1])


def targets_of(address: Address) -> list[Target]:
    """Where a URL leads. Raises ConfigurationError."""
    address.only(*OPTIONS)
    if address.path not in ("", "/"):
        raise ConfigurationError("memcached URL: there are no databases; take the path away")
    hosts = address.hosts(PORT)
    if len(set(hosts)) != len(hosts):
        raise ConfigurationError("memcached URL: a server is named twice")
    greeting: tuple[bytes, ...] = ()
    if address.username:
        login = f"{address.username} {address.password}".encode()
        greeting = (b"set auth 0 0 %d\r\n%b\r\n" % (len(login), login),)
    return [
        Target(
            host=host,
            port=port,
            timeout=address.number("timeout", 0.5, least=0.01),
            pool=int(address.number("pool", 64, least=1)),
            pool_wait=address.number("pool_wait", 0.5),
            busy_poll=busy_poll_of(address),
            greeting=greeting,
            welcome=checked,
            reader=Answers,
        )
        for host, port in hosts
    ]


def open_engine(address: Address) -> MemcachedEngine:
    """The engine at `memcached://...`; no I/O."""
    return MemcachedEngine(targets_of(address))


def open_async_engine(address: Address) -> AsyncMemcachedEngine:
    """The engine at `memcached://...` for asyncio; no I/O."""
    return AsyncMemcachedEngine(targets_of(address))
