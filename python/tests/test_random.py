"""Random histories: every engine answers what the reference answers, patch by patch.

The scripts for Redis, the server and the rules share no code. A history is made from a seed,
which a failure prints; it's run against the engine and against `memory:`, and after each step
the answers and all sessions are the same.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from sessile.contract import Changes, Life, Loaded, Push
from sessile.errors import DocumentError, SessionConflict
from sessile.memory import MemoryEngine
from stores import Bench, MovedClock

STEPS = 150
PARTS = (b"a", b"b", b"c", b"\\.d", b"x\\\\", b"")
TEXTS = (b"1", b"-7", b"2.5", b'"s"', b'"a b"', b"{}", b"[]", b"[1,2]", b'[[1],{"k":"]"}]', b"null")
SEEDS = [int(seed) for seed in os.environ.get("SESSILE_SEEDS", "1 2 3 4").split()]


class Histories:
    """Makes steps; a step is a method's name and its arguments, for both engines alike."""

    def __init__(self, seed: int, bench: Bench) -> None:
        self.random = random.Random(seed)
        self.bench = bench
        self.keys = [bench.key() for _ in range(3)]
        self.users = ["", bench.user(), bench.user()]
        self.last: tuple[str, tuple[Any, ...], dict[str, Any]] | None = None

    def path(self) -> bytes:
        return b".".join(self.random.choices(PARTS, k=self.random.choice((1, 1, 2, 2, 3))))

    def leaf(self) -> bytes:
        stamp = self.random.choice((b"", b" 1", b" k7"))
        return self.random.choice(TEXTS) + stamp

    def some(self, most: int = 2) -> range:
        return range(self.random.randint(0, most))

    def leaves(self) -> dict[bytes, bytes]:
        return {self.path(): self.leaf() for _ in self.some(3)}

    def changes(self) -> Changes:
        rare = self.random.random() < 0.3
        roots = [b"" if self.random.random() < 0.2 else self.path() for _ in self.some()]
        by = self.random.choice((1, -3, 0.5, 2**53 + 1))
        trim = self.random.choice((None, 1, 2))
        text = self.random.choice(TEXTS)
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
            "grace": (0, 30),
            "hard": (False, False, True),
            "token": (None, b"t%d" % self.random.randrange(10**9)),
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
            return name, (key, self.changes(), self.life()), self.options("user", "token")
        if name == "rotate":
            options = self.options("user", "limit", "grace", "hard", "token")
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


def answer(engine: Any, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What an engine answers, without versions and times."""
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
    clock = MovedClock()
    reference = MemoryEngine(clock)
    history = Histories(seed, bench)
    for number in range(STEPS):
        name, arguments, options = history.step()
        # No two steps at one moment: a limit ends the oldest session.
        bench.forward(0.002)
        clock.forward(0.002)
        told = answer(bench.engine, name, arguments, options)
        expected = answer(reference, name, arguments, options)
        where = f"seed {seed}, step {number}: {name}{arguments} {options}"
        assert told == expected, where
        if name != "load":
            assert state(bench.engine, history) == state(reference, history), where
