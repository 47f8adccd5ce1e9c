"""Values that only the app can read: known answers, tampering, moves, and the life of keys.

That an encrypted engine does all that an engine does is tested by the contract tests, whose
stores `..._encrypted` are these.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import os
import secrets
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

import sessile
from counting import Counting
from sessile import encryption
from sessile.contract import ROTATED, Changes, Life, Push
from sessile.document import encode
from sessile.encryption import SEAL, Ring
from sessile.errors import ConfigurationError, DocumentError, EncryptionError
from sessile.memory import MemoryEngine
from sessile.plans import run
from sessile.sealed import Sealed
from sessile.session import Session
from sessile.settings import ENGINES, Settings, read
from stores import together
from test_document import same
from test_document_properties import DOCUMENTS, SMALL_DOCUMENTS

SEED = int(os.environ.get("SEED", 0)) or time.time_ns() % 1_000_000
OLD, NEW = b"the old key, which has 32 bytes or more", b"the new key, which has 32 bytes or more"
FOREVER = Life()
FIELDS = {b"name": b'"Ann" 1', b"cart.pear": b"2 2", b"cart": b"{} 0", b"list": b"[1] 3"}


def key() -> bytes:
    return b"sessile:app:" + secrets.token_hex(32).encode()


def worker(store: Any, *keys: bytes | None, namespace: str = "app") -> Sealed:
    """A process with these keys, on a store."""
    return Sealed(store, Ring(keys, namespace))


@pytest.fixture
def store() -> MemoryEngine:
    return MemoryEngine()


def stored(store: Any, handle: bytes) -> dict[bytes, bytes]:
    """What lies in the store."""
    found = store.load(handle)
    assert found, "the session is gone"
    return dict(found.fields)


def put(store: Any, handle: bytes, fields: dict[bytes, bytes]) -> None:
    """What somebody does who can write to the store."""
    store.end(handle)
    assert store.create(handle, fields, FOREVER)


def fields(engine: Any, handle: bytes) -> dict[bytes, bytes]:
    found = engine.load(handle)
    assert found, "the session is gone"
    return dict(found.fields)


# the bytes


def test_known_answers(store: MemoryEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = itertools.count()
    monkeypatch.setattr(encryption, "urandom", lambda n: bytes([next(numbers)]) * n)
    handle = b"sessile:app:" + b"ab" * 32
    worker(store, NEW, OLD).create(handle, {b"cart.pear": b"2 0", b"empty": b"{} 1"}, FOREVER)
    found = stored(store, handle)

    def derived(purpose: bytes, *parts: bytes) -> bytes:
        message = b"\0".join([b"sessile encryption 1 " + purpose, *parts])
        return hmac.new(NEW, message, hashlib.sha256).digest()

    made_under = b"sessile encryption 1 salt\0app\0" + b"ab" * 32
    salt, nonce = hashlib.sha256(made_under).digest()[:16], bytes(12)
    id = derived(b"key")[:4]
    mark = derived(b"seal", b"app", salt + b"ab" * 32)[:16]
    leaf_key = derived(b"leaf", b"app\0" + salt)
    leaf = AESGCM(leaf_key).encrypt(nonce, b"2 0", b"app\0" + salt + b"cart.pear")
    assert found == {
        b"cart.pear": b"\x01" + id + nonce + leaf,
        b"empty": b"{} 1",
        SEAL: b"\x01" + salt + id + mark,
    }
    # The same in digits, so that no release changes what is stored without being noticed.
    assert found[b"cart.pear"].hex() == (
        "01ddad078a000000000000000000000000c5b9c5a20abcc85c9e509d0e4a0523c8117a89"
    )
    assert found[SEAL].hex() == (
        "016e0dfd40d59484a82aff2b8e2ebc1292ddad078a9d433b31b0a555b3aca250663dc664af"
    )


def test_a_session_made_again_under_its_id_opens_what_is_written_late(store: MemoryEngine) -> None:
    engine, handle = worker(store, NEW), key()
    engine.create(handle, FIELDS, FOREVER)
    known = engine.load(handle)
    assert known and engine.end(handle)
    worker(store, NEW, OLD).create(handle, FIELDS, FOREVER)
    engine.save(handle, Changes(set={b"late": b"1"}, seal=known.seal), FOREVER)
    assert fields(engine, handle) == {**FIELDS, b"late": b"1"}


def test_nothing_but_markers_is_readable(store: MemoryEngine) -> None:
    engine, handle = worker(store, NEW), key()
    engine.create(handle, FIELDS, FOREVER, user="app:7")
    engine.save(handle, Changes(set={b"a": b'"Ann"'}, init={b"b": b'"Ann"'}), FOREVER)
    engine.save(handle, Changes(push=[Push(b"list", b'"Ann"')], increment={b"n": 7}), FOREVER)
    moved = key()
    engine.rotate(handle, moved, Changes(set={b"c": b'"Ann"'}), FOREVER)
    raw = stored(store, moved)
    assert fields(engine, moved) == {
        **FIELDS,
        b"a": b'"Ann"',
        b"b": b'"Ann"',
        b"c": b'"Ann"',
        b"list": b'[1,"Ann"] 3',
        b"n": b"7",
    }
    assert raw.pop(b"cart") == b"{} 0"
    assert len(raw.pop(SEAL)) == 37
    assert all(leaf[:1] == b"\x01" and b"Ann" not in leaf for leaf in raw.values())
    assert {name: len(leaf) for name, leaf in raw.items()} == {
        name: len(leaf) + 33 for name, leaf in fields(engine, moved).items() if name in raw
    }


def test_the_same_value_is_never_stored_as_the_same_bytes(store: MemoryEngine) -> None:
    engine, handle, seen = worker(store, NEW), key(), set()
    engine.create(handle, {}, FOREVER)
    for _ in range(500):
        engine.save(handle, Changes(set={b"a": b"1", b"b": b"1"}), FOREVER)
        raw = stored(store, handle)
        seen |= {raw[b"a"][5:17], raw[b"b"][5:17]}
    assert len(seen) == 1000


# who can write to the store


def test_any_byte_that_was_changed_is_noticed(store: MemoryEngine) -> None:
    engine, handle = worker(store, NEW), key()
    engine.create(handle, FIELDS, FOREVER)
    raw = stored(store, handle)
    tried = 0
    for name, leaf in raw.items():
        if name == b"cart":
            continue
        for at in range(len(leaf)):
            for change in (1, 0x80):
                broken = leaf[:at] + bytes([leaf[at] ^ change]) + leaf[at + 1 :]
                put(store, handle, {**raw, name: broken})
                with pytest.raises(EncryptionError):
                    engine.load(handle)
                tried += 1
        for cut in range(len(leaf)):
            put(store, handle, {**raw, name: leaf[:cut]})
            with pytest.raises(EncryptionError):
                engine.load(handle)
    assert tried > 300
    put(store, handle, raw)
    assert fields(engine, handle) == FIELDS


def test_a_value_opens_at_its_own_path_alone(store: MemoryEngine) -> None:
    engine, handle = worker(store, NEW), key()
    engine.create(handle, FIELDS, FOREVER)
    raw = stored(store, handle)
    for name in (b"list", b"cart.plum", b"nam", b"name.x", b"\\@device"):
        put(store, handle, {**raw, name: raw[b"name"]})
        with pytest.raises(EncryptionError, match="brought there from elsewhere"):
            engine.load(handle)


def test_a_value_opens_in_its_own_session_alone(store: MemoryEngine) -> None:
    engine, ours, theirs = worker(store, NEW), key(), key()
    for handle in (ours, theirs):
        engine.create(handle, FIELDS, FOREVER)
    mine, others = stored(store, ours), stored(store, theirs)
    put(store, ours, {**mine, b"name": others[b"name"]})
    with pytest.raises(EncryptionError, match="elsewhere: name"):
        engine.load(ours)
    for foreign in (others, {**mine, SEAL: others[SEAL]}):
        put(store, ours, foreign)
        with pytest.raises(EncryptionError, match="from another session"):
            engine.load(ours)
    put(store, ours, mine)
    assert fields(engine, ours) == FIELDS


def test_a_namespace_has_keys_of_its_own(store: MemoryEngine) -> None:
    handle = key()
    worker(store, NEW).create(handle, FIELDS, FOREVER)
    with pytest.raises(EncryptionError):
        worker(store, NEW, namespace="shop").load(handle)


def test_a_value_that_was_never_sealed_is_refused(store: MemoryEngine) -> None:
    engine, handle = worker(store, NEW), key()
    engine.create(handle, FIELDS, FOREVER)
    raw = stored(store, handle)
    put(store, handle, {**raw, b"_auth_user_id": b'"1" 9'})
    with pytest.raises(EncryptionError, match="_auth_user_id"):
        engine.load(handle)
    for forged in (b"{}garbage", b"{} ?", b"{}{}", b""):
        put(store, handle, {**raw, b"name": forged})
        with pytest.raises(EncryptionError):
            engine.load(handle)
    put(store, handle, FIELDS)
    with pytest.raises(EncryptionError, match="isn't encrypted"):
        engine.load(handle)
    with pytest.raises(EncryptionError, match="isn't encrypted"):
        engine.save(handle, Changes(set={b"a": b"1"}), FOREVER)


def test_errors_name_no_handle_and_no_value(store: MemoryEngine) -> None:
    engine, handle = worker(store, NEW), key()
    engine.create(handle, FIELDS, FOREVER)
    raw = stored(store, handle)
    for broken in ({**raw, b"name": raw[b"list"]}, {**raw, SEAL: b"x"}, FIELDS):
        put(store, handle, broken)
        with pytest.raises(EncryptionError) as error:
            engine.load(handle)
        assert "Ann" not in str(error.value) and handle.decode()[12:20] not in str(error.value)


# keys


def test_a_wrong_key_is_an_error_and_never_an_empty_session(store: MemoryEngine) -> None:
    handle = key()
    worker(store, OLD).create(handle, FIELDS, FOREVER, user="app:7")
    for engine in (worker(store, NEW), worker(store, NEW, None), worker(store, None, NEW)):
        with pytest.raises(EncryptionError, match="SESSILE_ENCRYPTION_KEYS"):
            engine.load(handle)
        with pytest.raises(EncryptionError):
            engine.save(handle, Changes(set={b"a": b"1"}), FOREVER)
        with pytest.raises(EncryptionError):
            engine.save(handle, Changes(increment={b"n": 1}), FOREVER)
        with pytest.raises(EncryptionError):
            engine.rotate(handle, key(), Changes(set={b"a": b"1"}), FOREVER)
        (row,) = engine.sessions_of("app:7", [b"name"])
        assert (row.key, row.fields) == (handle, {})
        assert engine.touch(handle) and engine.exists(handle)
    assert fields(worker(store, NEW, OLD), handle) == FIELDS
    assert worker(store, NEW).end(handle) == 1


def test_no_keys_at_all_is_an_error_too(store: MemoryEngine) -> None:
    settings = Settings("memory:", encryption_keys=(NEW,))
    first = Session(settings)
    first.data = {"user": "ann"}
    run(worker(store, NEW), first.save())
    again = Session(Settings("memory:"), first.id)
    with pytest.raises(EncryptionError, match="isn't set"):
        run(store, again.load())


def test_keys_are_changed_while_old_and_new_workers_serve(store: MemoryEngine) -> None:
    handle = key()
    before = worker(store, OLD)
    before.create(handle, FIELDS, FOREVER)
    first, second = worker(store, OLD, NEW), worker(store, NEW, OLD)
    expected = dict(FIELDS)
    for turn in range(6):
        for number, engine in enumerate((first, second, before) if turn < 1 else (first, second)):
            name = b"turn.%d.%d" % (turn, number)
            if engine is before:
                with pytest.raises(EncryptionError):
                    engine.load(handle)
                continue
            assert engine.save(handle, Changes(set={name: b"1"}), FOREVER)
            expected[name] = b"1"
            assert fields(first, handle) == fields(second, handle) == expected
    # One change by a worker whose newest key it is, and nothing needs the old one.
    second.save(handle, Changes(set={b"last": b"1"}), FOREVER)
    assert fields(worker(store, NEW), handle) == {**expected, b"last": b"1"}


def test_a_change_seals_anew_what_an_old_key_has_sealed_and_reads_never_write() -> None:
    store, handle = Counting(), key()
    worker(store, OLD).create(handle, FIELDS, FOREVER)
    engine = worker(store, NEW, OLD)
    found, raw = engine.load(handle), stored(store, handle)
    store.taken()
    assert found is not None and engine.load(handle) and stored(store, handle) == raw
    assert "save" not in store.taken()
    for calls in ({"load": 1, "save": 1}, {"save": 1}):
        found = engine.load(handle)
        store.taken()
        engine.save(handle, Changes(set={b"x": b"1"}, seal=found.seal), FOREVER)
        assert store.taken() == calls
    assert fields(worker(store, NEW), handle) == {**FIELDS, b"x": b"1"}


def test_sealing_anew_loses_nothing_that_others_write(store: MemoryEngine) -> None:
    handle = key()
    many = {b"k%d" % n: b"0" for n in range(20)}
    worker(store, OLD).create(handle, many, FOREVER)
    workers = [worker(store, OLD, NEW), worker(store, NEW, OLD)]

    def work(number: int) -> None:
        engine = workers[number % 2]
        for _ in range(20):
            changes = Changes(increment={b"n": 1}, set={b"k%d" % number: b"%d" % number})
            assert engine.save(handle, changes, FOREVER)

    together(6, work)
    after = fields(workers[0], handle)
    assert after == {**many, **{b"k%d" % n: b"%d" % n for n in range(6)}, b"n": b"120"}


def test_encryption_is_turned_on_and_off_again(store: MemoryEngine) -> None:
    handle = key()
    store.create(handle, FIELDS, FOREVER)
    steps = [(None, NEW), (NEW, None), (NEW,), (NEW, None), (None, NEW)]
    for number, keys in enumerate(steps):
        engine = worker(store, *keys)
        assert engine.save(handle, Changes(increment={b"n": 1}), FOREVER)
        assert fields(engine, handle) == {**FIELDS, b"n": b"%d" % (number + 1)}
        sealed = any(leaf[:1] == b"\x01" for leaf in stored(store, handle).values())
        assert sealed == (keys[0] is not None)
    assert stored(store, handle) == {**FIELDS, b"n": b"5"}


@pytest.mark.parametrize(
    "keys", [["short"], [b"x" * 31], [7], [NEW, NEW], [NEW, None, None]], ids=str
)
def test_keys_that_cannot_be_used_are_refused(keys: list[Any]) -> None:
    with pytest.raises(ConfigurationError, match="SESSILE_ENCRYPTION_KEYS"):
        read({"SESSILE_ENCRYPTION_KEYS": keys}.get)


def test_keys_are_not_shown() -> None:
    assert "key, which" not in repr(Settings("memory:", encryption_keys=(NEW, OLD)))


# rotation


def test_a_session_opens_under_its_new_handle_alone(store: MemoryEngine) -> None:
    engine, old, new = worker(store, NEW), key(), key()
    engine.create(old, FIELDS, FOREVER)
    before = stored(store, old)
    found = engine.load(old)
    assert found
    changes = Changes(set={b"a": b"1"}, seal=found.seal)
    assert engine.rotate(old, new, changes, FOREVER, user="app:7")
    assert fields(engine, new) == {**FIELDS, b"a": b"1"}
    after = stored(store, new)
    assert engine.load(old) is ROTATED
    # Values aren't sealed anew, and what is in the store opens under no other handle.
    assert all(after[name] == before[name] for name in FIELDS)
    elsewhere = MemoryEngine()
    for handle, kept in ((old, after), (new, before)):
        put(elsewhere, handle, kept)
        with pytest.raises(EncryptionError, match="another session"):
            worker(elsewhere, NEW).load(handle)


def test_an_old_id_stands_for_the_session_for_a_while(store: MemoryEngine) -> None:
    engine, handles = worker(store, NEW), [key() for _ in range(4)]
    engine.create(handles[0], FIELDS, FOREVER)
    for old, new in itertools.pairwise(handles):
        assert engine.rotate(old, new, Changes(set={b"a": b"1"}), FOREVER, grace=60)
    for handle in handles:
        assert fields(engine, handle)[b"a"] == b"1"
        assert engine.save(handle, Changes(increment={b"n": 1}), FOREVER)
        assert engine.save(handle, Changes(set={b"b": b"2"}), FOREVER)
    # Through an old id, too, everything may be cleared and be written by another key's worker.
    assert engine.save(handles[0], Changes(delete_trees=[b""], set={b"c": b"3"}), FOREVER)
    other = worker(store, OLD, NEW)
    assert other.save(handles[1], Changes(set={b"d": b"4"}), FOREVER)
    for handle in handles:
        assert fields(other, handle) == {b"c": b"3", b"d": b"4"}
    last = key()
    assert other.rotate(handles[-1], last, Changes(increment={b"n": 1}), FOREVER, hard=True)
    assert fields(worker(store, OLD), last) == {b"c": b"3", b"d": b"4", b"n": b"1"}


def test_turning_on_through_an_old_id_shuts_nobody_out(store: MemoryEngine) -> None:
    settings = Settings("memory:", encryption_keys=(NEW, None), grace=60)
    first = Session(replace_keys(settings, ()))
    first.data = {"a": 1}
    run(store, first.save())
    id = first.id
    first.rotate()
    run(store, first.save())
    engine = worker(store, NEW, None)
    for one in (id, id, first.id):
        late = Session(settings, one)
        run(engine, late.load())
        late.data["n"] = late.data.get("n", 0) + 1
        run(engine, late.save())
    again = Session(settings, first.id)
    run(engine, again.load())
    assert again.data == {"a": 1, "n": 3}


def replace_keys(settings: Settings, keys: Any) -> Settings:
    return replace(settings, encryption_keys=keys)


def test_a_rotation_that_finds_nothing_creates_a_sealed_session(store: MemoryEngine) -> None:
    engine, new = worker(store, NEW), key()
    made = engine.rotate(key(), new, Changes(set={b"a": b"1"}), FOREVER, create=FIELDS)
    assert made is not None and fields(engine, new) == FIELDS
    assert stored(store, new)[b"name"][:1] == b"\x01"
    assert engine.rotate(key(), key(), Changes(set={b"a": b"1"}), FOREVER) is None


def test_a_rotation_that_is_repeated_answers_as_the_first(store: MemoryEngine) -> None:
    engine, old, new = worker(store, NEW), key(), key()
    engine.create(old, FIELDS, FOREVER)
    changes, token = Changes(increment={b"n": 1}), b"t" * 12
    answers = {engine.rotate(old, new, changes, FOREVER, hard=True, token=token) for _ in range(2)}
    assert len(answers) == 1 and answers != {None}
    assert fields(engine, new)[b"n"] == b"1"


# what it costs, and what stays the same


def test_a_request_asks_for_as_much_as_without_encryption() -> None:
    store = Counting()
    settings = Settings("memory:", encryption_keys=(NEW,))
    engine = worker(store, NEW)

    def request(id: str | None, work: Any) -> tuple[str | None, dict[str, int]]:
        session = Session(settings, id)
        store.taken()
        work(session)
        return session.id, store.taken()

    def changing(session: Session) -> None:
        run(engine, session.load())
        session.data["n"] = session.data.get("n", 0) + 1
        run(engine, session.finish())

    def signing_in(session: Session) -> None:
        run(engine, session.load())
        session.rotate()
        session.data["user"] = "7"
        run(engine, session.finish())

    def counting(session: Session) -> None:
        session.incr(["n"])
        run(engine, session.finish())

    id, calls = request(None, changing)
    assert calls == {"create": 1}
    assert request(id, changing)[1] == {"load": 1, "save": 1}
    assert request(id, counting)[1] == {"load": 1, "save": 1}
    id, calls = request(id, signing_in)
    assert calls == {"load": 1, "rotate": 1}
    assert request(id, changing)[1] == {"load": 1, "save": 1}
    assert request(id, lambda session: run(engine, session.end()))[1] == {"end": 1}


def test_a_conflict_is_one_as_without_encryption(store: MemoryEngine) -> None:
    engine, handle = worker(store, NEW), key()
    version = engine.create(handle, FIELDS, FOREVER)
    engine.save(handle, Changes(set={b"a": b"1"}), FOREVER)
    for changes in (Changes(set={b"a": b"2"}), Changes(increment={b"n": 1})):
        with pytest.raises(sessile.SessionConflict):
            engine.save(handle, changes, FOREVER, expected=version)
        with pytest.raises(sessile.SessionConflict):
            engine.rotate(handle, key(), changes, FOREVER, expected=version)
    with pytest.raises(DocumentError):
        engine.save(handle, Changes(increment={b"name": 1}), FOREVER)


calm = hypothesis.settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@hypothesis.seed(SEED)
@calm
@given(DOCUMENTS, DOCUMENTS)
def test_what_is_saved_is_what_is_loaded(before: dict[Any, Any], after: dict[Any, Any]) -> None:
    print(f"SEED={SEED}")
    settings, store = Settings("memory:", encryption_keys=(NEW,)), MemoryEngine()
    engine = worker(store, NEW)
    first = Session(settings)
    first.data = before
    run(engine, first.save())
    second = Session(settings, first.id)
    run(engine, second.load())
    assert same(second.data, before)
    second.data = after
    run(engine, second.save())
    third = Session(settings, first.id)
    run(engine, third.load())
    assert same(third.data, after)


NAMES = st.sampled_from([b"a", b"b", b"a.b", b"a.c", b"a.b.c", b"d.e"])
LEAVES = st.sampled_from([b"1 0", b"{} 1", b'"x"', b"[1,2] 2", b"2.5"])
PATCHES = st.builds(
    Changes,
    delete_trees=st.lists(NAMES | st.just(b""), max_size=1),
    delete=st.lists(NAMES, max_size=2),
    set=st.dictionaries(NAMES, LEAVES, max_size=3),
    init=st.dictionaries(NAMES, LEAVES, max_size=2),
    increment=st.dictionaries(NAMES, st.integers(-3, 3), max_size=1),
    push=st.lists(st.builds(Push, NAMES, st.just(b"7"), st.none() | st.just(2)), max_size=1),
)
KEYS = st.sampled_from([(NEW,), (NEW, OLD), (OLD, NEW), (NEW, OLD, None), (None, NEW, OLD)])


@hypothesis.seed(SEED)
@calm
@given(SMALL_DOCUMENTS, st.lists(st.tuples(PATCHES, KEYS, st.booleans()), max_size=6))
def test_patches_do_what_they_do_without_encryption(
    document: dict[Any, Any], patches: list[tuple[Changes, Any, bool]]
) -> None:
    print(f"SEED={SEED}")
    start = encode(document)
    plain, store = MemoryEngine(), MemoryEngine()
    handle = key()
    plain.create(handle, start, FOREVER)
    everybody = worker(store, NEW, OLD, None)
    everybody.create(handle, start, FOREVER)
    for changes, keys, moves in patches:
        engine = worker(store, *(*keys, *({NEW, OLD, None} - set(keys))))
        changes.seal = getattr(engine.load(handle), "seal", b"")
        new = key() if moves else handle
        answers = []
        for one in (plain, engine):
            try:
                if moves:
                    done = one.rotate(handle, new, changes, FOREVER, grace=9) is not None
                else:
                    done = one.save(handle, changes, FOREVER) is not None
            except DocumentError as error:
                done = str(error)
            answers.append(done)
        assert answers[0] == answers[1]
        if answers[0] is True:
            handle = new
        assert fields(everybody, handle) == fields(plain, handle)


# imports


def test_cryptography_is_imported_only_where_keys_are_set() -> None:
    code = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "cryptography":
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
import sessile, sessile.session, sessile.settings, sessile.flask, sessile.encryption, sessile.sealed
settings = sessile.settings.read({"SESSILE_URL": "memory:"}.get)
settings.engine().ping()
try:
    sessile.settings.read({"SESSILE_ENCRYPTION_KEYS": ["x" * 32]}.get)
except sessile.ConfigurationError as error:
    print(error)
"""
    source = str(Path(sessile.__file__).parents[1])
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": source}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert "pip install 'sessile[encryption]'" in done.stdout


def test_settings_give_engines_that_encrypt() -> None:
    url = f"memory:{secrets.token_hex(4)}"
    settings = read({"SESSILE_URL": url, "SESSILE_ENCRYPTION_KEYS": NEW.decode()}.get)
    handle = key()
    settings.engine().create(handle, FIELDS, FOREVER)
    assert stored(ENGINES[url], handle)[b"name"][:1] == b"\x01"
    assert fields(settings.engine(), handle) == FIELDS
