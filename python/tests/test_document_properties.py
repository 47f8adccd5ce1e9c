"""Properties of documents and patches that hold for whatever anybody puts into a session.

The seed is printed; `SEED=n` repeats a run, and a failure is shrunk to its smallest example.
"""

import copy
import datetime
import decimal
import os
import time
import uuid

import hypothesis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessile import DocumentError
from sessile.document import MARKER, Base, decode, encode, encode_changes
from sessile.merge import merge
from sessile.values import Atomic
from test_document import same

SEED = int(os.environ.get("SEED", 0)) or time.time_ns() % 1_000_000

KEYS = st.sampled_from(["a", "b", "c", "d", "", ".", "\\", "_p", 0, -7, "{}", "é"])
# Whole seconds: Python's own fromisoformat loses an offset of microseconds.
OFFSETS = st.integers(-86_399, 86_399).map(lambda seconds: datetime.timedelta(seconds=seconds))
ZONES = st.none() | st.timezones() | OFFSETS.map(datetime.timezone)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**200), max_value=2**200),
    st.floats(),
    st.text(st.characters(exclude_categories=()), max_size=8),
    st.binary(max_size=8),
    st.dates(),
    st.times(timezones=ZONES),
    st.datetimes(timezones=ZONES),
    st.timedeltas(),
    st.decimals().filter(lambda number: not number.is_snan()),
    st.uuids(),
)
HASHABLE = st.none() | st.integers(0, 3) | st.text("ab", max_size=2) | st.binary(max_size=2)


def _extended(inner):
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.sets(HASHABLE, max_size=3),
        st.frozensets(HASHABLE, max_size=3),
        st.dictionaries(KEYS | st.sampled_from(["!dt", "!", "!k"]), inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=2).map(Atomic),
    )


VALUES = st.recursive(SCALARS, _extended, max_leaves=6)
NESTED = st.recursive(VALUES, lambda inner: st.dictionaries(KEYS, inner, max_size=4), max_leaves=8)
DOCUMENTS = st.dictionaries(KEYS, NESTED, max_size=5)
SMALL = st.recursive(
    st.integers(0, 2) | st.just([]),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
SMALL_DOCUMENTS = st.dictionaries(st.sampled_from("abcd"), SMALL, max_size=4)


def several(count):
    """As many examples as this, from the seed, in no hurry."""

    def decorate(test):
        slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
        calm = settings(
            max_examples=count, deadline=None, database=None, suppress_health_check=slow
        )
        return hypothesis.seed(SEED)(calm(test))

    return decorate


@pytest.fixture(autouse=True, scope="module")
def seed_is_printed():
    print(f"SEED={SEED}")


@several(150)
@given(DOCUMENTS)
def test_what_is_encoded_is_decoded(document):
    fields = encode(document)
    again, base = decode(fields)
    assert same(again, document)
    assert not encode_changes(base, again)
    assert encode(again) == fields


@several(150)
@given(DOCUMENTS, DOCUMENTS)
def test_a_patch_turns_any_document_into_any_other(before, after):
    fields = encode(before)
    changes = encode_changes(Base(fields), after)
    merged = merge(fields, changes)
    again, base = decode(merged)
    assert same(again, after)
    assert not encode_changes(base, again)
    assert Base(fields).advanced(changes).leaves == base.leaves


@several(250)
@given(st.lists(SMALL_DOCUMENTS, min_size=2, max_size=6))
def test_a_chain_of_patches_keeps_values_and_order(documents):
    fields = encode(documents[0])
    for document in documents[1:]:
        fields = merge(fields, encode_changes(Base(fields), document))
        assert same(decode(fields)[0], document)


class Change:
    """A change that leaves the order of all other keys as it is."""

    def __init__(self, draw, document):
        here, self.path = document, []
        while True:
            below = [key for key in here if type(here[key]) is dict and here[key]]
            if not below or draw(st.booleans()):
                break
            key = draw(st.sampled_from(below))
            here = here[key]
            self.path.append(key)
        self.key = draw(st.sampled_from(["new", *here]))
        self.delete = self.key in here and draw(st.booleans())
        self.value = None if self.delete else draw(SMALL)

    def on(self, document):
        for key in self.path:
            document = document[key]
        if self.delete:
            del document[self.key]
        else:
            document[self.key] = in_order(copy.deepcopy(self.value), document.get(self.key))


def in_order(new, old):
    """A value whose keys that were there before come first, in the order of then."""
    if type(new) is not dict or type(old) is not dict:
        return new
    keys = [*(key for key in old if key in new), *(key for key in new if key not in old)]
    return {key: in_order(new[key], old.get(key)) for key in keys}


def changed(data, document):
    """Changes up to three places of a document, none of them above or below another."""
    touched = []
    for _ in range(data.draw(st.integers(1, 3))):
        change = Change(data.draw, document)
        path = (*change.path, change.key)
        if not any(path[: len(o)] == o or o[: len(path)] == path for o in touched):
            change.on(document)
            touched.append(path)


@several(300)
@given(st.data())
def test_a_leaf_that_did_not_change_is_not_written(data):
    fields = encode(data.draw(SMALL_DOCUMENTS))
    for _ in range(4):
        document, base = decode(fields)
        changed(data, document)
        changes = encode_changes(base, document)
        for name, leaf in changes.set.items():
            if name in base.leaves and leaf.partition(b" ")[0] != MARKER:
                assert not leaf.startswith(base.leaves[name][0] + b" "), (name, leaf)
        fields = merge(fields, changes)
        assert same(decode(fields)[0], document)


@several(300)
@given(st.data())
def test_changes_of_different_keys_are_both_there_in_either_order(data):
    fields = encode({"one": data.draw(SMALL), "other": data.draw(SMALL), "last": {}})
    patches, expected = [], decode(fields)[0]
    for mine in ("one", "other"):
        document, base = decode(fields)
        if type(document[mine]) is dict and document[mine]:
            change = Change(data.draw, document[mine])
            change.path.insert(0, mine)
        else:
            change = Change(lambda strategy: data.draw(strategy), {})
            change.key, change.value = mine, data.draw(SMALL)
        change.on(document)
        change.on(expected)
        patches.append(encode_changes(base, document))
    one, other = patches
    forth, back = merge(merge(fields, one), other), merge(merge(fields, other), one)
    assert forth == back
    assert same(decode(forth)[0], expected)


@several(300)
@given(st.dictionaries(st.binary(max_size=6), st.binary(max_size=12), max_size=6), SMALL_DOCUMENTS)
def test_whatever_lies_in_the_store_is_read_and_left_alone(fields, document):
    again, base = decode(fields)
    assert not encode_changes(base, again)
    encode_changes(base, {**again, **document})


@several(200)
@given(
    st.recursive(
        VALUES | st.builds(object) | st.complex_numbers(),
        lambda inner: st.dictionaries(
            KEYS | st.floats(allow_nan=False) | st.none() | st.binary(max_size=2), inner, max_size=3
        ),
        max_leaves=6,
    )
)
def test_what_cannot_be_stored_is_always_a_document_error(value):
    try:
        fields = encode({"v": value})
    except DocumentError as error:
        assert "v" in str(error)
    else:
        assert same(decode(fields)[0], {"v": value})


def test_the_strategies_reach_every_type():
    kinds = {type(decode(encode({"v": v}))[0]["v"]) for v in (decimal.Decimal(1), uuid.UUID(int=1))}
    assert kinds == {decimal.Decimal, uuid.UUID}
