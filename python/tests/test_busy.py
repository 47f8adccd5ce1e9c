"""Waiting for a reply without going to sleep: what it finds and leaves alone, when it stops."""

from __future__ import annotations

import errno
import os
import random
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from sessile import busy, native
from sessile.busy import MISSES_MAX, BusyPoll, busy_poll_of
from sessile.errors import ConfigurationError
from sessile.urls import Address, open_engine
from stores import World

LONG = 5_000_000
"""Microseconds that no reply takes."""


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


class Native:
    """Stands in for the native module; says no once its `answers` are used up."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.answers: list[int] = []

    def ready_after(self, fd: int, micros: int) -> int | None:
        self.calls.append(micros)
        return self.answers.pop(0) if self.answers else None

    def exchange(self, fd: int, data: bytes, micros: int) -> tuple[int, int | None, bytes | None]:
        os.write(fd, data)
        took = self.ready_after(fd, micros)
        return len(data), took, None if took is None else b"reply"


class Plug:
    """A socket to nowhere."""

    __module__ = "socket"

    def __init__(self) -> None:
        self.sent = b""
        self.place = os.open(os.devnull, os.O_WRONLY)

    def fileno(self) -> int:
        return self.place

    def sendall(self, data: bytes) -> None:
        self.sent += data


class Tls(Plug):
    """The same of TLS."""

    __module__ = "ssl"


@pytest.fixture
def stands_in(monkeypatch: pytest.MonkeyPatch) -> Native:
    module = Native()
    monkeypatch.setattr(busy, "native", SimpleNamespace(module=module))
    return module


@pytest.fixture(params=[Plug, Tls])
def plug(request: pytest.FixtureRequest) -> Iterator[Plug]:
    plug = request.param()
    yield plug
    os.close(plug.place)


def test_it_finds_data_the_end_and_errors_and_takes_nothing(pair) -> None:
    if native.module is None:
        pytest.skip("there is no native module")
    ours, theirs = pair
    assert native.module.ready_after(ours.fileno(), 0) is None
    theirs.sendall(b"reply")
    for _ in range(2):
        assert native.module.ready_after(ours.fileno(), LONG) < LONG
    assert ours.recv(100) == b"reply"
    assert native.module.ready_after(ours.fileno(), 200) is None
    theirs.close()
    assert native.module.ready_after(ours.fileno(), LONG) < LONG, "its end"
    assert ours.recv(100) == b""
    number = ours.fileno()
    ours.close()
    assert native.module.ready_after(number, LONG) < LONG, "whoever reads it gets the error"
    assert native.module.ready_after(-1, LONG) is None


def test_a_request_goes_out_and_what_comes_at_once_is_taken(pair) -> None:
    if native.module is None:
        pytest.skip("there is no native module")
    ours, theirs = pair
    number = ours.fileno()
    assert native.module.exchange(number, b"request", 200) == (7, None, None)
    assert theirs.recv(100) == b"request"
    theirs.sendall(b"reply")
    sent, took, chunk = native.module.exchange(number, b"again", LONG)
    assert (sent, chunk) == (5, b"reply") and took < LONG
    assert theirs.recv(100) == b"again"
    # More than there is room for: the rest is the caller's, and there can be no reply yet.
    large = bytes(10_000_000)
    theirs.sendall(b"early")
    sent, took, chunk = native.module.exchange(number, large, LONG)
    assert 0 < sent < len(large) and took is chunk is None
    assert native.module.exchange(number, b"full", LONG) == (0, None, None)
    assert ours.recv(100) == b"early"
    while sent:
        sent -= len(theirs.recv(sent))
    theirs.shutdown(socket.SHUT_WR)
    assert native.module.exchange(number, b"end", LONG)[2] == b""
    theirs.close()
    with pytest.raises(BrokenPipeError) as broken:
        native.module.exchange(number, b"gone", LONG)
    assert broken.value.errno == errno.EPIPE
    ours.close()
    for wrong in (number, -1):
        with pytest.raises(OSError, match="Bad file") as bad:
            native.module.exchange(wrong, b"closed", LONG)
        assert bad.value.errno == errno.EBADF


def test_what_did_not_go_out_at_once_is_sent_all_the_same(pair, monkeypatch) -> None:
    if native.module is None:
        pytest.skip("there is no native module")
    ours, theirs = pair
    data = random.Random(1).randbytes(3_000_000)
    came = bytearray()

    def read() -> None:
        while len(came) < len(data):
            came.extend(theirs.recv(100_000))
        theirs.sendall(b"reply")

    taken = []

    def exchange(fd: int, data: bytes, micros: int) -> Any:
        taken.append(native.module.exchange(fd, data, micros))
        return taken[-1]

    monkeypatch.setattr(busy, "native", SimpleNamespace(module=SimpleNamespace(exchange=exchange)))
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    assert BusyPoll(ours, 100).send(data) is None
    ((sent, took, chunk),) = taken
    assert 0 < sent < len(data) and took is chunk is None
    assert ours.recv(100) == b"reply"
    reader.join()
    assert bytes(came) == data


def test_where_replies_take_longer_it_is_hardly_ever_tried(plug, stands_in) -> None:
    poll = BusyPoll(plug, 100)
    for _ in range(10_000):
        assert poll.send(b".") is None
    assert len(stands_in.calls) <= MISSES_MAX + 10_000 / 2**MISSES_MAX
    assert set(stands_in.calls) == {100}
    by_native = 0 if isinstance(plug, Tls) else len(stands_in.calls)
    assert len(plug.sent) + by_native == 10_000


def test_one_reply_in_time_is_enough_to_go_on(plug, stands_in) -> None:
    poll = BusyPoll(plug, 100)
    for _ in range(600):
        poll.send(b".")
    before = len(stands_in.calls)
    stands_in.answers.extend([100] * 1000)
    for _ in range(1000):
        poll.send(b".")
    assert len(stands_in.calls) - before > 1000 - 2**MISSES_MAX


def test_where_others_have_the_processor_it_is_hardly_ever_tried(plug, stands_in) -> None:
    poll = BusyPoll(plug, 100)
    # What is encrypted is left to the socket, whenever it comes.
    reply = None if isinstance(plug, Tls) else b"reply"
    stands_in.answers.extend([4_000] * 1000)
    assert poll.send(b".") == reply, "late, but it has come"
    for _ in range(10_000):
        poll.send(b".")
    assert len(stands_in.calls) <= 2 + 10_000 / 2**MISSES_MAX
    # The first reply that comes in time is enough to go on.
    stands_in.answers[:] = [150] * 1000
    for _ in range(2**MISSES_MAX):
        poll.send(b".")
    before = len(stands_in.calls)
    assert all(poll.send(b".") == reply for _ in range(100))
    assert len(stands_in.calls) == before + 100


def test_other_sockets_and_none_are_left_alone(stands_in) -> None:
    class Patched(Plug):
        """Waits in a way of its own, as gevent's do."""

        __module__ = "gevent.socket"

    for other, micros in ((Patched(), 100), (Plug(), 0)):
        assert BusyPoll(other, micros).send(b"request") is None
        assert other.sent == b"request"
        os.close(other.place)
    assert not stands_in.calls


def test_urls_say_how_long() -> None:
    def address(text: str) -> Address:
        return Address("sessile", "", "", {"busy_poll": text})

    assert busy_poll_of(Address("sessile", "", "", {})) == busy.BUSY_POLL
    assert [busy_poll_of(address(text)) for text in ("0", "50", "1e9")] == [0, 50, busy.MICROS_MAX]
    for wrong in ("-1", "soon", "nan"):
        with pytest.raises(ConfigurationError, match="busy_poll"):
            busy_poll_of(address(wrong))


@pytest.mark.parametrize("store", ["sessile", "unix", "redis", "memcached"])
def test_engines_ask_unless_they_are_told_not_to(world: World, stands_in, store: str) -> None:
    for option, expected in (("busy_poll=0", set()), ("busy_poll=70", {70})):
        engine = open_engine(world.url(store, option))
        engine.load(b"k" * 32)
        engine.close()
        assert set(stands_in.calls) == expected
