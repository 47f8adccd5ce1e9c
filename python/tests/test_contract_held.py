"""What an engine gave with a session comes back with changes and ends (`Loaded.held`), be it as
old as it may: it spares an engine reading, and decides nothing."""

from __future__ import annotations

from typing import Any

import pytest

from sessile.contract import ROTATED, Changes, Life, Push
from sessile.errors import DocumentError, SessionConflict
from stores import FIELDS, Bench, together

FOREVER = Life()
OTHERS = Changes(set={b"others": b"1 1"})


def held(bench: Bench, key: bytes) -> Any:
    """What a request has in hand once it has loaded a session."""
    return bench.engine.load(key).held


def test_held_and_nobody_else_came(bench: Bench) -> None:
    key, new = bench.session(), bench.key()
    known = held(bench, key)
    assert bench.engine.save(key, Changes(set={b"a": b"1 1"}, held=known), FOREVER)
    known = held(bench, key)
    assert bench.engine.rotate(key, new, Changes(held=known), FOREVER, user="ann")
    assert bench.engine.load(key) is ROTATED
    assert bench.fields(new) == {**FIELDS, b"a": b"1 1"}
    assert bench.engine.end(new, held=held(bench, new)) == 1
    assert bench.engine.load(new) is None


def test_held_while_others_wrote_loses_nothing(bench: Bench) -> None:
    key, new = bench.session(), bench.key()
    known = held(bench, key)
    for turn in range(3):
        more = Changes(set={b"others%d" % turn: b"1 1"})
        assert bench.engine.save(key, more, FOREVER)
        mine = Changes(increment={b"n": 1}, push=[Push(b"l", b"7")], held=known)
        assert bench.engine.save(key, mine, FOREVER)
    assert bench.engine.save(key, OTHERS, FOREVER)
    assert bench.engine.rotate(key, new, Changes(held=known), FOREVER, user="ann")
    found = bench.fields(new)
    assert (found[b"n"], found[b"l"]) == (b"3", b"[7,7,7]")
    assert {b"others", b"others0", b"others1", b"others2"} <= set(found)


def test_held_of_many_at_one_moment_loses_nothing(bench: Bench) -> None:
    key = bench.session()
    known = held(bench, key)

    def work(number: int) -> Any:
        changes = Changes(set={b"k%d" % number: b"1 1"}, increment={b"n": 1}, held=known)
        return bench.engine.save(key, changes, FOREVER)

    assert all(together(6, work))
    found = bench.fields(key)
    assert found[b"n"] == b"6" and {b"k%d" % number for number in range(6)} <= set(found)


def test_held_of_a_session_that_ended_revives_nothing(bench: Bench) -> None:
    key, new = bench.session(), bench.key()
    known = held(bench, key)
    assert bench.engine.end(key) == 1
    assert bench.engine.save(key, Changes(set={b"a": b"1"}, held=known), FOREVER) is None
    assert bench.engine.rotate(key, new, Changes(held=known), FOREVER, user="ann") is None
    assert bench.engine.end(key, held=known) == 0
    assert bench.engine.load(key) is None and bench.engine.load(new) is None


def test_held_of_a_session_with_another_id_is_of_no_use(bench: Bench) -> None:
    key, new, third = bench.session(), bench.key(), bench.key()
    known = held(bench, key)
    assert bench.engine.rotate(key, new, Changes(), FOREVER, user="ann")
    assert bench.engine.save(key, Changes(set={b"a": b"1"}, held=known), FOREVER) is None
    assert bench.engine.save(key, Changes(held=known), FOREVER) is None, "nor is it used"
    assert bench.engine.rotate(key, third, Changes(held=known), FOREVER, user="eve") is None
    assert bench.engine.end(key, held=known) == 0
    assert bench.engine.load(key) is ROTATED and bench.engine.load(third) is None
    assert bench.fields(new) == FIELDS


def test_held_under_an_id_that_stands_for_another(bench: Bench) -> None:
    key, new = bench.session(), bench.key()
    assert bench.engine.rotate(key, new, Changes(), FOREVER, grace=30)
    known = held(bench, key)
    assert bench.engine.save(key, Changes(set={b"a": b"1 1"}, held=known), FOREVER)
    assert bench.fields(new)[b"a"] == b"1 1"
    assert bench.engine.end(key, held=held(bench, key)) == 1
    assert bench.engine.load(new) is None and not bench.engine.exists(key)


@pytest.mark.parametrize("faster", [OTHERS, Changes(set={b"n": b'"text" 1'})])
def test_held_refuses_by_what_is_there_now(bench: Bench, faster: Changes) -> None:
    """Neither a refusal nor its absence comes from what was."""
    key = bench.session()
    before = bench.engine.load(key)
    assert bench.engine.save(key, faster, FOREVER)
    strict = Changes(set={b"a": b"1 1"}, held=before.held)
    with pytest.raises(SessionConflict):
        bench.engine.save(key, strict, FOREVER, expected=before.version)
    now = bench.engine.load(key)
    assert bench.engine.save(key, strict, FOREVER, expected=now.version)
    if faster is not OTHERS:
        with pytest.raises(DocumentError):
            bench.engine.save(key, Changes(increment={b"n": 1}, held=before.held), FOREVER)
        known = held(bench, key)
        assert bench.engine.save(key, Changes(set={b"n": b"5 1"}), FOREVER)
        assert bench.engine.save(key, Changes(increment={b"n": 1}, held=known), FOREVER)
        assert bench.fields(key)[b"n"] == b"6 1"


def test_held_and_only_used_slides_what_is_there(bench: Bench) -> None:
    key = bench.session(Life(idle=500))
    known = bench.engine.load(key, slide=True).held
    assert bench.engine.save(key, OTHERS, Life(idle=1000))
    assert bench.engine.save(key, Changes(held=known), FOREVER)
    loaded = bench.engine.load(key)
    assert b"others" in loaded.fields and loaded.idle_left > 500_000
