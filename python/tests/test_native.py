"""The native codec against plain Python: the same answers, for vectors and for random documents.

The module must have been built (`tools/native.py`); a suite that needs it sets SESSILE_NATIVE=1,
which turns a missing module from a skip into a failure. Seeds are printed, as in the properties.
"""

import collections
import copy
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessile import document
from sessile.document import Base, Codec
from sessile.errors import DocumentError
from sessile.merge import merge
from sessile.values import Atomic, decode, encode
from test_document import same
from test_document_properties import DOCUMENTS, SMALL_DOCUMENTS, several

NATIVE = document._native
VECTORS = Path(__file__).parent / "vectors"
CODECS = ["python", "native"]


def vectors(name):
    return json.loads((VECTORS / name).read_text())


@pytest.fixture(autouse=True)
def restored():
    yield
    document._native = NATIVE


def use(which):
    """Switches the codec; skips if there's none, unless there has to be."""
    if which == "native" and NATIVE is None:
        if os.environ.get("SESSILE_NATIVE"):
            pytest.fail("the native module isn't there: build it with tools/native.py")
        pytest.skip("the native module isn't there: build it with tools/native.py")
    document._native = NATIVE if which == "native" else None


def outcome(which, call):
    use(which)
    try:
        return call()
    except DocumentError as error:
        return str(error)


def both(call):
    """What both codecs answer, or the text of the error that both raise."""
    return outcome("python", call), outcome("native", call)


def as_parts(changes):
    if isinstance(changes, str):
        return changes
    return list(changes.set.items()), sorted(changes.delete), changes.delete_trees


def same_patch(codec, fields, changed):
    """The patch of both codecs, which is one."""

    def patch():
        loaded, base = codec.decode(fields)
        return as_parts(codec.changes(base, changed(loaded)))

    python, native = both(patch)
    assert python == native
    return python


@pytest.mark.parametrize("which", CODECS)
@pytest.mark.parametrize("vector", vectors("values.json"), ids=lambda vector: vector["text"][:40])
def test_values_are_written_as_the_vectors_say(which, vector):
    use(which)
    text = vector["text"].encode()
    read, _ = document.decode({b"v": text})
    assert document.encode(read) == {b"v": vector.get("again", vector["text"]).encode() + b" 0"}
    assert type(read["v"]).__name__ == vector["type"]
    assert same(read["v"], decode(text)) and encode(read["v"]) == encode(decode(text))


@pytest.mark.parametrize("which", CODECS)
@pytest.mark.parametrize("vector", vectors("documents.json"), ids=lambda vector: vector["name"])
def test_documents_are_read_and_patched_as_the_vectors_say(which, vector):
    use(which)
    codec = Codec(atomic=vector.get("atomic", []))
    fields = {name.encode(): leaf.encode() for name, leaf in vector["fields"].items()}
    loaded, base = codec.decode(fields)
    assert encode(loaded) == encode(decode(json.dumps(vector["document"]).encode()))
    after = decode(json.dumps(vector.get("after", vector["document"])).encode())
    changes = codec.changes(base, after)
    assert {name.decode(): leaf.decode() for name, leaf in changes.set.items()} == vector["set"]
    assert sorted(name.decode() for name in changes.delete) == vector["delete"]
    assert [name.decode() for name in changes.delete_trees] == vector["delete_trees"]
    assert encode(codec.decode(merge(fields, changes))[0]) == encode(after)


@several(250)
@given(DOCUMENTS, DOCUMENTS)
def test_both_write_the_same_patch_for_any_documents(before, after):
    python, native = both(lambda: document.encode(before))
    assert list(python.items()) == list(native.items())
    same_patch(Codec(), python, lambda _: after)
    same_patch(Codec(), python, lambda loaded: loaded)


@several(400)
@given(SMALL_DOCUMENTS, st.data())
def test_both_write_the_same_patch_for_small_changes(before, data):
    document._native = None
    fields = document.encode(before)
    paths = [name.split(b".") for name in fields]
    path = [part.decode() for part in data.draw(st.sampled_from([*paths, [b"new"]]))]
    what = data.draw(st.sampled_from(["delete", "set", "clear"]))
    value = data.draw(st.integers(0, 3) | st.just({}) | SMALL_DOCUMENTS)

    def changed(loaded):
        *above, last = path[: data.draw(st.integers(1, len(path)), label="depth")]
        here = loaded
        for key in above:
            here = here[key]
        if what == "delete":
            here.pop(last, None)
        elif what == "clear":
            here.clear()
        else:
            here[last] = copy.deepcopy(value)
        return loaded

    document._native = None
    loaded, _ = document.decode(fields)
    after = changed(loaded)
    same_patch(Codec(), fields, lambda _: copy.deepcopy(after))
    same_patch(Codec(atomic=["a", "*.b"], size_max=20), fields, lambda _: copy.deepcopy(after))


@several(250)
@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "a.b", "a.b.c", "b.a", "\\e", "\\i7", "\\i07", "\\x", "", "a."]),
        st.sampled_from(
            ["1", "{}", "{ }", "[1, 2]", '{"a":1}', "nan", "NaN", "1 0", "2 0", "{} 1"]
        ),
        max_size=7,
    )
)
def test_both_read_whatever_lies_in_the_store(fields):
    fields = {name.encode(): leaf.encode() for name, leaf in fields.items()}
    leaves = [name for name, leaf in fields.items() if leaf.partition(b" ")[0] != b"{}"]
    contradicts = any(name.startswith(leaf + b".") for name in fields for leaf in leaves)

    def read():
        loaded, base = document.decode(fields)
        changes = document.encode_changes(base, loaded)
        assert contradicts or not changes, "a read changes nothing"
        return encode(loaded), base.leaves, base.next_stamp, as_parts(changes)

    python, native = both(read)
    assert python == native


@several(250)
@given(st.text('{}[]",:0123456789.eE+-\\ \n\tntrufalsx!\x00\x1fé', max_size=12))
def test_both_read_any_text(text):
    python, native = both(lambda: document.decode({b"v": text.encode()})[0]["v"])
    assert same(python, native) or python == native


@pytest.mark.parametrize(
    "odd",
    [
        {"a": object()},
        {"a": {"b": {1.5: 1}}},
        {"\ud800": 1},
        {"a": "\ud800"},
        {True: 1},
        {"a": 10**30, 10**20: 1},
        {10**5000: 1},
        {"a": 10**5000},
        {"x" * 1025: 1},
        {str(n): n for n in range(4097)},
        {"a": collections.OrderedDict(b=1)},
        {"a": Atomic(b=1), "c": {}},
        {"a": {"!dt": 1}, "_b": {"!": 2}, "_c": {}},
        {"a": ({"b": [Atomic()]},), "c": [float("nan")]},
        {"a": [[[]]] * 3, "b": [{"c": {}}]},
        collections.OrderedDict(a=1),
        {},
    ],
    ids=range(17),
)
def test_both_take_or_refuse_what_is_odd(odd):
    python, native = both(lambda: as_parts(document.encode_changes(Base(), odd)))
    assert python == native


def test_both_refuse_what_has_no_end():
    ring = {"a": {}}
    ring["a"]["b"] = ring
    deep = {}
    here = deep
    for _ in range(40):
        here["d"] = here = {}
    tower = []
    for _ in range(40):
        tower = [tower]
    for odd in (ring, deep, {"t": tower}):
        python, native = both(lambda odd=odd: as_parts(document.encode_changes(Base(), odd)))
        assert isinstance(python, str) and python == native


def test_a_dict_that_changes_while_it_is_saved_breaks_nothing():
    class Lazy:
        def __str__(self):
            data["new"] = 1
            del data["z"]
            return "lazy"

    Lazy.__name__ = "__proxy__"
    use("native")
    data = {"a": Lazy(), "b": 1, "z": 2}
    assert document.encode_changes(Base(), data).set[b"a"] == b'"lazy" 0'


def test_common_changes_are_not_left_to_python():
    use("native")
    fields = document.encode({"a": {"b": 1, "c": {"d": 2, "e": 3}}, "f": "x", "g": {}})
    for change in (
        lambda d: None,
        lambda d: d["a"].update(b=2),
        lambda d: d.update(new=2),
        lambda d: d["a"]["c"].update(x={"y": 1}),
        lambda d: d.pop("f"),
        lambda d: d["a"].pop("c"),
    ):
        loaded, base = document.decode(fields)
        change(loaded)
        assert NATIVE.changes(base.native(), loaded, None, None) is not None


@pytest.mark.parametrize("length", [1, 8, 32, 33])
def test_keys_are_theirs_however_many_were_read_before(length):
    """More than are kept, among them some that fall into the same slot, and again."""
    use("native")
    names = [f"{number:x}"[-length:].rjust(length, "k") for number in range(4000)]
    for name in [*names, *names]:
        fields = {name.encode(): b"1 0", b"d." + name.encode(): b"2 1"}
        assert NATIVE.decode(fields)[0] == {name: 1, "d": {name: 2}}


def test_a_key_that_is_no_text_is_left_to_python():
    use("native")
    for _ in range(2):
        assert NATIVE.decode({b"a": b"1 0", b"\xff": b"1 1"}) is None
        assert NATIVE.decode({b"\xc3\xa9": b'"\xc3\xa9" 0'})[0] == {"é": "é"}
