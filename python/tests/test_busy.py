"""Waiting for a reply without going to sleep: what it finds and leaves alone, when it stops."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace

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


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The calls of a native module that stands in; it says no once its `answers` are used up."""
    calls: list[int] = []

    def ready_after(fd: int, micros: int) -> int | None:
        calls.append(micros)
        return answers.pop(0) if answers else None

    answers: list[int | None] = []
    module = SimpleNamespace(ready_after=ready_after, answers=answers)
    monkeypatch.setattr(busy, "native", SimpleNamespace(module=module))
    return calls


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


def test_where_replies_take_longer_it_is_hardly_ever_tried(pair, asked) -> None:
    poll = BusyPoll(pair[0], 100)
    for _ in range(10_000):
        poll.wait()
    assert len(asked) <= MISSES_MAX + 10_000 / 2**MISSES_MAX
    assert set(asked) == {100}


def test_one_reply_in_time_is_enough_to_go_on(pair, asked) -> None:
    poll = BusyPoll(pair[0], 100)
    for _ in range(600):
        poll.wait()
    before = len(asked)
    busy.native.module.answers.extend([100] * 1000)
    for _ in range(1000):
        poll.wait()
    assert len(asked) - before > 1000 - 2**MISSES_MAX


def test_where_others_have_the_processor_it_is_hardly_ever_tried(pair, asked) -> None:
    poll = BusyPoll(pair[0], 100)
    answers = busy.native.module.answers
    answers.extend([4_000] * 1000)
    assert poll.wait(), "late, but it has come"
    for _ in range(10_000):
        poll.wait()
    assert len(asked) <= 2 + 10_000 / 2**MISSES_MAX
    # The first reply that comes in time is enough to go on.
    answers[:] = [150] * 1000
    for _ in range(2**MISSES_MAX):
        poll.wait()
    assert all(poll.wait() for _ in range(100))


def test_other_sockets_and_none_are_left_alone(asked) -> None:
    class Patched(socket.socket):
        """Waits in a way of its own, as gevent's do."""

    with Patched() as plug:
        BusyPoll(plug, 100).wait()
    BusyPoll(None, 100).wait()
    with socket.socket() as plug:
        BusyPoll(plug, 0).wait()
    assert not asked


def test_urls_say_how_long() -> None:
    def address(text: str) -> Address:
        return Address("sessile", "", "", {"busy_poll": text})

    assert busy_poll_of(Address("sessile", "", "", {})) == busy.BUSY_POLL
    assert [busy_poll_of(address(text)) for text in ("0", "50", "1e9")] == [0, 50, busy.MICROS_MAX]
    for wrong in ("-1", "soon", "nan"):
        with pytest.raises(ConfigurationError, match="busy_poll"):
            busy_poll_of(address(wrong))


@pytest.mark.parametrize("store", ["sessile", "unix", "redis", "memcached"])
def test_engines_ask_unless_they_are_told_not_to(world: World, asked, store: str) -> None:
    for option, expected in (("busy_poll=0", set()), ("busy_poll=70", {70})):
        engine = open_engine(world.url(store, option))
        engine.load(b"k" * 32)
        engine.close()
        assert set(asked) == expected
