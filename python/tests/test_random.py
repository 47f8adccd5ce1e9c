"""Random histories: every engine answers what the reference answers, patch by patch.

The scripts for Redis, the server and the rules share no code. A history is made from a seed, which
is in the test's name: some are always the same, the last is new in each run (SESSILE_SEEDS="5 6"
names others). It's run against the engine and against `memory:`, and after each step the answers
and all sessions are the same. Both go by one clock, the store's.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from sessile.contract import Changes, Life, Loaded, Push
from sessile.errors import DocumentError, SessionConflict
from sessile.memory import MemoryEngine
from stores import Bench

STEPS = 150
PARTS = (b"a", b"b", b"c", b"\\.d", b"x\\\\", b"")
ODD_PARTS = (b"\\e", b"\\i7", b"\\i-7", b"\\\\\\.", b"\xc3\xa9\xf0\x9f\x8d\x90", b" ", b"%s")
TEXTS = (b"1", b"-7", b"2.5", b'"s"', b'"a b"', b"{}", b"[]", b"[1,2]", b'[[1],{"k":"]"}]', b"null")
ODD_TEXTS = (
    b'{"!f":"nan"}',
    b'{"!f":"-inf"}',
    b'{"!dec":"1.10"}',
    b'{"!k":[[1,2]]}',
    b'["\\"],[",{"!f":"nan"},[[]]]',
    b'[ 1 , "a" ]',
    b'"\xc3\xa9\\u0000"',
    b"true",
    b"-0",
    b"0.1",
    b"1e308",
    b"5e-324",
    b"9007199254740993",
    b"9223372036854775807",
    b"-9223372036854775807",
    b"123456789012345678901234567890",
)
BY = (1, -3, 0.5, 2**53 + 1)
ODD_BY = (0.1, -1e308, 2**63 - 1, -(2**62), 1e-7)
NEW = random.SystemRandom().randrange(1000, 2**31)
SEEDS = [int(seed) for seed in os.environ.get("SESSILE_SEEDS", f"1 2 3 {NEW}").split()]
NO_VERSION = 2**52 + 7
"""What no session ever has."""


class Histories:
    """Makes steps; a step is a method's name and its arguments, for both engines alike."""

    def __init__(self, seed: int, bench: Bench) -> None:
        self.random = random.Random(seed)
        self.bench = bench
        self.keys = [bench.key() for _ in range(3)]
        self.users = ["", bench.user(), bench.user()]
        self.last: tuple[str, tuple[Any, ...], dict[str, Any]] | None = None

    def one(self, usual: tuple[Any, ...], odd: tuple[Any, ...]) -> Any:
        """Mostly one of the usual: so few that they meet each other."""
        return self.random.choice(odd if self.random.random() < 0.2 else usual)

    def path(self) -> bytes:
        length = self.random.choice((1, 1, 2, 2, 3))
        return b".".join(self.one(PARTS, ODD_PARTS) for _ in range(length))

    def leaf(self) -> bytes:
        stamp = self.random.choice((b"", b" 1", b" k7"))
        text: bytes = self.one(TEXTS, ODD_TEXTS)
        return text + stamp

    def some(self, most: int = 2) -> range:
        return range(self.random.randint(0, most))

    def leaves(self) -> dict[bytes, bytes]:
        return {self.path(): self.leaf() for _ in self.some(3)}

    def changes(self) -> Changes:
        rare = self.random.random() < 0.3
        roots = [b"" if self.random.random() < 0.2 else self.path() for _ in self.some()]
        by = self.one(BY, ODD_BY)
        trim = self.random.choice((None, 1, 2))
        text = self.one(TEXTS, ODD_TEXTS)
        return Changes(
            delete_trees=roots if rare else [],
            delete=[self.path() for _ in self.some()],
            set=self.leaves(),
            init=self.leaves() if rare else {},
            increment={self.path(): by} if self.random.random() < 0.3 else {},
            push=[Push(self.path(), text, trim)] if self.random.random() < 0.3 else [],
        )

    def options(self, *names: str) -> dict[str, Any]:
        choices: dict[str, tuple[Any, ...]] = {
            "user": (None, None, *self.users),
            "limit": (None, None, 1, 2) if self.bench.indexed else (None,),
            "grace": (0, 3000),
            "hard": (False, False, True),
            "token": (None, b"t%d" % self.random.randrange(10**9)),
            "expected": (None, None, None, "now", "now", "before", "none"),
        }
        return {name: self.random.choice(choices[name]) for name in names}

    def life(self) -> Life:
        number = self.random.choice
        return Life(idle=number((None, 0, 600)), maximum=number((None, None, 0, 900)))

    def step(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        """The next operation; at times the last one again, as after a lost reply."""
        again = self.last is not None and self.last[2].get("token") and self.random.random() < 0.3
        if not again:
            self.last = self.new()
        assert self.last is not None
        return self.last

    def new(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        key = self.random.choice(self.keys)
        name = self.random.choice(
            ["create", "save", "save", "save", "rotate", "rotate", "load", "touch", "end"]
        )
        if name == "create":
            fresh = self.random.choice((key, self.fresh()))
            return name, (fresh, self.plain(), self.life()), self.options("user", "limit", "token")
        if name == "save":
            return (
                name,
                (key, self.changes(), self.life()),
                self.options("user", "token", "expected"),
            )
        if name == "rotate":
            options = self.options("user", "limit", "grace", "hard", "token", "expected")
            options["create"] = self.random.choice((None, None, self.plain()))
            return name, (key, self.fresh(), self.changes(), self.life()), options
        if name == "load":
            return name, (key,), {"slide": self.random.random() < 0.5}
        if name == "end" and self.bench.indexed and self.random.random() < 0.3:
            keep = self.random.choice((None, key))
            return "end_all", (self.random.choice(self.users),), {"keep": keep}
        return name, (key,), {}

    def plain(self) -> dict[bytes, bytes]:
        """Leaves of a whole document, none above another."""
        return {part: self.leaf() for part in PARTS[: self.random.randint(0, 4)]}

    def fresh(self) -> bytes:
        key = self.bench.key()
        self.keys = [*self.keys[-7:], key]
        return key


class Versions:
    """What an engine says of a session's version, which others number otherwise."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.known: dict[bytes, list[int]] = {}
        self.meant: tuple[dict[str, Any], dict[str, Any]] | None = None

    def resolved(self, key: bytes, options: dict[str, Any]) -> dict[str, Any]:
        """The options with a number for the version; of a repeat, the number of the first."""
        if "expected" not in options or options["expected"] is None:
            return options
        if self.meant is None or self.meant[0] is not options:
            numbers = {"now": self.now(key), "before": self.before(key), "none": NO_VERSION}
            self.meant = options, {**options, "expected": numbers[options["expected"]]}
        return self.meant[1]

    def now(self, key: bytes) -> int:
        loaded = self.engine.load(key)
        return loaded.version if isinstance(loaded, Loaded) else NO_VERSION

    def before(self, key: bytes) -> int:
        """One that it had once and hasn't any more."""
        now = self.now(key)
        return next((one for one in self.known.get(key, []) if one != now), NO_VERSION)

    def note(self, key: bytes) -> None:
        """Remembers which version a session has."""
        now = self.now(key)
        seen = self.known.setdefault(key, [])
        if now not in seen:
            seen.append(now)


def answer(
    versions: Versions, name: str, arguments: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """What an engine answers, without versions and times."""
    engine = versions.engine
    if name in ("create", "save", "rotate"):
        versions.note(arguments[0])
        options = versions.resolved(arguments[0], options)
    try:
        told = getattr(engine, name)(*arguments, **options)
    except (DocumentError, SessionConflict) as error:
        return type(error)
    if isinstance(told, Loaded):
        return seen(told)
    if name in ("create", "save", "rotate"):
        return told is not None
    return told


def seen(told: Any) -> Any:
    if not isinstance(told, Loaded):
        return told
    times = told.idle_left is None, told.absolute_left is None
    return dict(told.fields), told.user, times


def state(engine: Any, history: Histories) -> Any:
    """All that can be seen of the sessions of a history."""
    sessions = {key: seen(engine.load(key)) for key in history.keys}
    users = history.users if history.bench.indexed else []
    users = {user: {row.key for row in engine.sessions_of(user)} for user in users}
    return sessions, users


@pytest.mark.parametrize("seed", SEEDS)
def test_merge_and_all_else_as_the_reference_does(bench: Bench, seed: int) -> None:
    reference = MemoryEngine(bench.now)
    history = Histories(seed, bench)
    ours, theirs = Versions(bench.engine), Versions(reference)
    for number in range(STEPS):
        name, arguments, options = history.step()
        # No two steps at one moment: a limit ends the oldest session.
        bench.forward(0.002)
        told = answer(ours, name, arguments, options)
        expected = answer(theirs, name, arguments, options)
        where = f"seed {seed}, step {number}: {name}{arguments} {options}"
        assert told == expected, where
        if name != "load":
            assert state(bench.engine, history) == state(reference, history), where
