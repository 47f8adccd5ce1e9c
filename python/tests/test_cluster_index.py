"""The index of users in a cluster, which is on other shards than the sessions: whatever is cut off,
and whoever changes a session at the same moment, a live session is listed and ended with the
others, and left-overs go when they are old.

A crash is a plan that stops before or after one of its exchanges; nothing of it runs any more.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from fleets import ClusterFleet
from sessile import redis_cluster
from sessile.contract import Changes, Life, Loaded
from sessile.errors import SessionUnavailable
from sessile.redis import RedisEngine
from sessile.redis_ask import Ask, Plan
from sessile.redis_conduct import conduct
from sessile.redis_url import settings
from sessile.urls import parse
from stores import FIELDS, World, tag, together

FOREVER = Life()
NONE = Changes()
STEPS_MAX = 40


class Crash(Exception):
    """The process is no more."""


class Crashing(RedisEngine):
    """Stops before or after a chosen exchange of its next plan, and tells others of each one."""

    crash: tuple[int, str] | None = None
    overheard: Callable[[Ask], object] | None = None

    def _run(self, plan: Plan[Any]) -> Any:
        return self._pools.run(conduct(self.cut(plan), self._topology, self._timeout))

    def cut(self, plan: Plan[Any]) -> Plan[Any]:
        crash, self.crash = self.crash, None
        answer: Any = None
        for step in range(1, 10_000):
            try:
                ask = plan.send(answer)
            except StopIteration as done:
                return done.value
            if crash == (step, "before"):
                raise Crash
            if self.overheard is not None:
                self.overheard(ask)
            answer = yield ask
            if crash == (step, "after"):
                raise Crash
        raise AssertionError("a plan without end")


class Shop:
    """Sessions of one user in a cluster, and what a test knows of them."""

    def __init__(self, url: str) -> None:
        given = settings(parse(url))
        self.tag = tag()
        self.dying, self.engine = Crashing(given), RedisEngine(given)
        self.begin()

    def begin(self) -> None:
        """Another user, with no sessions."""
        self.user, self.other = (f"test:{secrets.token_hex(8)}" for _ in range(2))
        self.keys: list[bytes] = []

    def key(self) -> bytes:
        """A new one. All have one shard, as an id keeps its own; the index is anywhere."""
        self.keys.append(f"t:{{{self.tag}}}{secrets.token_hex(32)}".encode())
        return self.keys[-1]

    def session(self, user: str = "") -> bytes:
        key = self.key()
        assert self.engine.create(key, FIELDS, FOREVER, user=user or self.user)
        return key

    def live(self) -> set[bytes]:
        """The user's sessions, asked for one by one; a key that leads to another isn't one."""
        found = [(key, self.engine.load(key)) for key in self.keys]
        held = [key for key, one in found if isinstance(one, Loaded) and one.user == self.user]
        aliases = {key for key in held if self.run(self.engine._plans.target_of(key)) != key}
        return set(held) - aliases

    def listed(self) -> set[bytes]:
        return {row.key for row in self.engine.sessions_of(self.user)}

    def entries(self) -> dict[bytes, bytes]:
        """What the index says, left-overs and all."""
        return dict(self.run(self.engine._plans.entries(self.user)))

    def both(self) -> Iterator[str]:
        """Both users, each of them the one asked for."""
        for _ in range(2):
            yield self.user
            self.user, self.other = self.other, self.user

    def run(self, plan: Plan[Any]) -> Any:
        return self.engine._run(plan)

    def close(self) -> None:
        self.dying.close()
        self.engine.close()


@pytest.fixture
def shop(world: World) -> Iterator[Shop]:
    shop = Shop(world.fleet(ClusterFleet).url)
    yield shop
    shop.close()


def create(shop: Shop) -> None:
    shop.dying.create(shop.key(), FIELDS, FOREVER, user=shop.user)


def create_with_limit(shop: Shop) -> None:
    shop.dying.create(shop.key(), FIELDS, FOREVER, user=shop.user, limit=2)


def save_with_user(shop: Shop) -> None:
    shop.dying.save(shop.session("stranger"), NONE, FOREVER, user=shop.user)


def save_as_another(shop: Shop) -> None:
    shop.dying.save(shop.session(), NONE, FOREVER, user=shop.other)


def renew(shop: Shop) -> None:
    shop.dying.rotate(shop.session(), shop.key(), NONE, FOREVER)


def renew_with_grace(shop: Shop) -> None:
    shop.dying.rotate(shop.session(), shop.key(), NONE, FOREVER, grace=30)


def sign_in(shop: Shop) -> None:
    old = shop.session("stranger")
    shop.dying.rotate(old, shop.key(), NONE, FOREVER, user=shop.user, limit=2)


def sign_in_as_another(shop: Shop) -> None:
    shop.dying.rotate(shop.session(), shop.key(), NONE, FOREVER, user=shop.other)


def end(shop: Shop) -> None:
    shop.dying.end(shop.session())


def end_renewed(shop: Shop) -> None:
    old = shop.session()
    shop.engine.rotate(old, shop.key(), NONE, FOREVER, grace=30)
    shop.dying.end(old)


def end_all(shop: Shop) -> None:
    shop.dying.end_all(shop.user)


OPERATIONS = [
    create,
    create_with_limit,
    save_with_user,
    save_as_another,
    renew,
    renew_with_grace,
    sign_in,
    sign_in_as_another,
    end,
    end_renewed,
    end_all,
]


@pytest.mark.parametrize("work", OPERATIONS)
def test_a_crash_anywhere_leaves_no_session_unlisted(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, work: Callable[[Shop], None]
) -> None:
    for step, when in itertools.product(range(1, STEPS_MAX), ("before", "after")):
        shop.begin()
        for _ in range(2):
            shop.session()
        shop.dying.crash = step, when
        try:
            work(shop)
        except Crash:
            pass
        else:
            assert step > 1, "it was never cut off"
            break
        where = f"{work.__name__}, {when} exchange {step}"
        live = shop.live()
        assert shop.entries().keys() >= live, where
        assert shop.listed() == live, where
        kept = min(live) if live else None
        assert shop.engine.end_all(shop.user, keep=kept) == len(live - {kept}), where
        assert shop.live() == shop.listed() == live & {kept}, where
        assert shop.engine.end_all(shop.user) == (kept is not None), where
        assert shop.live() == shop.listed() == set(), where
        # What the crash left over may be about to be made, and goes a minute later.
        with monkeypatch.context() as later:
            later.setattr(redis_cluster, "YOUNG_MS", -60_000)
            shop.engine.sessions_of(shop.user)
        assert shop.entries() == {}, where
    else:
        raise AssertionError("it never came to its end")


CHANGES: dict[str, Callable[[Shop, bytes], Plan[Any]]] = {
    "to another": lambda shop, key: saved(shop, key, shop.other),
    "back": lambda shop, key: saved(shop, key, shop.user),
    "to nobody": lambda shop, key: saved(shop, key, ""),
    "renew": lambda shop, key: rotated(shop, key, None, 30),
    "sign in": lambda shop, key: rotated(shop, key, shop.other, 0),
}
"""What may be done to one session at the same moment."""
PAIRS = list(itertools.combinations_with_replacement(CHANGES, 2))


def saved(shop: Shop, key: bytes, user: str) -> Plan[Any]:
    return shop.engine._plans.save(key, NONE, FOREVER, None, user, None)


def rotated(shop: Shop, key: bytes, user: str | None, grace: int) -> Plan[Any]:
    return shop.engine._plans.rotate(
        key, shop.key(), NONE, FOREVER, None, user, None, grace, False, None, None
    )


def asked_once(ask: Ask) -> Plan[Any]:
    return (yield ask)


def take_turns(shop: Shop, plans: list[Plan[Any]], turns: Sequence[int]) -> Iterator[int]:
    """Carries out plans exchange by exchange: first in the order of `turns`, then to their ends."""
    asks: list[Ask | None] = [next(plan) for plan in plans]
    for turn in [*turns, *([0] * STEPS_MAX), *([1] * STEPS_MAX)]:
        ask = asks[turn]
        if ask is not None:
            try:
                asks[turn] = plans[turn].send(shop.run(asked_once(ask)))
            except StopIteration:
                asks[turn] = None
            yield turn
    assert asks == [None, None]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=[", ".join(pair) for pair in PAIRS])
def test_two_changes_at_once_leave_the_session_listed(shop: Shop, first: str, second: str) -> None:
    """In whatever order their exchanges come, whoever has it at last can list and end it."""
    for turns in itertools.product((0, 1), repeat=5):
        shop.begin()
        key = shop.session()
        plans = [CHANGES[name](shop, key) for name in (first, second)]
        for _ in take_turns(shop, plans, turns):
            for user in shop.both():
                assert shop.entries().keys() >= shop.live(), (user, turns)
        for user in shop.both():
            live = shop.live()
            assert shop.listed() == live, (user, turns)
            assert shop.engine.end_all(user) == len(live), (user, turns)


def test_an_entry_of_a_session_about_to_be_made_stays(shop: Shop) -> None:
    shop.dying.ping()  # from here on it knows the store's time
    shop.dying.crash = (1, "after")
    key = shop.key()
    with pytest.raises(Crash):
        shop.dying.create(key, FIELDS, FOREVER, user=shop.user)
    assert shop.listed() == set() and shop.entries().keys() == {key}
    assert shop.engine.end_all(shop.user) == 0
    assert shop.entries().keys() == {key}


@pytest.mark.parametrize("who", ["list", "end_all"])
def test_a_left_over_that_comes_back_to_life_is_not_forgotten(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """Between the look at an old entry and its removal, the session signs in again."""
    monkeypatch.setattr(redis_cluster, "YOUNG_MS", -60_000)
    key = shop.session("stranger")
    shop.run(shop.engine._plans.join(shop.user, key))
    seen: list[Ask] = []

    def overheard(ask: Ask) -> None:
        seen.append(ask)
        if len(seen) == 3:  # the index was read, then the session; now its entry would go
            assert shop.engine.save(key, NONE, FOREVER, user=shop.user)

    shop.dying.overheard = overheard
    if who == "list":
        assert shop.dying.sessions_of(shop.user) == []
        assert shop.listed() == {key}
    else:
        assert shop.dying.end_all(shop.user) == 1
        assert shop.live() == set()
    assert len(seen) >= 3


def test_all_end_however_fast_new_ones_come(shop: Shop) -> None:
    """Each time that the index is read there is one more session: it began later, and may stay."""
    before = [shop.session() for _ in range(5)]
    index = shop.engine._plans.index(shop.user)

    def overheard(ask: Ask) -> None:
        if ask.commands == (("HGETALL", index),):
            shop.session()

    shop.dying.overheard = overheard
    assert shop.dying.end_all(shop.user) >= len(before)
    assert not shop.live() & set(before)
    assert shop.listed() == shop.live()


@pytest.mark.parametrize("grace", [0, 1])
def test_none_escapes_by_moving_on_while_it_is_looked_for(shop: Shop, grace: int) -> None:
    """It moves on between the reading of the index and its turn, and its old key is forgotten."""
    first, new = shop.session(), shop.key()
    moved: list[Ask] = []

    def overheard(ask: Ask) -> None:
        if first in ask.commands[0] and not moved:
            moved.append(ask)
            assert shop.engine.rotate(first, new, NONE, FOREVER, grace=grace)
            shop.run(forgotten(first))

    shop.dying.overheard = overheard
    assert shop.dying.end_all(shop.user) == 1
    assert moved and shop.live() == set()


def forgotten(key: bytes) -> Plan[None]:
    """As when the time of a tombstone or alias is over."""
    yield Ask((("DEL", key),), key)


def test_an_entry_is_confirmed_before_its_session_is_made(world: World) -> None:
    """With `wait=1`: a fail-over of the index's shard must not leave a session without entry."""
    shop = Shop(world.fleet(ClusterFleet).url + "?wait=1")
    index = shop.dying._plans.index(shop.user)
    asked: list[Ask] = []
    shop.dying.overheard = asked.append
    first, new = shop.key(), shop.key()
    assert shop.dying.create(first, FIELDS, FOREVER, user=shop.user)
    assert shop.dying.rotate(first, new, NONE, FOREVER)
    joins = [ask for ask in asked if ask.commands[0][:2] == ("HSET", index)]
    assert [ask.commands[0][2] for ask in joins] == [first, new]
    assert all(ask.commands[1][:2] == ("WAIT", 1) for ask in joins)
    # More than there are: the session isn't even begun.
    shop.dying._plans.shape = replace(shop.dying._plans.shape, replicas=2, patience=50)
    with pytest.raises(SessionUnavailable):
        shop.dying.create(shop.key(), FIELDS, FOREVER, user=shop.user)
    assert shop.listed() == shop.live() == {new}
    shop.close()


def test_times_in_the_index_are_the_stores(shop: Shop) -> None:
    """An app's machine may be wrong about the time; its entries must not look old to others."""

    hour = 3_600_000
    # Also the very first one, for which nothing was connected yet.
    clock = shop.dying._plans.clock
    assert not clock.asked
    clock._ahead -= hour
    before = time.time_ns() // 1_000_000
    keys = [shop.key() for _ in range(2)]
    for key in keys:
        assert shop.dying.create(key, FIELDS, FOREVER, user=shop.user)
    after = time.time_ns() // 1_000_000
    for key in keys:
        # The store's clock and this machine's are the same one, but for what the clocks drift.
        assert before - 1000 <= int(shop.entries()[key]) <= after + 1000


def test_only_the_first_entry_asks_for_the_time(shop: Shop) -> None:
    asked: list[Ask] = []
    shop.dying.overheard = asked.append
    for _ in range(3):
        shop.dying.create(shop.key(), FIELDS, FOREVER, user=shop.user)
    assert [ask.commands[0][0] for ask in asked].count("TIME") == 1
    assert asked[0].commands == (("TIME",),)


def test_users_who_sign_in_and_out_everywhere_at_once(shop: Shop) -> None:
    """Sign-ins, renewals and sign-outs everywhere, at once: what is there in the end is listed."""

    def work(number: int) -> list[bytes]:
        keys = []
        for turn in range(12):
            key = shop.key()
            shop.engine.create(key, FIELDS, FOREVER, user=shop.user)
            if turn % 3 == 1:
                new = shop.key()
                shop.engine.rotate(key, new, NONE, FOREVER)
            elif turn % 6 == number % 6:
                shop.engine.end_all(shop.user)
        return keys

    together(4, work)
    assert shop.listed() == shop.live()
    shop.engine.end_all(shop.user)
    assert shop.listed() == shop.live() == set()
