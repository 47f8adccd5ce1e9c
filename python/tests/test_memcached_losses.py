"""Requests on one session of memcached, in any order, with replies that get lost.

The engine's plans run over a server in memory: which of them goes on is drawn at each request, and
now and then a reply is lost and the request sent again, as `sessile.pool` does it. Whatever the
order: who was signed out stays so, there is one session at most, and no change is lost that was
answered. ROUNDS=20000 makes it longer; SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from fake_memcached import Server
from sessile import memcached_value
from sessile.contract import Changes, Life, Loaded
from sessile.memcached import Ask, Plans
from sessile.memcached_wire import Answer
from sessile.rules import Record

ROUNDS = int(os.environ.get("ROUNDS", 1_000))
SEED = int(os.environ.get("SEED", 0)) or time.time_ns() % 1_000_000
LOST = 0.08
KEY = b"first"
LIFE = Life(idle=1000)
Work = Generator[Ask, Answer, None]


@dataclass
class Round:
    """One session, and what was answered to those who used it."""

    draw: random.Random
    server: Server = field(default_factory=Server)
    plans: Plans = field(default_factory=Plans)
    saved: int = 0
    renewed: list[bytes] = field(default_factory=list)
    end_asked: bool = False
    ended: bool = False

    def run(self) -> None:
        self.go([self.plans.create(KEY, {b"n": b"0 0"}, LIFE, "", None, None)], 0)
        self.go([self.request(number) for number in range(self.draw.randint(2, 5))], LOST)
        values = [memcached_value.unpack(value) for value, _ in self.server.values.values()]
        live = [entry for entry in values if isinstance(entry, Record)]
        assert len(live) <= 1, "one session has become two"
        assert not (self.ended and live), "who was signed out is signed in again"
        assert live or self.end_asked, "nobody ended it"
        assert all(int(entry.fields[b"n"].split()[0]) >= self.saved for entry in live), "lost"
        if live and self.renewed:
            assert any(b"renewed" in entry.fields for entry in live), "a rotation is lost"

    def go(self, works: list[Any], lost: float) -> None:
        """Lets them go on by turns until all are done."""
        turns: list[tuple[Any, Answer | None]] = [(work, None) for work in works]
        while turns:
            work, answer = turns.pop(self.draw.randrange(len(turns)))
            try:
                ask = work.send(answer)
            except StopIteration:
                continue
            answer = self.server.answer(ask.data)
            if self.draw.random() < lost:
                answer = self.server.answer(ask.data)
            turns.append((work, answer))

    def request(self, number: int) -> Work:
        """Loads the session, then changes, renews or ends it."""
        loaded = yield from self.plans.load(KEY, self.draw.random() < 0.5)
        if not isinstance(loaded, Loaded):
            return
        kind, held = self.draw.random(), loaded.held
        if kind < 0.5:
            changes = Changes(increment={b"n": 1}, held=held)
            answer = yield from self.plans.save(KEY, changes, LIFE, None, None, None)
            self.saved += answer is not None
        elif kind < 0.75:
            new, grace = b"new%d" % number, self.draw.choice([0, 30])
            changes = Changes(set={b"renewed": b"1 1"}, held=held)
            answer = yield from self.plans.rotate(
                KEY, new, changes, LIFE, None, None, None, grace, grace == 0, None, None
            )
            self.renewed += [new] if answer is not None else []
        elif kind < 0.9:
            self.end_asked = True
            self.ended = bool((yield from self.plans.end([KEY], held))) or self.ended
        else:
            yield from self.plans.touch(KEY)


def test_whatever_the_order_and_whatever_is_lost() -> None:
    for seed in range(SEED, SEED + ROUNDS):
        try:
            Round(random.Random(seed)).run()
        except AssertionError as error:
            raise AssertionError(f"{error}; SEED={seed} ROUNDS=1 repeats it") from error
