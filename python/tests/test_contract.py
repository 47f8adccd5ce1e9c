"""What every engine promises, one test per promise, over every store, sync and async.

Names begin with the promise that the guarantee table cites: create, load, merge, order,
revival, version, conflict, idle, max, expiry, repeat here; rotation, grace, index and limit in
test_contract_users.py. Every test runs against a real store; where only waiting moves its clock,
the tests wait for what must happen, and what is to be there still is judged by what has passed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sessile.contract import ROTATED, Changes, Life, Push
from sessile.document import decode, encode, encode_changes
from sessile.errors import DocumentError, SessionConflict
from sessile.promises import Promise
from stores import FIELDS, Bench, together, unless_held_up

NONE = Changes()
FOREVER = Life()


def saved(bench: Bench, changes: Changes, fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """What a session with these fields holds after the changes."""
    key = bench.key()
    assert bench.engine.create(key, fields, FOREVER)
    assert bench.engine.save(key, changes, FOREVER)
    return bench.fields(key)


# create, load, exists, end


def test_create_and_load(bench: Bench) -> None:
    key = bench.key()
    version = bench.engine.create(key, FIELDS, FOREVER, user="")
    loaded = bench.engine.load(key)
    assert loaded.version == version
    assert loaded.fields == FIELDS
    assert (loaded.user, loaded.idle_left, loaded.absolute_left) == ("", None, None)


def test_create_refuses_a_key_that_exists(bench: Bench) -> None:
    key = bench.session()
    assert bench.engine.create(key, {b"a": b"1"}, FOREVER) is None
    assert bench.fields(key) == FIELDS


def test_create_once_of_many_at_one_moment(bench: Bench) -> None:
    key = bench.key()
    answers = together(12, lambda n: bench.engine.create(key, {b"n": b"%d" % n}, FOREVER))
    assert sum(answer is not None for answer in answers) == 1


def test_load_of_an_absent_key(bench: Bench) -> None:
    assert bench.engine.load(bench.key()) is None
    assert bench.engine.load(bench.key(), slide=True) is None
    assert not bench.engine.exists(bench.key())
    assert not bench.engine.touch(bench.key())


def test_load_tells_user_and_times(bench: Bench) -> None:
    key = bench.session(Life(idle=100, maximum=1000), user="ann:1")
    loaded = bench.engine.load(key)
    assert loaded.user == "ann:1"
    assert 90_000 < loaded.idle_left <= 101_000
    assert 990_000 < loaded.absolute_left <= 1_001_000


def test_create_without_fields_is_a_session(bench: Bench) -> None:
    key = bench.key()
    assert bench.engine.create(key, {}, FOREVER)
    assert bench.engine.exists(key)
    assert bench.fields(key) == {}


def test_fields_hold_any_bytes(bench: Bench) -> None:
    fields = {bytes(range(256)): bytes(range(255, -1, -1)), b"crlf\r\n": b"$3\r\nabc\r\n"}
    key = bench.key()
    bench.engine.create(key, fields, FOREVER)
    assert bench.fields(key) == fields


def test_end_counts_what_was_there(bench: Bench) -> None:
    keys = [bench.session() for _ in range(3)]
    assert bench.engine.end(*keys[:2], bench.key()) == 2
    assert bench.engine.end(*keys) == 1
    assert [bench.engine.exists(key) for key in keys] == [False] * 3
    assert bench.engine.end(keys[0]) == 0
    assert bench.engine.end() == 0


def test_ping(bench: Bench) -> None:
    assert bench.engine.ping() is None


def test_close_leaves_the_engine_usable(bench: Bench) -> None:
    key = bench.session()
    bench.engine.close()
    assert bench.fields(key) == FIELDS


# merge


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        pytest.param({b"a": b"1"}, Changes(set={b"b": b"2"}), {b"a": b"1", b"b": b"2"}, id="set"),
        pytest.param({b"a": b"1"}, Changes(set={b"a": b"2 k"}), {b"a": b"2 k"}, id="set-again"),
        pytest.param(
            {b"a.b": b"1", b"a.c.d": b"1", b"ab": b"1"},
            Changes(set={b"a": b"0"}),
            {b"a": b"0", b"ab": b"1"},
            id="set-removes-what-is-below",
        ),
        pytest.param(
            {b"a": b"1", b"b": b"2"},
            Changes(set={b"a.b.c": b"3"}),
            {b"a.b.c": b"3", b"b": b"2"},
            id="set-removes-the-scalar-above",
        ),
        pytest.param(
            {b"a": b"{} 0", b"a.b.c": b"1", b"a.b": b"{}"},
            Changes(set={b"a.b.d": b"2"}),
            {b"a": b"{} 0", b"a.b.c": b"1", b"a.b": b"{}", b"a.b.d": b"2"},
            id="set-keeps-the-markers-above",
        ),
        pytest.param(
            {b"a.b": b"1"},
            Changes(set={b"a": b"{} 3"}),
            {b"a.b": b"1", b"a": b"{} 3"},
            id="set-of-a-marker-keeps-what-is-below",
        ),
        pytest.param(
            {b"a\\.b": b"1", b"a": b"1"},
            Changes(set={b"a": b"2"}),
            {b"a\\.b": b"1", b"a": b"2"},
            id="set-knows-escaped-dots",
        ),
        pytest.param(
            {b"a": b"0", b"a.b": b"1", b"ab": b"2"},
            Changes(delete=[b"a"]),
            {b"a.b": b"1", b"ab": b"2"},
            id="delete-is-one-leaf",
        ),
        pytest.param({b"a": b"1"}, Changes(delete=[b"z"]), {b"a": b"1"}, id="delete-of-nothing"),
        pytest.param(
            {b"a": b"{}", b"a.b": b"1", b"a.c.d": b"2", b"ab": b"3"},
            Changes(delete_trees=[b"a"]),
            {b"ab": b"3"},
            id="deltree",
        ),
        pytest.param(
            {b"a": b"1", b"b.c": b"2"}, Changes(delete_trees=[b""]), {}, id="deltree-of-the-root"
        ),
        pytest.param(
            {b"a": b"1", b"b": b"2"},
            Changes(delete_trees=[b""], set={b"c": b"3"}),
            {b"c": b"3"},
            id="deltree-comes-before-set",
        ),
        pytest.param(
            {b"a": b"1"},
            Changes(init={b"a": b"9", b"b": b"9"}),
            {b"a": b"1", b"b": b"9"},
            id="init-sets-what-is-absent",
        ),
        pytest.param(
            {b"a.b": b"1"},
            Changes(init={b"a": b"{}"}),
            {b"a.b": b"1"},
            id="init-leaves-what-is-below",
        ),
        pytest.param(
            {b"n": b"41 k7"}, Changes(increment={b"n": 1}), {b"n": b"42 k7"}, id="incr-keeps-stamp"
        ),
        pytest.param({}, Changes(increment={b"n": -3}), {b"n": b"-3"}, id="incr-of-nothing"),
        pytest.param(
            {b"n": b"9007199254740993"},
            Changes(increment={b"n": 2}),
            {b"n": b"9007199254740995"},
            id="incr-beyond-doubles-is-exact",
        ),
        pytest.param(
            {b"n": b"9223372036854775806"},
            Changes(increment={b"n": 1}),
            {b"n": b"9223372036854775807"},
            id="incr-to-the-largest",
        ),
        pytest.param({b"n": b"0.5"}, Changes(increment={b"n": 2}), {b"n": b"2.5"}, id="incr-float"),
        pytest.param(
            {b"n": b"1 a"}, Changes(increment={b"n": 0.5}), {b"n": b"1.5 a"}, id="incr-by-float"
        ),
        pytest.param(
            {b"n": b"1.5"}, Changes(increment={b"n": 0.5}), {b"n": b"2.0"}, id="incr-stays-a-float"
        ),
        pytest.param(
            {}, Changes(push=[Push(b"l", b'"x"')]), {b"l": b'["x"]'}, id="push-to-nothing"
        ),
        pytest.param(
            {b"l": b"[] k7"},
            Changes(push=[Push(b"l", b"[]")]),
            {b"l": b"[[]] k7"},
            id="push-to-empty",
        ),
        pytest.param(
            {b"l": b'[1.0,{},"\\u00e9"] k7'},
            Changes(push=[Push(b"l", b"{}"), Push(b"l", b"10000000000000000000001")]),
            {b"l": b'[1.0,{},"\\u00e9",{},10000000000000000000001] k7'},
            id="push-changes-no-other-element",
        ),
        pytest.param(
            {b"l": b'["a,]\\"",[1,[2,{"k":"}"}]],{"a":[3,4]},null] z'},
            Changes(push=[Push(b"l", b"5", trim=3)]),
            {b"l": b'[{"a":[3,4]},null,5] z'},
            id="push-trims-whole-elements",
        ),
        pytest.param(
            {b"l": b"[1,2]"},
            Changes(push=[Push(b"l", b"3", trim=9)]),
            {b"l": b"[1,2,3]"},
            id="push-trims-less",
        ),
        pytest.param(
            {b"a": b"1"},
            Changes(increment={b"a.n": 1}, push=[Push(b"b.l", b"1")]),
            {b"a.n": b"1", b"b.l": b"[1]"},
            id="incr-and-push-are-sets",
        ),
    ],
)
def test_merge(
    bench: Bench, before: dict[bytes, bytes], changes: Changes, after: dict[bytes, bytes]
) -> None:
    assert saved(bench, changes, before) == after


@pytest.mark.parametrize(
    "changes",
    [
        Changes(set={b"new": b"1"}, increment={b"text": 1}),
        Changes(set={b"new": b"1"}, increment={b"list": 1.5}),
        Changes(set={b"new": b"1"}, increment={b"large": 1}),
        Changes(set={b"new": b"1"}, increment={b"nan": 1}),
        Changes(set={b"new": b"1"}, push=[Push(b"text", b"1")]),
        Changes(set={b"new": b"1"}, push=[Push(b"dict", b"1")]),
        Changes(set={b"new": b"1"}, increment={b"one": 1}, push=[Push(b"one", b"1")]),
    ],
    ids=["text", "list", "overflow", "nan", "push-text", "push-dict", "both"],
)
def test_merge_refuses_what_makes_no_sense_and_changes_nothing(
    bench: Bench, changes: Changes
) -> None:
    fields = {
        b"text": b'"12"',
        b"list": b"[1]",
        b"large": b"9223372036854775807",
        b"nan": b'{"$":"nan"}',
        b"dict": b"{}",
        b"one": b"1",
    }
    key = bench.key()
    version = bench.engine.create(key, fields, FOREVER)
    with pytest.raises(DocumentError):
        bench.engine.save(key, changes, FOREVER)
    loaded = bench.engine.load(key)
    assert (dict(loaded.fields), loaded.version) == (fields, version)


@pytest.mark.proves(Promise.MERGE)
def test_merge_of_parallel_saves_loses_nothing(bench: Bench) -> None:
    key = bench.session()

    def work(number: int) -> None:
        for turn in range(8):
            name = b"leaf.%d.%d" % (number, turn)
            one = Push(b"log", b"%d" % (number * 100 + turn))
            changes = Changes(set={name: b"1"}, increment={b"n": 1}, push=[one])
            assert bench.engine.save(key, changes, FOREVER)

    together(8, work)
    fields = bench.fields(key)
    assert fields[b"n"] == b"64"
    assert sum(name.startswith(b"leaf.") for name in fields) == 64
    pushed = fields[b"log"].strip(b"[]").split(b",")
    assert sorted(map(int, pushed)) == sorted(n * 100 + t for n in range(8) for t in range(8))


def test_merge_of_a_large_patch(bench: Bench) -> None:
    many = {b"k.%d" % n: b'"%d" %x' % (n, n) for n in range(4_000)}
    key = bench.key()
    bench.engine.create(key, {}, FOREVER)
    bench.engine.save(key, Changes(set=many), FOREVER)
    assert bench.fields(key) == many
    bench.engine.save(key, Changes(delete=list(many)[1:]), FOREVER)
    assert bench.fields(key) == {b"k.0": many[b"k.0"]}


@pytest.mark.proves(Promise.ENCRYPTION)
def test_encryption_hides_values_and_merges_all_the_same(bench: Bench) -> None:
    above, key = bench.encrypted(), bench.key()
    assert above.create(key, {b"name": b'"Ann"', b"n": b"41"}, FOREVER)
    changes = Changes(set={b"town": b'"Ulm"'}, increment={b"n": 1}, push=[Push(b"l", b'"Eve"')])
    assert above.save(key, changes, FOREVER)
    expected = {b"name": b'"Ann"', b"n": b"42", b"town": b'"Ulm"', b"l": b'["Eve"]'}
    assert above.load(key).fields == expected
    stored = b"".join(bench.fields(key).values())
    assert not any(word in stored for word in (b"Ann", b"Ulm", b"Eve"))


# order


def changed(bench: Bench, key: bytes, change: Callable[[dict[Any, Any]], object]) -> None:
    """Saves what a request changes that finds the session as it is now."""
    document, base = decode(bench.fields(key))
    change(document)
    assert bench.engine.save(key, encode_changes(base, document), FOREVER)


def in_order(document: Any) -> Any:
    """A document as lists of pairs, which differ when only the order of keys does."""
    if not isinstance(document, dict):
        return document
    return [(key, in_order(value)) for key, value in document.items()]


@pytest.mark.proves(Promise.ORDER)
def test_order_of_keys_is_kept_whoever_saves(bench: Bench) -> None:
    key, new = bench.key(), bench.key()
    cart = {"pear": 1, "apple": 2, "fig": 3}
    expected: dict[Any, Any] = {"z": 1, "cart": cart, "a": 2, 10: "ten", 9: "nine"}
    assert bench.engine.create(key, encode(expected), FOREVER)
    steps: list[Callable[[dict[Any, Any]], object]] = [
        lambda d: d.update(m=3, b=4),  # new ones come last
        lambda d: d["cart"].update(date=4, banana=5),
        lambda d: d.update(z=9, a=[1]),  # what is there stays where it is
        lambda d: d["cart"].update(pear=d["cart"].pop("pear")),  # taken out and put in again
        lambda d: (d.pop("a"), d.update(a="last")),
    ]
    for step in steps:
        step(expected)
        changed(bench, key, step)
        assert in_order(decode(bench.fields(key))[0]) == in_order(expected)
    assert bench.engine.rotate(key, new, NONE, FOREVER)
    assert in_order(decode(bench.fields(new))[0]) == in_order(expected)


def test_order_of_keys_that_others_add_meanwhile(bench: Bench) -> None:
    """Two that loaded the same each add keys: those of each stay in their order."""
    key = bench.key()
    assert bench.engine.create(key, encode({"z": 1, "y": 1}), FOREVER)
    loaded = bench.fields(key)
    for names in (["d", "b"], ["c", "a"]):
        document, base = decode(loaded)
        document.update(dict.fromkeys(names, 1))
        assert bench.engine.save(key, encode_changes(base, document), FOREVER)
    found = list(decode(bench.fields(key))[0])
    assert found[:2] == ["z", "y"] and sorted(found[2:]) == ["a", "b", "c", "d"]
    assert found.index("d") < found.index("b") and found.index("c") < found.index("a")


# no revival


@pytest.mark.parametrize("changes", [NONE, Changes(set={b"a": b"1"}), Changes(increment={b"n": 1})])
def test_revival_never_by_a_save(bench: Bench, changes: Changes) -> None:
    key, user = bench.session(), bench.user()
    bench.engine.end(key)
    assert bench.engine.save(key, changes, Life(idle=60), user=user) is None
    assert bench.engine.save(key, changes, Life(idle=60), expected=1) is None
    assert bench.engine.load(key) is None
    assert bench.lists(user)


@pytest.mark.proves(Promise.REVIVAL)
def test_revival_never_by_saves_that_race_with_the_end(bench: Bench) -> None:
    for _ in range(10):
        key = bench.session()

        def work(number: int, key: bytes = key) -> None:
            if number == 0:
                bench.engine.end(key)
            else:
                for _ in range(3):
                    bench.engine.save(key, Changes(set={b"n": b"%d" % number}), Life(idle=9))

        together(4, work)
        assert bench.engine.load(key) is None


def test_revival_never_by_a_rotation(bench: Bench) -> None:
    key, new = bench.session(), bench.key()
    bench.engine.end(key)
    assert bench.engine.rotate(key, new, Changes(set={b"a": b"1"}), FOREVER) is None
    assert not bench.engine.exists(key)
    assert not bench.engine.exists(new)


# versions and conflicts


def test_version_changes_with_every_change_only(bench: Bench) -> None:
    key = bench.key()
    seen = [bench.engine.create(key, FIELDS, Life(idle=60))]
    for n in range(5):
        seen.append(bench.engine.save(key, Changes(set={b"n": b"%d" % n}), FOREVER))
    assert len(set(seen)) == len(seen)
    bench.engine.load(key, slide=True)
    bench.engine.touch(key)
    assert bench.engine.save(key, NONE, Life(idle=60)) == seen[-1]
    assert bench.engine.load(key).version == seen[-1]


def test_version_is_never_used_again(bench: Bench) -> None:
    key = bench.key()
    first = bench.engine.create(key, FIELDS, FOREVER)
    bench.engine.end(key)
    assert bench.engine.create(key, FIELDS, FOREVER) != first


def test_conflict_if_somebody_else_was_faster(bench: Bench) -> None:
    key = bench.session()
    version = bench.engine.load(key).version
    newer = bench.engine.save(key, Changes(set={b"a": b"1"}), FOREVER, expected=version)
    assert newer is not None
    for call in (
        lambda: bench.engine.save(key, Changes(set={b"a": b"2"}), FOREVER, expected=version),
        lambda: bench.engine.save(key, NONE, FOREVER, expected=version),
        lambda: bench.engine.rotate(key, bench.key(), NONE, FOREVER, expected=version),
    ):
        with pytest.raises(SessionConflict):
            call()
    assert bench.fields(key)[b"a"] == b"1"


def test_conflict_comes_before_what_is_wrong_with_the_patch(bench: Bench) -> None:
    key, new = bench.key(), bench.key()
    before = bench.engine.create(key, {b"text": b'"a"'}, FOREVER)
    bench.engine.save(key, Changes(set={b"a": b"1"}), FOREVER)
    changes = Changes(increment={b"text": 1})
    with pytest.raises(SessionConflict):
        bench.engine.save(key, changes, FOREVER, expected=before)
    with pytest.raises(SessionConflict):
        bench.engine.rotate(key, new, changes, FOREVER, expected=before)
    assert bench.fields(key) == {b"text": b'"a"', b"a": b"1"}


@pytest.mark.proves(Promise.CONFLICT)
def test_conflict_for_all_but_one_of_many(bench: Bench) -> None:
    key = bench.session()
    version = bench.engine.load(key).version

    def work(number: int) -> bool:
        try:
            changes = Changes(set={b"n": b"%d" % number})
            return bench.engine.save(key, changes, FOREVER, expected=version) is not None
        except SessionConflict:
            return False

    assert sum(together(12, work)) == 1


# idle and absolute time


@unless_held_up(0.8)
def test_idle_ends_what_nobody_uses(bench: Bench) -> None:
    key = bench.session(Life(idle=1))
    assert bench.engine.exists(key)
    bench.forward(1.1)
    assert bench.engine.load(key) is None
    assert bench.engine.save(key, NONE, Life(idle=60)) is None


@pytest.mark.proves(Promise.IDLE)
@unless_held_up(0.4)
def test_idle_is_rearmed_by_use(bench: Bench) -> None:
    uses = [
        lambda key: bench.engine.load(key, slide=True),
        lambda key: bench.engine.touch(key),
        lambda key: bench.engine.save(key, NONE, FOREVER),
        lambda key: bench.engine.save(key, Changes(set={b"a": b"1"}), FOREVER),
    ]
    keys = [bench.session(Life(idle=2)) for _ in uses]
    untouched = bench.session(Life(idle=2))
    for _ in range(2):
        bench.forward(1.1)
        for use, key in zip(uses, keys, strict=True):
            assert use(key)
            assert bench.engine.load(key).idle_left > 1_500
        bench.engine.load(untouched)
    assert bench.engine.load(untouched) is None
    assert bench.engine.exists(keys[0])


def test_idle_is_changed_and_removed_by_a_save(bench: Bench) -> None:
    key = bench.session(Life(idle=10))
    bench.engine.save(key, NONE, Life(idle=500))
    assert 490_000 < bench.engine.load(key).idle_left <= 501_000
    bench.engine.save(key, NONE, FOREVER)
    assert 490_000 < bench.engine.load(key).idle_left <= 501_000
    bench.engine.save(key, NONE, Life(idle=0))
    assert bench.engine.load(key).idle_left is None


def test_idle_never_passes_the_absolute_deadline(bench: Bench) -> None:
    key = bench.session(Life(idle=500, maximum=100))
    for use in (
        lambda: bench.engine.load(key, slide=True),
        lambda: bench.engine.touch(key),
        lambda: bench.engine.save(key, Changes(set={b"a": b"1"}), Life(idle=900)),
    ):
        assert use()
        assert bench.engine.load(key).idle_left <= 101_000


@pytest.mark.proves(Promise.MAX)
@unless_held_up(0.8)
def test_max_ends_a_session_in_use(bench: Bench) -> None:
    key = bench.session(Life(idle=60, maximum=2))
    bench.forward(1)
    assert bench.engine.touch(key)
    bench.forward(1.2)
    assert not bench.engine.touch(key)
    assert bench.engine.load(key) is None


@unless_held_up(0.4)
def test_max_counts_from_creation_and_rotation(bench: Bench) -> None:
    key, new = bench.session(Life(maximum=100)), bench.key()
    bench.forward(0.5)
    bench.engine.save(key, NONE, Life(maximum=100))
    before = bench.engine.load(key).absolute_left
    assert before <= 99_950
    bench.engine.rotate(key, new, NONE, Life(maximum=100), hard=True)
    assert bench.engine.load(new).absolute_left > before


def test_max_is_kept_by_a_rotation_that_names_none(bench: Bench) -> None:
    key, new = bench.session(Life(maximum=100)), bench.key()
    bench.forward(0.2)
    bench.engine.rotate(key, new, NONE, FOREVER, hard=True)
    assert bench.engine.load(new).absolute_left <= 99_950


@unless_held_up(0.5)
def test_max_is_removed_by_zero(bench: Bench) -> None:
    key = bench.session(Life(expires_at=bench.now() + 600))
    bench.engine.save(key, NONE, Life(maximum=0))
    assert bench.engine.load(key).absolute_left is None
    bench.forward(0.7)
    assert bench.engine.exists(key)


@unless_held_up(0.6)
def test_expiry_at_a_moment(bench: Bench) -> None:
    key = bench.session(Life(idle=60, expires_at=bench.now() + 700))
    assert 0 < bench.engine.load(key).absolute_left <= 1_000
    bench.forward(0.8)
    assert bench.engine.load(key) is None


@pytest.mark.parametrize("idle", [None, 60])
def test_expiry_in_the_past_is_saved_and_absent(bench: Bench, idle: int | None) -> None:
    past = Life(idle=idle, expires_at=bench.now() - 1000)
    key, other, user = bench.key(), bench.session(), bench.user()
    assert bench.engine.create(key, FIELDS, past, user=user) is not None
    assert bench.engine.load(key) is None
    assert bench.engine.save(other, Changes(set={b"a": b"1"}), past) is not None
    assert bench.engine.load(other) is None
    third, new = bench.session(), bench.key()
    assert bench.engine.rotate(third, new, NONE, past, user=user) is not None
    assert not bench.engine.load(third) or bench.engine.load(third) is ROTATED
    assert bench.engine.load(new) is None
    assert bench.lists(user)


# repeats


def test_repeat_of_a_create(bench: Bench) -> None:
    key = bench.key()
    version = bench.engine.create(key, FIELDS, FOREVER, token=b"t1")
    assert bench.engine.create(key, FIELDS, FOREVER, token=b"t1") == version
    assert bench.engine.create(key, FIELDS, FOREVER, token=b"t2") is None


@pytest.mark.proves(Promise.REPEAT)
def test_repeat_of_a_save(bench: Bench) -> None:
    key = bench.session()
    changes = Changes(increment={b"n": 1}, push=[Push(b"l", b"1")])
    first = bench.engine.save(key, changes, FOREVER, token=b"one")
    second = bench.engine.save(key, changes, FOREVER, token=b"two")
    assert bench.engine.save(key, changes, FOREVER, token=b"one") == first
    assert bench.engine.save(key, changes, FOREVER, token=b"two") == second
    fields = bench.fields(key)
    assert (fields[b"n"], fields[b"l"]) == (b"2", b"[1,1]")
    strict = Changes(set={b"a": b"1"})
    third = bench.engine.save(key, strict, FOREVER, expected=second, token=b"three")
    assert bench.engine.save(key, strict, FOREVER, expected=second, token=b"three") == third


def test_repeat_of_what_could_not_be_done_twice(bench: Bench) -> None:
    key, new = bench.key(), bench.key()
    bench.engine.create(key, {b"n": b"-1"}, FOREVER)
    changes = Changes(increment={b"n": -(2**62)})
    first = bench.engine.save(key, changes, FOREVER, token=b"one")
    assert first is not None
    assert bench.engine.save(key, changes, FOREVER, token=b"one") == first
    with pytest.raises(DocumentError):
        bench.engine.save(key, changes, FOREVER, token=b"two")
    changes = Changes(increment={b"n": 2**62 + 2**61})
    moved = bench.engine.rotate(key, new, changes, FOREVER, grace=30, token=b"three")
    assert bench.engine.rotate(key, new, changes, FOREVER, grace=30, token=b"three") == moved
    assert bench.fields(new) == {b"n": b"%d" % (2**61 - 1)}


def test_repeat_of_a_rotation(bench: Bench) -> None:
    for options in ({"user": "ann"}, {"grace": 9}, {}):
        key, new = bench.session(), bench.key()
        changes = Changes(increment={b"n": 1})
        version = bench.engine.rotate(key, new, changes, FOREVER, token=b"t", **options)
        assert bench.engine.rotate(key, new, changes, FOREVER, token=b"t", **options) == version
        assert bench.fields(new)[b"n"] == b"1"


def test_repeat_never_revives(bench: Bench) -> None:
    key = bench.session()
    assert bench.engine.save(key, Changes(set={b"a": b"1"}), FOREVER, token=b"t")
    bench.engine.end(key)
    assert bench.engine.save(key, Changes(set={b"a": b"1"}), FOREVER, token=b"t") is None
