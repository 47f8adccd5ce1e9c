"""The memcached engine where the contract doesn't look: its values, bounds, halves of a rotation
that were cut off, servers that are gone, and what it says it can't do."""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleets import Memcached
from losing import Losing
from sessile import memcached_value, rules
from sessile.contract import ROTATED, Changes, Life, Loaded, Push
from sessile.errors import (
    ConfigurationError,
    DocumentError,
    NotSupported,
    SessileError,
    SessionUnavailable,
)
from sessile.memcached import MemcachedEngine, Ring, time_to_live
from sessile.memcached_wire import Answer, Answers, name_of
from sessile.promises import Promise
from sessile.rules import Alias, Record, Tombstone
from sessile.urls import open_engine
from sessile.wire import MORE, ProtocolError
from stores import FIELDS, World, together

FOREVER = Life()
NONE = Changes()
STREAM = b"VA 4 c12 t-1\r\n\r\n\r\n\r\nHD c13\r\nEN\r\nVA 0\r\n\r\nSERVER_ERROR out of it\r\nMN\r\n"
WHOLE = [
    Answer(b"VA", b"\r\n\r\n", b"12"),
    Answer(b"HD", b"", b"13"),
    Answer(b"EN"),
    Answer(b"VA"),
    Answer(b"SERVER_ERROR", b"out of it"),
    Answer(b"MN"),
]


def key() -> bytes:
    return f"sessile:t:{secrets.token_hex(32)}".encode()


@pytest.fixture
def engine(world: World) -> Iterator[MemcachedEngine]:
    engine = open_engine("memcached://" + ",".join(world.memcached()) + "")
    yield engine  # type: ignore[misc]
    engine.close()


# bytes


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100])
def test_replies_come_out_whole_however_they_came_in(step: int) -> None:
    answers, got = Answers(), []
    for at in range(0, len(STREAM), step):
        answers.feed(STREAM[at : at + step])
        while (answer := answers.take()) is not MORE:
            got.append(answer)
    assert got == WHOLE and answers.is_empty


@pytest.mark.parametrize("data", [b"-ERR no\r\n", b"VA x\r\n", b"VA 9999999999\r\n", b"x" * 5000])
def test_what_is_no_reply_ends_the_connection(data: bytes) -> None:
    answers = Answers()
    answers.feed(data)
    with pytest.raises(ProtocolError):
        answers.take()


def test_every_key_has_a_name_of_its_own() -> None:
    plain = b"sessile:app:" + b"0" * 64
    assert name_of(plain) == plain
    odd = [b"", b"a b", b"a\r\nmn", b"\x00", b"k" * 251, "é".encode(), name_of(b"a b")]
    names = [name_of(one) for one in odd]
    assert len(set(names)) == len(odd)
    assert all(len(name) <= 250 and name.isascii() and b" " not in name for name in names)


def entries(rng: random.Random) -> rules.Entry:
    kind = rng.randrange(4)
    if kind == 0:
        return Tombstone(rng.getrandbits(50))
    if kind == 1:
        return Alias(rng.randbytes(rng.randrange(80)), "ü" * rng.randrange(9), rng.getrandbits(50))
    numbers = [rng.getrandbits(rng.choice([1, 40, 62])) for _ in range(6)]
    count = rng.choice([0, 1, 12, 300])
    texts = [(rng.randbytes(rng.randrange(1, 30)), rng.randbytes(rng.randrange(50)))] * count
    tokens = [(rng.randbytes(12), *numbers[:2]) for _ in range(rng.randrange(4))]
    version, created, base, seen, idle, absolute = numbers
    record = Record(dict(texts), version, created, base, seen, tokens=tuple(tokens))
    return replace(record, user="né" * rng.randrange(50), idle=idle, absolute=absolute)


def test_values_hold_all_of_an_entry_and_are_never_read_in_part() -> None:
    seed = int(os.environ.get("SEED", 0)) or time.time_ns() % 1_000_000
    print(f"SEED={seed}")
    rng = random.Random(seed)
    for _ in range(300):
        entry = entries(rng)
        data = memcached_value.pack(entry)
        assert memcached_value.unpack(data) == entry
        for wrong in (data[: rng.randrange(len(data))], b"S\x02" + data[2:]):
            with pytest.raises(SessileError):
                memcached_value.unpack(wrong)
        if not isinstance(entry, Tombstone):
            with pytest.raises(SessileError):
                memcached_value.unpack(data + b"x")


def test_times_to_live_as_memcached_reads_them() -> None:
    now = 1_700_000_000_000
    tombstone = Tombstone(now + 60_000)
    assert time_to_live(tombstone, now) == 61
    assert time_to_live(tombstone, now + 1) == 61
    assert time_to_live(tombstone, now + 59_999) == 2
    assert time_to_live(tombstone, now + 60_000) == -1
    month = Tombstone(now + 40 * 86_400_000)
    assert time_to_live(month, now) == now // 1000 + 40 * 86400 + 1
    assert time_to_live(Tombstone(now + 10**12), now) == 0
    assert time_to_live(Record({}, 1, 1, 1, 1), now) == 0


def test_servers_share_keys_and_keep_them_when_another_comes() -> None:
    keys = [key() for _ in range(3000)]
    names = ["h1:11211", "h2:11211", "h3:11211"]
    three, four = Ring(names), Ring([*names, "h4:11211"])
    counts = [sum(three.place(one) == place for one in keys) for place in range(3)]
    assert min(counts) > 850
    assert all(four.place(one) in (three.place(one), 3) for one in keys)
    turned = Ring(names[::-1])
    assert all(names[three.place(one)] == names[::-1][turned.place(one)] for one in keys)


# what it can't do


def test_what_needs_an_index_is_not_supported(engine: MemcachedEngine) -> None:
    for call in (
        lambda: engine.sessions_of("ann"),
        lambda: engine.end_all("ann"),
        lambda: engine.create(key(), {}, FOREVER, user="ann", limit=3),
        lambda: engine.rotate(key(), key(), NONE, FOREVER, user="ann", limit=3),
    ):
        with pytest.raises(NotSupported, match="index of users"):
            call()


def test_a_session_that_is_too_large_is_told_and_the_old_one_kept(engine: MemcachedEngine) -> None:
    one = key()
    assert engine.create(one, FIELDS, FOREVER)
    large = {b"large": b'"' + b"x" * 1_100_000 + b'"'}
    with pytest.raises(DocumentError, match="memcached takes"):
        engine.save(one, Changes(set=large), FOREVER)
    with pytest.raises(DocumentError, match="memcached takes"):
        engine.create(key(), large, FOREVER)
    new = key()
    with pytest.raises(DocumentError, match="memcached takes"):
        engine.rotate(one, new, Changes(set=large), FOREVER, user="ann")
    loaded = engine.load(one)
    assert isinstance(loaded, Loaded) and loaded.fields == FIELDS
    assert engine.load(new) is None
    close = {b"close": b'"' + b"x" * (1024 * 1024 - 1400) + b'"'}
    assert engine.create(key(), close, FOREVER)


def test_what_somebody_else_keeps_there_is_no_session(engine: MemcachedEngine) -> None:
    one = key()
    place = engine._ring.place(one)
    engine._pools[place].exchange(b"ms %b 2\r\nhi\r\n" % one)
    for call in (engine.load, engine.touch, engine.end, lambda k: engine.create(k, {}, FOREVER)):
        with pytest.raises(SessileError, match="no session"):
            call(one)


# halves


class Halves(MemcachedEngine):
    """Loses the connection before or after a chosen request."""

    lose: tuple[int, str] | None = None
    count = 0

    def _run(self, plan: Any) -> Any:
        self.count = 0
        answer = None
        try:
            while True:
                ask = plan.send(answer)
                self.count += 1
                here = self.lose is not None and self.lose[0] == self.count
                if here and self.lose == (self.count, "before"):
                    raise SessionUnavailable("cut off")
                answer = self._pools[self._ring.place(ask.key)].exchange(ask.data)
                if here:
                    raise SessionUnavailable("cut off")
        except StopIteration as done:
            return done.value


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("options", [{"user": "ann"}, {"hard": True}, {"grace": 30}])
def test_a_rotation_that_was_cut_off_is_finished_by_its_repeat(
    engine: MemcachedEngine, options: dict[str, Any], when: str
) -> None:
    halves = Halves([pool.target for pool in engine._pools])
    for step in range(1, 9):
        old, new = key(), key()
        halves.lose = None
        assert halves.create(old, {b"n": b"1"}, FOREVER)
        halves.lose = (step, when)
        changes = Changes(increment={b"n": 1})
        try:
            version = halves.rotate(old, new, changes, FOREVER, token=b"t", **options)
        except SessionUnavailable:
            halves.lose = None
            version = halves.rotate(old, new, changes, FOREVER, token=b"t", **options)
        assert version is not None
        loaded = engine.load(new)
        assert isinstance(loaded, Loaded) and loaded.fields == {b"n": b"2"}
        assert loaded.version == version
        if "grace" in options:
            assert isinstance(engine.load(old), Loaded)
        else:
            assert engine.load(old) is ROTATED
    halves.close()


def test_lost_replies_change_nothing_twice() -> None:
    server = Memcached().start()
    try:
        with Losing(server.port, mark=b"m") as losing:
            engine = open_engine(f"memcached://127.0.0.1:{losing.port}")
            one = key()
            assert engine.create(one, {b"n": b"0"}, FOREVER)
            for turn in range(1, 61):
                losing.drop_replies(1, spare=turn % 5)
                changes = Changes(increment={b"n": 1}, push=[Push(b"l", b"1", 3)])
                assert engine.save(one, changes, FOREVER)
                new = key()
                assert engine.rotate(one, new, NONE, FOREVER, hard=True)
                assert engine.load(one) is ROTATED
                one = new
                loaded = engine.load(one)
                assert isinstance(loaded, Loaded) and loaded.fields[b"n"] == b"%d" % turn
            engine.close()
    finally:
        server.stop()


def test_a_rotation_and_an_end_at_one_moment_leave_no_session_signed_in(
    engine: MemcachedEngine,
) -> None:
    for _ in range(60):
        old, new = key(), key()
        engine.create(old, FIELDS, FOREVER)
        work = [
            lambda old=old, new=new: engine.rotate(old, new, NONE, FOREVER, user="ann"),
            lambda old=old: engine.end(old),
            lambda old=old: engine.save(old, Changes(set={b"a": b"1"}), FOREVER),
        ]
        version, ended, saved = together(3, lambda n, work=work: work[n]())
        loaded = engine.load(new)
        assert (version is None) == (ended == 1) == (loaded is None)
        if isinstance(loaded, Loaded):
            assert saved is None or loaded.fields[b"a"] == b"1"
            assert engine.load(old) is ROTATED
        else:
            assert engine.load(old) is None


# servers


@pytest.mark.proves(Promise.OUTAGE, "memcached")
def test_a_server_that_is_gone_is_an_error_for_its_sessions_only() -> None:
    servers = [Memcached().start() for _ in range(2)]
    engine = open_engine("memcached://" + ",".join(one.place for one in servers) + "")
    try:
        keys = [key() for _ in range(40)]
        for one in keys:
            assert engine.create(one, FIELDS, FOREVER)
        engine.ping()
        servers[1].stop()
        answers = []
        for one in keys:
            try:
                answers.append(bool(engine.load(one)))
            except SessionUnavailable:
                answers.append(None)
        places = [engine._ring.place(one) for one in keys]  # type: ignore[attr-defined]
        assert answers == [True if place == 0 else None for place in places]
        assert {0, 1} == set(places)
        with pytest.raises(SessionUnavailable):
            engine.ping()
    finally:
        engine.close()
        for server in servers:
            server.stop()


def test_login_comes_first(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("app:s3cret\n")
    server = Memcached("-Y", str(users)).start()
    try:
        engine = open_engine(f"memcached://app:s3cret@{server.place}")
        engine.ping()
        engine.close()
        for login in ("app:wrong@", ""):
            engine = open_engine(f"memcached://{login}{server.place}")
            with pytest.raises(ConfigurationError, match="let us in"):
                engine.touch(key())
            engine.close()
    finally:
        server.stop()


@pytest.mark.parametrize("url", ["memcached://h/1", "memcached://a,a", "memcached://h?x=1"])
def test_urls_that_lead_nowhere_are_named(url: str) -> None:
    with pytest.raises(ConfigurationError):
        open_engine(url)
