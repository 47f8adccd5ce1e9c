"""The pool of connections where the contract doesn't look: bounds, forks, TLS, logins, owners."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fleets import RedisServer, certificate
from forks import ends_in_a_child
from sessile.contract import Changes, Life, Loaded
from sessile.errors import ConfigurationError, SessionUnavailable
from sessile.pool import AsyncPool, Pool, Target
from sessile.urls import open_async_engine, open_engine
from sessile.wire import pack
from stores import World, together

FOREVER = Life()
PING = pack([b"PING"])


class Mute:
    """A socket on which connections are accepted and nothing is said before `speak`."""

    def __init__(self, listener: socket.socket, path: str) -> None:
        self.listener, self.path = listener, path
        self.taken: list[socket.socket] = []

    def speak(self) -> None:
        """Answers one request on each of the connections that there are."""
        self.listener.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                plug, _ = self.listener.accept()
                self.taken.append(plug)
                plug.sendall(b"+PONG\r\n")


@pytest.fixture
def mute(tmp_path: Path) -> Iterator[Mute]:
    path = str(tmp_path / "mute")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        mute = Mute(listener, path)
        yield mute
        for plug in mute.taken:
            plug.close()


def test_connections_are_bounded_and_so_is_the_wait_for_one(mute: Mute) -> None:
    pool = Pool(Target(path=mute.path, pool=2, pool_wait=0.05, timeout=60))
    told: list[str] = []

    def ask(number: int) -> Any:
        try:
            return pool.exchange(PING)
        except SessionUnavailable as error:
            told.append(str(error))
            if len(told) == 4:
                mute.speak()
            return "in vain"

    answers = together(6, ask)
    assert len(mute.taken) == 2
    assert sum(answer != "in vain" for answer in answers) == 2
    assert sum("in use" in text for text in told) == 4
    pool.close()


def test_a_store_that_is_silent_is_too_slow(mute: Mute) -> None:
    target = Target(path=mute.path, timeout=0.1)
    with pytest.raises(SessionUnavailable, match="too slow"):
        Pool(target).exchange(PING)
    with pytest.raises(SessionUnavailable, match="too slow"):
        asyncio.run(AsyncPool(target).exchange(PING))


def test_a_bounded_pool_serves_all_who_wait(world: World) -> None:
    engine = open_engine(f"unix://{world.sessile().unixsocket}?pool=2&pool_wait=20&timeout=20")
    key = os.urandom(16)
    engine.create(key, {}, FOREVER)

    def add(number: int) -> None:
        for _ in range(40):
            assert engine.save(key, Changes(increment={b"n": 1}), FOREVER)

    together(8, add)
    loaded = engine.load(key)
    assert isinstance(loaded, Loaded) and loaded.fields[b"n"] == b"320"
    engine.close()


def test_asyncio_waits_for_connections_and_gives_up_in_time(mute: Mute) -> None:
    async def main() -> None:
        pool = AsyncPool(Target(path=mute.path, pool=2, pool_wait=0.05, timeout=60))
        told: list[str] = []

        async def ask() -> Any:
            try:
                return await pool.exchange(PING)
            except SessionUnavailable as error:
                told.append(str(error))
                if len(told) == 4:
                    mute.speak()
                return "in vain"

        answers = await asyncio.gather(*(ask() for _ in range(6)))
        assert len(mute.taken) == 2
        assert sum(answer != "in vain" for answer in answers) == 2
        assert sum("in use" in text for text in told) == 4
        await pool.close()

    asyncio.run(main())


def test_a_pool_of_one_and_cancelling_anywhere_mixes_no_answers(world: World) -> None:
    async def main() -> None:
        url = f"unix://{world.sessile().unixsocket}?pool=1&pool_wait=20&timeout=20"
        engine = open_async_engine(url)
        keys = [os.urandom(16) for _ in range(8)]
        for number, key in enumerate(keys):
            await engine.create(key, {b"n": b"%d" % number}, FOREVER)
        for turn in range(400):
            jobs = [asyncio.ensure_future(engine.load(key)) for key in keys]
            for _ in range(turn % 12):
                await asyncio.sleep(0)
            jobs[turn % len(jobs)].cancel()
            answers = await asyncio.gather(*jobs, return_exceptions=True)
            for number, answer in enumerate(answers):
                if isinstance(answer, asyncio.CancelledError):
                    continue
                assert isinstance(answer, Loaded) and answer.fields[b"n"] == b"%d" % number
        await engine.close()

    asyncio.run(main())


def test_tls_checks_certificates_and_names(tmp_path: Path) -> None:
    ca, stranger = certificate(tmp_path, "ca"), certificate(tmp_path, "stranger")
    server = RedisServer()
    server.arguments = ("--tls-port", str(server.port), "--port", "0", "--tls-auth-clients", "no")
    server.arguments += ("--tls-cert-file", f"{ca}.pem", "--tls-key-file", f"{ca}.key")
    server.arguments += ("--tls-ca-cert-file", f"{ca}.pem")
    server.start()
    try:
        url = f"sessiles://localhost:{server.port}?timeout=5"
        engine = open_engine(f"{url}&ca={ca}.pem")
        engine.ping()
        engine.close()
        for wrong in (url, f"{url}&ca={stranger}.pem", f"{url}&ca={ca}.pem".replace("host", "")):
            with pytest.raises(SessionUnavailable):
                open_engine(wrong).ping()

        async def main() -> None:
            engine = open_async_engine(f"{url}&ca={ca}.pem")
            await engine.ping()
            await engine.close()
            with pytest.raises(SessionUnavailable):
                await open_async_engine(url).ping()

        asyncio.run(main())
    finally:
        server.stop()
    with pytest.raises(ConfigurationError, match="certificate"):
        open_engine(f"sessiles://h?ca={tmp_path}/nowhere")
    with pytest.raises(ConfigurationError, match="sessiles"):
        open_engine(f"sessile://h?ca={ca}.pem")


def test_login_and_database_come_first() -> None:
    server = RedisServer("--requirepass", "s3cret")
    server.start()

    def ping(url: str) -> None:
        engine = open_engine(url)
        try:
            engine.ping()
            with pytest.raises(ConfigurationError, match="isn't Sessile"):
                engine.touch(b"k")
        finally:
            engine.close()

    try:
        place = f"127.0.0.1:{server.port}"
        ping(f"sessile://:s3cret@{place}/7")
        ping(f"sessile://default:s3cret@{place}")
        for wrong in (f"sessile://:guess@{place}", f"sessile://{place}"):
            with pytest.raises(ConfigurationError) as told:
                ping(wrong)
            assert "guess" not in str(told.value)
    finally:
        server.stop()


def test_a_socket_of_another_user_is_not_spoken_to(mute: Mute) -> None:
    target = Target(path=mute.path, timeout=60, owner=os.geteuid() + 1)
    with pytest.raises(SessionUnavailable, match="another user"):
        Pool(target).exchange(PING)
    with pytest.raises(SessionUnavailable, match="another user"):
        asyncio.run(AsyncPool(target).exchange(PING))


def test_threads_that_lose_their_connections_leave_room_for_others(world: World) -> None:
    engine = open_engine(f"unix://{world.sessile().unixsocket}?pool=2")
    stop = threading.Event()

    def closing() -> None:
        while not stop.is_set():
            engine.close()

    closer = threading.Thread(target=closing)
    closer.start()
    try:
        begun = time.monotonic()
        together(4, lambda number: [engine.touch(b"absent") for _ in range(100)])
        assert time.monotonic() - begun < 60
    finally:
        stop.set()
        closer.join()
    engine.close()


def test_a_child_closes_nothing_that_waits_for_a_thread_of_its_parent(mute: Mute) -> None:
    pool = Pool(Target(path=mute.path, timeout=60))
    call = threading.Thread(target=pool.exchange, args=(PING,))
    call.start()
    while not mute.taken:
        mute.speak()
    call.join()
    assert ends_in_a_child(pool._change, pool.close)
    pool.close()


def test_signals_dont_prolong_the_wait_for_a_reply(mute: Mute) -> None:
    pool = Pool(Target(path=mute.path, timeout=0.5))
    began = time.monotonic()

    def tick(*_: Any) -> None:
        assert time.monotonic() < began + 10, "it waits as long as signals come"

    before = signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        with pytest.raises(SessionUnavailable, match="too slow"):
            pool.exchange(PING)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
