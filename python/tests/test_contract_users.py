"""What every engine promises of rotation, grace, the index and limits; see test_contract.py."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sessile.contract import ROTATED, Changes, Life
from sessile.promises import Promise
from stores import FIELDS, Bench, together, unless_held_up

NONE = Changes()
FOREVER = Life()


# rotation


def test_rotation_moves_the_session_with_its_patch(bench: Bench) -> None:
    key, new = bench.session(Life(idle=100, maximum=1000)), bench.key()
    before = bench.engine.load(key)
    version = bench.engine.rotate(key, new, Changes(set={b"a": b"1"}), FOREVER, hard=True)
    after = bench.engine.load(new)
    assert after.version == version != before.version
    assert after.fields == {**FIELDS, b"a": b"1"}
    assert 90_000 < after.idle_left <= 101_000
    assert 990_000 < after.absolute_left <= 1_001_000


@pytest.mark.proves(Promise.TOMBSTONE)
@pytest.mark.parametrize(
    ("before", "options"),
    [
        ("", {"user": "ann", "grace": 30}),
        ("ann", {"user": "ann", "grace": 30}),
        ("ann", {"user": "bob", "grace": 30}),
        ("ann", {"user": "", "grace": 30}),
        ("ann", {"hard": True, "grace": 30}),
        ("", {"hard": True}),
    ],
    ids=["sign-in", "again", "other", "sign-out", "hard", "hard-anonymous"],
)
def test_rotation_leaves_a_tombstone(bench: Bench, before: str, options: dict[str, Any]) -> None:
    key, new = bench.session(user=before), bench.key()
    assert bench.engine.rotate(key, new, NONE, FOREVER, **options)
    assert bench.engine.load(key) is ROTATED
    assert bench.engine.load(key, slide=True) is ROTATED
    assert not bench.engine.exists(key)
    assert not bench.engine.touch(key)
    assert bench.engine.save(key, Changes(set={b"a": b"1"}), FOREVER) is None
    assert bench.engine.end(key) == 0
    assert bench.engine.rotate(key, bench.key(), NONE, FOREVER) is None
    assert bench.fields(new) == FIELDS
    assert bench.engine.load(new).user == options.get("user", before)


def test_rotation_without_grace_ends_the_old_key(bench: Bench) -> None:
    key, new = bench.session(), bench.key()
    assert bench.engine.rotate(key, new, NONE, FOREVER)
    assert not bench.engine.exists(key)
    assert bench.engine.save(key, NONE, FOREVER) is None


def test_rotation_of_an_absent_key_is_nothing(bench: Bench) -> None:
    new = bench.key()
    assert bench.engine.rotate(bench.key(), new, NONE, FOREVER) is None
    assert not bench.engine.exists(new)


def test_rotation_can_create_instead(bench: Bench) -> None:
    new, user = bench.key(), bench.user()
    fallback = {b"_auth": b'"7"'}
    changes = Changes(set={b"patch": b"1"})
    version = bench.engine.rotate(
        bench.key(), new, changes, Life(idle=60), user=user, create=fallback
    )
    loaded = bench.engine.load(new)
    assert (loaded.version, loaded.fields, loaded.user) == (version, fallback, user)
    assert loaded.idle_left is not None


def test_rotation_twice_at_one_moment_signs_in_both(bench: Bench) -> None:
    """A double-clicked sign-in: one session moves, the other is made from what was sent."""
    for _ in range(5):
        key, user = bench.session(), bench.user()
        news = [bench.key() for _ in range(4)]

        def work(number: int, key: bytes = key, user: str = user, news: Any = news) -> Any:
            fallback = {b"made": b"1"}
            return bench.engine.rotate(key, news[number], NONE, FOREVER, user=user, create=fallback)

        assert all(together(4, work))
        moved = [b"made" not in bench.fields(new) for new in news]
        assert sum(moved) == 1
        assert bench.lists(user, *news)


@pytest.mark.proves(Promise.ROTATION)
def test_rotation_is_one_step(bench: Bench) -> None:
    """Whoever looks at both keys while one becomes the other finds the session every time."""
    keys = [bench.session()] + [bench.key() for _ in range(20)]
    done = threading.Event()
    missed = []

    def look() -> None:
        while not done.is_set():
            # The old one first: what has left it by then must be under a later key.
            if not any(bench.engine.exists(key) for key in keys):
                missed.append(1)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for old, new in itertools.pairwise(keys):
            assert bench.engine.rotate(old, new, NONE, FOREVER, hard=True)
    finally:
        done.set()
        watcher.join()
    assert not missed


def test_rotation_does_not_overwrite(bench: Bench) -> None:
    key, there = bench.session(), bench.session()
    bench.engine.save(there, Changes(set={b"mine": b"1"}), FOREVER)
    assert bench.engine.rotate(key, there, NONE, FOREVER, hard=True) is None
    assert b"mine" in bench.fields(there)
    assert bench.engine.exists(key)


# grace


@pytest.mark.proves(Promise.GRACE)
def test_grace_leaves_an_alias(bench: Bench) -> None:
    key, new = bench.session(user="ann"), bench.key()
    assert bench.engine.rotate(key, new, NONE, FOREVER, grace=30)
    assert bench.fields(key) == FIELDS
    assert bench.engine.load(key, slide=True).user == "ann"
    assert bench.engine.exists(key)
    assert bench.engine.touch(key)
    version = bench.engine.save(key, Changes(set={b"late": b"1"}), FOREVER)
    assert bench.engine.load(new).version == version
    assert bench.fields(new)[b"late"] == b"1"


def test_grace_refuses_another_rotation_of_the_old_key(bench: Bench) -> None:
    key, new = bench.session(), bench.key()
    bench.engine.rotate(key, new, NONE, FOREVER, grace=30)
    other = bench.key()
    assert bench.engine.rotate(key, other, NONE, FOREVER, user="eve", create=FIELDS) is None
    assert not bench.engine.exists(other)
    assert bench.engine.exists(new)


def test_grace_ends_with_the_session(bench: Bench) -> None:
    key, new = bench.session(), bench.key()
    bench.engine.rotate(key, new, NONE, FOREVER, grace=30)
    bench.engine.end(new)
    assert bench.engine.load(key) is None
    assert bench.engine.save(key, NONE, FOREVER) is None


def test_grace_end_of_the_old_key_ends_the_session(bench: Bench) -> None:
    key, new = bench.session(), bench.key()
    bench.engine.rotate(key, new, NONE, FOREVER, grace=30)
    assert bench.engine.end(key) == 1
    assert not bench.engine.exists(new)
    assert not bench.engine.exists(key)


def test_grace_never_opens_a_session_that_signed_in(bench: Bench) -> None:
    key, anonymous, signed_in = bench.session(), bench.key(), bench.key()
    bench.engine.rotate(key, anonymous, NONE, FOREVER, grace=30)
    bench.engine.rotate(anonymous, signed_in, NONE, FOREVER, user="ann", grace=30)
    assert not bench.engine.load(key) or bench.engine.load(key) is ROTATED
    assert bench.engine.save(key, Changes(set={b"a": b"1"}), FOREVER) is None
    assert bench.engine.end(key) == 0
    other, later = bench.session(), bench.key()
    bench.engine.rotate(other, later, NONE, FOREVER, grace=30)
    bench.engine.save(later, NONE, FOREVER, user="ann")
    assert not bench.engine.load(other) or bench.engine.load(other) is ROTATED
    assert not bench.engine.exists(other)


@unless_held_up(0.8)
def test_grace_is_over_after_its_time(bench: Bench) -> None:
    key, new = bench.session(), bench.key()
    bench.engine.rotate(key, new, NONE, FOREVER, grace=1)
    assert bench.engine.exists(key)
    bench.forward(1.1)
    assert not bench.engine.exists(key)
    assert bench.engine.exists(new)


# the user's sessions


def test_index_lists_live_sessions(bench: Bench) -> None:
    user = bench.user()
    began = bench.now() - 1
    keys = []
    for _ in range(3):
        keys.append(bench.session(user=user))
        bench.forward(0.01)
    bench.session(user=bench.user())
    listed = bench.engine.sessions_of(user, [b"name", b"absent"])
    assert [row.key for row in listed] == keys[::-1]
    assert all(row.fields == {b"name": FIELDS[b"name"]} for row in listed)
    assert all(began <= row.created <= row.last_seen <= bench.now() + 1 for row in listed)
    assert bench.engine.sessions_of(user)[0].fields == {}
    assert bench.engine.sessions_of(bench.user()) == []
    assert bench.engine.sessions_of("") == []


def test_index_tells_when_a_session_was_last_seen(bench: Bench) -> None:
    for life in (FOREVER, Life(idle=60), Life(idle=60, maximum=30)):
        user = bench.user()
        key = bench.session(life, user=user)
        first = bench.engine.sessions_of(user)[0].last_seen
        bench.forward(0.05)
        bench.engine.touch(key)
        assert bench.engine.sessions_of(user)[0].last_seen >= first + 40
        bench.forward(0.05)
        bench.engine.save(key, NONE, FOREVER)
        assert bench.engine.sessions_of(user)[0].last_seen >= first + 80


def test_index_forgets_what_ended(bench: Bench) -> None:
    user = bench.user()
    ended, left, moved, stays = (bench.session(Life(idle=60), user=user) for _ in range(4))
    expired = bench.session(Life(expires_at=bench.now() + 300), user=user)
    bench.engine.end(ended)
    bench.engine.save(left, NONE, FOREVER, user="")
    new = bench.key()
    bench.engine.rotate(moved, new, NONE, FOREVER, hard=True)
    bench.forward(0.4)
    assert {row.key for row in bench.engine.sessions_of(user)} == {new, stays}
    assert not bench.engine.exists(expired)


def test_index_follows_the_user(bench: Bench) -> None:
    ann, bob = bench.user(), bench.user()
    key, new = bench.session(), bench.key()
    bench.engine.save(key, NONE, FOREVER, user=ann)
    assert [row.key for row in bench.engine.sessions_of(ann)] == [key]
    bench.engine.rotate(key, new, NONE, FOREVER, user=bob)
    assert bench.engine.sessions_of(ann) == []
    assert [row.key for row in bench.engine.sessions_of(bob)] == [new]


@pytest.mark.proves(Promise.INDEX)
def test_index_end_all(bench: Bench) -> None:
    user, other = bench.user(), bench.user()
    keys = [bench.session(user=user) for _ in range(4)]
    bystander = bench.session(user=other)
    assert bench.engine.end_all(user, keep=keys[2]) == 3
    assert [row.key for row in bench.engine.sessions_of(user)] == [keys[2]]
    assert bench.engine.end_all(user) == 1
    assert bench.engine.end_all(user) == 0
    assert [bench.engine.exists(key) for key in keys] == [False] * 4
    assert bench.engine.exists(bystander)


def test_index_end_all_keeps_what_an_alias_stands_for(bench: Bench) -> None:
    user, new = bench.user(), bench.key()
    key, other = bench.session(user=user), bench.session(user=user)
    bench.engine.rotate(key, new, NONE, FOREVER, grace=30)
    assert bench.engine.end_all(user, keep=key) == 1
    assert bench.engine.exists(new)
    assert not bench.engine.exists(other)


def test_index_no_session_escapes_by_rotating(bench: Bench) -> None:
    user = bench.user()
    old = [bench.session(user=user) for _ in range(6)]
    for _ in range(5):

        def work(number: int, old: list[bytes] = old) -> list[bytes]:
            if number == 6:
                bench.engine.end_all(user)
                return []
            keys = [old[number]]
            for _ in range(4):
                new = bench.key()
                if bench.engine.rotate(keys[-1], new, NONE, FOREVER, grace=number % 2 * 9):
                    keys.append(new)
            return keys

        everything = list(itertools.chain.from_iterable(together(7, work)))
        assert [key for key in everything if bench.engine.exists(key)] == []
        assert bench.engine.sessions_of(user) == []
        old = [bench.session(user=user) for _ in range(6)]


def test_limit_ends_the_oldest(bench: Bench) -> None:
    user, keys = bench.user(), []
    for _ in range(4):
        keys.append(bench.session(user=user, limit=3))
        bench.forward(0.01)
    assert [bench.engine.exists(key) for key in keys] == [False, True, True, True]
    anonymous, new = bench.session(), bench.key()
    bench.forward(0.01)
    assert bench.engine.rotate(anonymous, new, NONE, FOREVER, user=user, limit=2)
    assert [row.key for row in bench.engine.sessions_of(user)] == [new, keys[3]]


def test_limit_counts_live_sessions_only(bench: Bench) -> None:
    user = bench.user()
    keep = bench.session(user=user)
    soon = Life(expires_at=bench.now() + 300)
    dead = [bench.session(soon, user=user) for _ in range(3)]
    bench.engine.end(dead[0])
    bench.forward(0.4)
    bench.session(user=user, limit=2)
    assert bench.engine.exists(keep)


def test_limit_is_met_by_a_rotation_within_the_user(bench: Bench) -> None:
    user, new = bench.user(), bench.key()
    other, key = bench.session(user=user), bench.session(user=user)
    bench.engine.rotate(key, new, NONE, FOREVER, user=user, limit=2)
    assert {row.key for row in bench.engine.sessions_of(user)} == {other, new}


@pytest.mark.proves(Promise.LIMIT)
def test_limit_holds_for_a_hundred_parallel_sign_ins(bench: Bench) -> None:
    user = bench.user()
    keys = [bench.key() for _ in range(100)]
    anonymous = [bench.session() for _ in range(50)]

    def work(number: int) -> Any:
        new = keys[number]
        if number % 2:
            return bench.engine.create(new, FIELDS, FOREVER, user=user, limit=3)
        old = anonymous[number // 2]
        return bench.engine.rotate(old, new, NONE, FOREVER, user=user, limit=3)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(work, range(100)))
    assert None not in answers
    live = {key for key in keys if bench.engine.exists(key)}
    assert len(live) == 3
    assert {row.key for row in bench.engine.sessions_of(user)} == live
