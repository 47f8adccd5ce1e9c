"""The wire: replies in pieces, and what is none; requests as the server expects them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import threading
import time

import pytest

from sessile import ConfigurationError, SessionConflict, SessionUnavailable, pool, wire
from sessile.contract import ROTATED, Changes, Life, Loaded, Push
from sessile.promises import Promise
from sessile.sessile_plan import Plans
from sessile.urls import open_async_engine, open_engine
from sessile.wire import MORE, ProtocolError, Refused, Replies, pack
from traffic import Stalls

STREAM = (
    b"+OK\r\n:7\r\n$-1\r\n*-1\r\n$5\r\na\r\nb\r\r\n*5\r\n:1\r\n$-1\r\n:9\r\n$3\r\nann\r\n"
    b"*2\r\n$1\r\nf\r\n$0\r\n\r\n-CONFLICT no\r\n*0\r\n"
)


@pytest.mark.parametrize("fast", [True, False])
def test_values_stand_by_the_names_before_them(fast, monkeypatch):
    if not fast:
        monkeypatch.setattr(wire, "_native", None)
    flat = [b"a", b"1", b"", b"2", b"a", b"3"]
    assert list(wire.paired(flat).items()) == [(b"a", b"3"), (b"", b"2")]
    assert wire.paired([]) == {}
    for wrong in ([b"a", b"1", b"b"], [[b"a"], b"1"], None, 7):
        with pytest.raises(ProtocolError, match="names and values"):
            wire.paired(wrong)


def test_replies_come_out_whole_however_they_came_in():
    seed = int(os.environ.get("SEED", 0)) or time.time_ns() % 1_000_000
    print(f"SEED={seed}")
    rng = random.Random(seed)
    expected = ["OK", 7, None, None, b"a\r\nb\r", [1, None, 9, b"ann", [b"f", b""]]]
    for _ in range(300):
        replies, got, at = Replies(), [], 0
        while at < len(STREAM):
            size = rng.randrange(1, 9)
            replies.feed(STREAM[at : at + size])
            at += size
            while (reply := replies.take()) is not MORE:
                got.append(reply)
        assert got[:6] == expected and got[7] == []
        assert isinstance(got[6], Refused) and got[6].code == "CONFLICT"
        assert replies.is_empty


class Counted(Replies):
    """Notes each status that is read."""

    __slots__ = ("seen",)

    def __init__(self):
        super().__init__()
        self.seen = []

    def status(self, line):
        self.seen.append(line)
        return line


@pytest.mark.parametrize("shape", [b"*400\r\n%b", b"*1\r\n*400\r\n%b"], ids=["flat", "nested"])
def test_what_a_list_has_already_is_not_read_again_with_each_piece(shape):
    stream = shape % b"".join(b"+%d\r\n$2\r\nab\r\n" % at for at in range(200))
    replies, got = Counted(), MORE
    for at in range(0, len(stream), 7):
        assert got is MORE and not (at and replies.is_empty)
        replies.feed(stream[at : at + 7])
        got = replies.take()
    items = got[0] if len(got) == 1 else got
    assert items == [word for at in range(200) for word in (b"%d" % at, b"ab")]
    assert len(replies.seen) == 200 and replies.is_empty


def some_reply(rng, depth=0):
    """The bytes of a reply, now and then damaged."""
    if depth < 9 and rng.random() < 0.4:
        items = [some_reply(rng, depth + 1) for _ in range(rng.randrange(4))]
        return b"*%d\r\n" % rng.choice([len(items)] * 9 + [-1]) + b"".join(items)
    text = rng.randbytes(rng.choice([0, 1, 5, 300]))
    bulk = b"$%d\r\n%b\r\n" % (len(text), text)
    number = rng.choice([b":0", b":-7", b":+3", b":123456789012345678", b":9" * 20, b":- 1"])
    return rng.choice([bulk, bulk, b"$-1\r\n", number + b"\r\n", b"+OK\r\n", b"-ERR x\r\n"])


def outcome(data, native, monkeypatch):
    monkeypatch.setattr(wire, "_native", native)
    replies = Replies()
    replies.feed(data)
    try:
        reply = replies.take()
    except ProtocolError as error:
        return str(error)
    return repr(reply), replies.is_empty


def test_native_replies_are_those_of_python(monkeypatch):
    if (native := wire._native) is None:
        assert not os.environ.get("SESSILE_NATIVE"), "build it with tools/native.py"
        pytest.skip("the native module isn't there: build it with tools/native.py")
    seed = int(os.environ.get("SEED", 0)) or time.time_ns() % 1_000_000
    print(f"SEED={seed}")
    rng, taken = random.Random(seed), 0
    for _ in range(5000):
        data = bytearray(some_reply(rng))
        for _ in range(rng.choice([0, 0, 0, 1, 2])):
            data[rng.randrange(len(data))] = rng.choice(b"0123456789-+:$*\r\nx")
        data = bytes(data[: rng.choice([len(data)] * 3 + [rng.randrange(1, len(data) + 1)])])
        taken += native.reply(data) is not None
        assert outcome(data, native, monkeypatch) == outcome(data, None, monkeypatch), data
    assert taken > 1000


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n",
        b"$x\r\n",
        b"$999999999999\r\n",
        b"*99999999\r\n",
        b"*1\r\n" * 20,
        b":\r\n",
        b"x" * 70_000,
    ],
)
def test_what_is_no_reply_ends_the_connection(data):
    replies = Replies()
    replies.feed(data)
    with pytest.raises(ProtocolError):
        replies.take()


def test_requests_say_all_that_was_asked():
    changes = Changes(
        delete_trees=[b"a"],
        delete=[b"b"],
        set={b"c": b"1 0"},
        init={b"d": b"2 1"},
        increment={b"e": 3},
        push=[Push(b"f", b'"x"', 5)],
    )
    request = Plans().save(b"k", changes, Life(idle=60, maximum=0), 4, "ann", b"t")
    words = (
        b"SESSION.SAVE k IF 4 IDLE 60 MAX 0 DELTREE 1 a DEL 1 b SET 1 c 1~0 INIT 1 d 2~1 "
        b'INCR 1 e 3 PUSH f "x" TRIM 5 USER ann REQ t'
    )
    assert request.data == pack([word.replace(b"~", b" ") for word in words.split(b" ")])
    plain = Plans().save(b"k", Changes(), Life(), None, None, None)
    assert plain.data == pack([b"SESSION.SAVE", b"k"])


def test_replies_mean_what_the_contract_says():
    load = Plans().load(b"k", False).read
    assert load([7, 1000, None, b"ann", [b"f", b"1"]]) == Loaded(7, {b"f": b"1"}, "ann", 1000, None)
    assert load("ROTATED") is ROTATED and load(None) is None
    with pytest.raises(SessionConflict):
        load(Refused(b"CONFLICT session version is 9"))
    with pytest.raises(SessionUnavailable):
        load(Refused(b"LOADING it is"))
    with pytest.raises(ConfigurationError, match="isn't Sessile"):
        load(Refused(b"ERR unknown command 'SESSION.LOAD'"))


class Scripted:
    """A server that answers each request as the test says: bytes, a cut, or silence."""

    def __init__(self, *acts: bytes | None) -> None:
        self.acts = list(acts)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.asked = 0
        self.open = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plug, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(plug,), daemon=True).start()

    def _serve(self, plug: socket.socket) -> None:
        self.open += 1
        with contextlib.suppress(OSError), plug:
            while plug.recv(65536):
                self.asked += 1
                act = self.acts.pop(0)
                if act is None:
                    break
                plug.sendall(act)
        self.open -= 1

    def url(self, timeout: float) -> str:
        return f"sessile://127.0.0.1:{self.port}?timeout={timeout}"


@pytest.fixture(params=["sync", "async"])
def ask(request):
    """Runs operations on an engine of either kind."""

    def asking(url, *calls):
        if request.param == "sync":
            engine = open_engine(url)
            found = [attempt(lambda c=c: c(engine)) for c in calls]
            engine.close()
            return found

        async def run():
            engine = open_async_engine(url)
            results = []
            for call in calls:
                try:
                    results.append(await call(engine))
                except SessionUnavailable as error:
                    results.append(error)
            return results

        return asyncio.run(run())

    return asking


def attempt(call):
    try:
        return call()
    except SessionUnavailable as error:
        return error


def touch(engine):
    return engine.touch(b"k")


def test_a_lost_connection_costs_one_repeat_and_a_second_loss_is_told(ask):
    server = Scripted(b":1\r\n", None, b":0\r\n", None, None)
    found = ask(server.url(20), touch, touch, touch)
    assert found[:2] == [True, False]
    assert isinstance(found[2], SessionUnavailable) and server.asked == 5


def test_silence_is_told_in_time_and_its_reply_is_nobody_s(ask):
    for timeout in (0.2, 2, 10):
        server = Scripted(b"", b":1\r\n")
        with Stalls() as stalls:
            begun = time.monotonic()
            found = ask(server.url(timeout), touch, touch)
            took = time.monotonic() - begun
        assert isinstance(found[0], SessionUnavailable) and server.asked == 2
        assert timeout <= took < 2 * timeout + 5 + stalls.seconds
        if found[1] is True:
            return
        # The second one had that much time, too: with more, no stall can be what it lacked.
    raise AssertionError(found)


def test_more_than_was_asked_ends_the_connection(ask):
    server = Scripted(b":1\r\n:1\r\n", b":1\r\n:1\r\n", b":1\r\n")
    found = ask(server.url(20), touch, touch)
    assert isinstance(found[0], SessionUnavailable)


@pytest.mark.proves(Promise.OUTAGE, "sessile")
def test_an_outage_is_not_asked_again_and_again(ask, monkeypatch):
    monkeypatch.setattr(pool, "PAUSE", 60)
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    found = ask(f"sessile://127.0.0.1:{port}", *[touch] * 6)
    assert all(isinstance(one, SessionUnavailable) for one in found)
    assert "isn't asked for a moment" in str(found[-1])


def test_a_cancelled_request_leaves_its_reply_to_nobody():
    server = Scripted(b"", b":1\r\n")

    async def run():
        engine = open_async_engine(server.url(30))
        task = asyncio.ensure_future(engine.touch(b"k"))
        while server.asked < 1:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await engine.touch(b"k") is True

    asyncio.run(run())


def test_loops_leave_no_socket_behind():
    server = Scripted(*[b":1\r\n"] * 50)

    async def run(engine):
        assert await engine.touch(b"k") is True

    engine = open_async_engine(server.url(20))
    for _ in range(50):
        asyncio.run(run(engine))
    deadline = time.monotonic() + 30
    while server.open and time.monotonic() < deadline:
        time.sleep(0.001)
    assert server.open == 0


@pytest.mark.parametrize(
    "url", ["sessile://h/x", "sessile://a,b", "unix://sock", "sessile://h?pol=1", "sessile://h:x"]
)
def test_urls_that_lead_nowhere_are_named(url):
    with pytest.raises(ConfigurationError):
        open_engine(url)
