"""Documents: what is encoded is decoded, and patches say what changed and no more.

Random tests print their seed; `SEED=n` repeats one.
"""

import datetime
import decimal
import math
import os
import random
import time
import uuid
import zoneinfo

import pytest

from sessile import DocumentError
from sessile.contract import Push
from sessile.document import (
    LEAVES_MAX,
    Base,
    Codec,
    Intents,
    _Walk,
    decode,
    encode,
    encode_changes,
)
from sessile.merge import merge
from sessile.paths import join, split
from sessile.values import Atomic, Opaque

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
KEYS = ["a", "b", "c", "a.b", "\\", "", "_p", 7, -1, "e\\.x", "é"]
SCALARS = [
    None,
    True,
    0,
    2**80,
    -1.5,
    1e22,
    -0.0,
    math.inf,
    "",
    "x 1",
    "\ud800 a b1",
    "\x00\x7f\u2028",
    datetime.datetime(2026, 10, 25, 2, 30, 0, 5, fold=1),
    datetime.datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
    datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(minutes=-90))),
    datetime.date(1, 1, 1),
    datetime.time(23, 59, 59, 999999),
    datetime.timedelta(days=-1, microseconds=1),
    decimal.Decimal("1.500"),
    decimal.Decimal("-Infinity"),
    uuid.UUID(int=7),
    b"\xff\x00",
    (),
    (1, (2, [3])),
    {1, "x"},
    frozenset({b"b", (1, 2)}),
    [],
    [{"!dt": "no tag"}, {"!": {}}, {1: 2, "1": 3}, {}],
    Atomic({"a": {"b": 1}}),
    Atomic(),
]


@pytest.fixture
def rng():
    seed = int(os.environ.get("SEED", 0)) or time.time_ns() % 1_000_000
    print(f"SEED={seed}")
    return random.Random(seed)


def some_value(rng, depth=0):
    if depth < 4 and rng.random() < 0.4:
        return {rng.choice(KEYS): some_value(rng, depth + 1) for _ in range(rng.randrange(4))}
    return rng.choice(SCALARS)


def some_document(rng):
    return {rng.choice(KEYS): some_value(rng) for _ in range(rng.randrange(6))}


def mutate(rng, document):
    for _ in range(rng.randrange(1, 4)):
        here = document
        while rng.random() < 0.5:
            below = [value for value in here.values() if type(value) is dict]
            if not below:
                break
            here = rng.choice(below)
        match rng.randrange(6):
            case 0 if here:
                del here[rng.choice(list(here))]
            case 1:
                here.clear()
            case 2 if here:
                key = rng.choice(list(here))
                here[key] = here.pop(key)
            case _:
                here[rng.choice(KEYS)] = some_value(rng)


def same(a, b):
    """Equal, of the same types, with keys in the same order."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, datetime.datetime):
        return a.isoformat() == b.isoformat() and a.fold == b.fold and a.tzinfo == b.tzinfo
    return a == b or a != a


def test_what_is_encoded_is_decoded(rng):
    for _ in range(1500):
        document = some_document(rng)
        fields = encode(document)
        again, base = decode(fields)
        assert same(again, document), (document, fields)
        assert not encode_changes(base, again), "a read changes nothing"


def test_a_chain_of_patches_is_the_document_at_each_step(rng):
    for _ in range(500):
        document, base = decode(encode(some_document(rng)))
        fields = encode(document)
        document, base = decode(fields)
        for _ in range(4):
            mutate(rng, document)
            changes = encode_changes(base, document)
            fields = merge(fields, changes)
            assert dict(base.advanced(changes).leaves) == dict(decode(fields)[1].leaves)
            again, base = decode(fields)
            assert same(again, document), (again, document, changes)
            assert not encode_changes(base, again)
            document = again


def test_patches_of_different_leaves_commute(rng):
    for _ in range(500):
        fields = encode({"a": {n: n for n in range(6)}, "b": 1})
        patches = []
        for mine in (range(3), range(3, 6)):
            document, base = decode(fields)
            for n in mine:
                if rng.random() < 0.3:
                    del document["a"][n]
                elif rng.random() < 0.8:
                    document["a"][n] = rng.choice(SCALARS)
            if rng.random() < 0.5:
                document["a"][f"new{min(mine)}"] = {"x": {}}
            patches.append(encode_changes(base, document))
        one, other = patches
        forth, back = merge(merge(fields, one), other), merge(merge(fields, other), one)
        assert forth == back
        document, base = decode(forth)
        assert not encode_changes(base, document), "who reads what two have written changes nothing"


def test_the_same_change_however_it_came_about():
    fields = encode({"cart": {"pear": 1, "plum": 2}, "lang": "de"})
    in_place, base = decode(fields)
    in_place["cart"]["pear"] = 3
    reassigned, _ = decode(fields)
    reassigned["cart"] = {**reassigned["cart"], "pear": 3}
    expected = {b"cart.pear": b"3 0"}
    for document in (in_place, reassigned):
        changes = encode_changes(base, document)
        assert (changes.set, changes.delete, changes.delete_trees) == (expected, [], [])


@pytest.mark.parametrize(
    ("change", "trees"),
    [
        (lambda d: d.pop("cart"), [b"cart"]),
        (lambda d: d["cart"].clear(), [b"cart"]),
        (lambda d: d.update(cart=None), []),
        (lambda d: d.pop("lang"), [b"lang"]),
        (lambda d: d["cart"].pop("pear"), [b"cart.pear"]),
        (lambda d: d["cart"].pop("deep"), [b"cart.deep"]),
        (lambda d: d["cart"]["deep"].pop("x"), [b"cart.deep.x"]),
        (lambda d: d.clear(), [b"cart", b"lang"]),
    ],
)
def test_what_goes_goes_with_all_below_it(change, trees):
    fields = encode({"cart": {"pear": 1, "deep": {"x": 1}}, "lang": "de"})
    document, base = decode(fields)
    change(document)
    changes = encode_changes(base, document)
    assert (changes.delete_trees, changes.delete) == (trees, [])
    unseen = merge(fields, encode_changes(base, {**decode(fields)[0], "lang": "de"}))
    unseen[b"cart.unseen"] = b"1 9"
    after = merge(unseen, changes)
    assert (b"cart.unseen" in after) == (b"cart" not in trees and b"cart" not in changes.set)
    assert not any(name.startswith(tree + b".") for tree in trees for name in after)


def test_the_only_key_of_a_dict_goes_without_what_others_have_put_beside_it():
    for fields, only in (({"cart": {"pear": 1}}, b"cart.pear"), ({"a": {"b": {"c": 1}}}, b"a.b")):
        document, base = decode(encode(fields))
        beside = only.rpartition(b".")[0] + b".other"
        here = document["cart"] if "cart" in document else document["a"]
        here.clear()
        changes = encode_changes(base, document)
        assert changes.delete_trees == [only]
        assert decode(merge(encode(fields), changes))[0] == document
        after = merge({**encode(fields), beside: b"1 9"}, changes)
        assert beside in after and not any(name.startswith(only) for name in after)


@pytest.mark.parametrize(
    "change", [lambda d: d["cart"].pop("pear"), lambda d: d["cart"].update(box={})]
)
@pytest.mark.parametrize("value", [{"cart": "none"}, {"cart": {"pear": "none", "box": 1}}])
def test_markers_take_away_no_value_that_another_request_has_set(change, value):
    # The place of a dict whose first key goes is kept by a marker, too.
    fields = encode({"cart": {"pear": 1, "plum": 2}, "lang": "de"})
    document, base = decode(fields)
    other, _ = decode(fields)
    change(document)
    other.update(value)
    if value["cart"] != "none":
        other["cart"]["plum"] = 2
    meanwhile = merge(fields, encode_changes(base, other))
    after = decode(merge(meanwhile, encode_changes(base, document)))[0]
    if value["cart"] == "none":
        assert after["cart"] == "none"
    else:
        assert after["cart"]["box"] == 1


@pytest.mark.parametrize("value", ["none", {}])
def test_what_takes_the_place_of_a_dict_moves_nothing_behind_it(value):
    # The marker of `a` is younger than what is below it, and than `b`.
    fields = {b"a": b"{} 9", b"a.x": b"1 0", b"b": b"2 5", b"c": b"3 9"}
    document, base = decode(fields)
    assert list(document) == ["a", "b", "c"]
    document["a"] = value
    changes = encode_changes(base, document)
    assert list(changes.set) == [b"a"]
    assert list(decode(merge(fields, changes))[0].items()) == [("a", value), ("b", 2), ("c", 3)]


@pytest.mark.parametrize("value", ["off", 7, {"sms": 1}, []])
@pytest.mark.parametrize("before", [{"mail": 1, "push": 0}, "on"])
def test_two_changes_that_open_a_gap_move_nothing_behind_it(before, value):
    """The first dict slides, as its first key goes, and what follows it is new at once."""
    fields = encode({"cart": {"apple": 1}, "prefs": before, "seen": [1], "n": 1})
    document, base = decode(fields)
    document["cart"]["pear"] = 2
    fields = merge(fields, encode_changes(base, document))
    document, base = decode(fields)
    del document["cart"]["apple"]
    document["prefs"] = value
    changes = encode_changes(base, document)
    assert not {b"seen", b"n", b"cart.pear"} & set(changes.set)
    meanwhile = {**fields, b"seen": fields[b"seen"].replace(b"[1]", b"[1,2]")}
    again, _ = decode(merge(meanwhile, changes))
    assert same(again, {**document, "seen": [1, 2]})


def test_a_key_moved_to_the_front_of_many_dicts_costs_a_look_or_two_at_each(monkeypatch):
    many = 500
    document, base = decode(encode({**{str(n): {"a": n} for n in range(many)}, "z": 1}))
    asked, look = [], _Walk.old_place
    monkeypatch.setattr(_Walk, "old_place", lambda *of: asked.append(of) or look(*of))
    z = document.pop("z")
    changes = encode_changes(base, {"z": z, **document})
    assert len(changes.set) == many and len(asked) <= 4 * many


@pytest.mark.parametrize("after", [{"a": {}}, {"a": {"b": {}}}, {"a": {"b": {"c": {}}}}])
def test_an_empty_dict_takes_the_place_of_a_value_that_was_seen(after):
    fields = encode({"a": 1})
    _, base = decode(fields)
    assert decode(merge(fields, encode_changes(base, after)))[0] == after


def test_a_leaf_that_became_a_dict_meanwhile_goes_as_one():
    fields = encode({"mail": "weekly", "lang": "de"})
    document, base = decode(fields)
    other, _ = decode(fields)
    other["mail"] = {"news": True}
    del document["mail"]
    meanwhile = merge(fields, encode_changes(base, other))
    assert decode(merge(meanwhile, encode_changes(base, document)))[0] == {"lang": "de"}


def intending(what, *words):
    intents = Intents()
    getattr(intents, what)(*words)
    return intents


def test_clear_and_replace_take_what_was_never_seen():
    fields = {**encode({"a": {"x": 1}, "b": 1}), b"a.unseen": b"1 8", b"unseen": b"1 9"}
    seen, base = decode({name: leaf for name, leaf in fields.items() if b"unseen" not in name})
    replaced = merge(fields, encode_changes(base, seen, intending("replace", ["a"])))
    assert decode(replaced)[0] == {"b": 1, "a": {"x": 1}, "unseen": 1}
    cleared = merge(fields, encode_changes(base, {"n": 1}, intending("clear")))
    assert decode(cleared)[0] == {"n": 1}


def test_intents_are_sent_as_such_unless_the_leaf_was_assigned_afterwards():
    fields = encode({"count": 1, "log": ["a"], "seen": {}})
    document, base = decode(fields)
    intents = Intents()
    document["count"] = 3
    document["log"].append("b")
    document["first"] = "me"
    intents.incr(["count"], 2)
    intents.push(["log"], "b", 10)
    intents.init(["first"], "me")
    for path in ("count", "log", "first"):
        intents.note([path], document[path])
    changes = encode_changes(base, document, intents)
    assert not changes.set
    assert changes.increment == {b"count": 2}
    assert changes.push == [Push(b"log", b'"b"', 10)]
    assert changes.init == {b"first": b'"me" 3'}
    others = merge(fields, encode_changes(base, {**decode(fields)[0], "count": 10}))
    assert decode(merge(others, changes))[0]["count"] == 12
    document["count"] = 0
    changes = encode_changes(base, document, intents)
    assert changes.set == {b"count": b"0 0"} and not changes.increment
    unread = encode_changes(Base(), {}, intending("incr", ["count"], 5))
    assert (unread.increment, unread.set, unread.delete) == ({b"count": 5}, {}, [])


def test_what_an_intent_creates_has_its_place_among_the_others():
    fields = encode({"a": 1})
    document, base = decode(fields)
    intents = Intents()
    document.update(count=2, log=["x"], z=1)
    intents.incr(["count"], 2)
    intents.push(["log"], "x")
    for path in ("count", "log"):
        intents.note([path], document[path])
    changes = encode_changes(base, document, intents)
    assert same(decode(merge(fields, changes))[0], document)
    twice = decode(merge(merge(fields, changes), changes))[0]
    assert twice == {"a": 1, "count": 4, "log": ["x", "x"], "z": 1}


def test_atomic_dicts_are_one_leaf():
    codec = Codec(atomic=["profile", "shop.*"])
    document = {
        "_auth": {"u": 1},
        "profile": {"n": {}},
        "shop": {"cart": {"x": 1}},
        "plain": {"x": 1},
    }
    fields = codec.encode(document)
    assert sorted(fields) == [b"_auth", b"plain.x", b"profile", b"shop.cart"]
    again, base = codec.decode(fields)
    assert same(again, document) and not codec.changes(base, again)
    again["profile"]["n"] = 1
    assert codec.changes(base, again).set == {b"profile": b'{"n":1} 1'}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"a": {"b": object()}}, "a['b'] is a object"),
        ({"a": [1, {"x": lambda: 0}]}, r"a[1]['x'] is a function"),
        ({1.5: 1}, "the session has the key 1.5"),
        ({"a": {None: 1}}, "a has the key None"),
        ({"a": [{True: 1}]}, "a[0] has the key True"),
        ({"\ud800": 1}, "isn't valid text"),
        ({"x" * 1025: 1}, "longer than 1024 bytes"),
        ({str(n): n for n in range(LEAVES_MAX + 1)}, "4096 are the most"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_its_path(document, message):
    with pytest.raises(DocumentError) as refused:
        encode(document)
    assert message in str(refused.value)


def test_cycles_and_depth_are_refused():
    ring = {}
    ring["ring"] = ring
    items = []
    items.append(items)
    deep = {}
    here = deep
    for _ in range(40):
        here["d"] = here = {}
    tower = []
    for _ in range(40):
        tower = [tower]
    for document, message in [
        ({"r": ring}, "contains itself"),
        ({"i": items}, "contains itself"),
        (deep, "nested too deeply"),
        ({"t": tower}, "nested too deeply"),
    ]:
        with pytest.raises(DocumentError, match=message):
            encode(document)
    twice = {"x": 1}
    assert decode(encode({"a": twice, "b": twice}))[0] == {"a": twice, "b": twice}


def test_the_size_has_a_bound():
    codec = Codec(size_max=100)
    codec.encode({"a": "x" * 90})
    with pytest.raises(DocumentError, match="100 are the most"):
        codec.encode({"a": "x" * 120})


def test_what_others_wrote_is_read_and_left_alone():
    fields = {
        b"n": b"3",
        b"list": b"[1, 2] k7",
        b"new": b'{"!zz": [1]} 1',
        b"odd": b"not JSON",
        b"": b"1",
        b"\\x": b"1",
    }
    document, base = decode({**fields, b"\\!version": b"7"})
    assert document == {
        "new": Opaque(b'{"!zz": [1]}'),
        "list": [1, 2],
        "n": 3,
        "odd": Opaque(b"not JSON"),
    }
    assert not encode_changes(base, document)
    document["other"] = 1
    assert set(encode_changes(base, document).set) == {b"other"}


def test_paths_have_one_name_and_names_one_path(rng):
    for _ in range(2000):
        path = tuple(
            rng.choice([*KEYS, "\\i7", "\\", ".", "i"]) for _ in range(rng.randrange(1, 5))
        )
        assert split(join(path)) == path
    for name in (b"", b".", b"a.", b"\\", b"\\!v", b"\\i07", b"\\x", b"\\i", b"a\\"):
        with pytest.raises(DocumentError):
            split(name)


def test_notes_beside_the_leaves_are_no_part_of_a_document():
    fields = encode({"a": 1, "b": {"c": 2}})
    plain, base = decode(fields)
    noted, base_noted = decode({**fields, b"\\@device": b'"x"', b"\\!version": b"7"})
    assert noted == plain and base_noted.leaves == base.leaves
    assert not encode_changes(base_noted, noted)


@pytest.mark.parametrize("name", [b"cart.n", b"n"])
def test_a_key_behind_a_leaf_without_a_stamp_is_sent_once(name: bytes) -> None:
    """The store began that leaf, by an increment."""
    document, base = decode({b"cart.log": b"1 0", b"cart.pear": b"2 1", name: b"4"})
    document["cart"]["new"] = document["new"] = 5
    first = Codec().changes(base, document)
    assert set(first.set) == {b"cart.new", b"new"}
    assert not Codec().changes(base.advanced(first), document)
    again, _ = decode(merge(base.fields(), first))
    assert again == document
