"""Event loops that come and go, children of a fork, and gunicorn's workers, on each kind of store.

An engine is made once, often before any of them is there. What always holds: no connection is used
by two processes or two loops, and none is left behind.
"""

from __future__ import annotations

import asyncio
import gc
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from servers import free_port, server_bin
from sessile.contract import Changes, Life
from sessile.urls import open_async_engine, open_engine
from stores import World, tag, together

FOREVER = Life()
STORES = ["redis", "sessile", "memcached", "embedded"]
LOOPS = 1_000
CHILDREN = 4
SAVES = 50


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, world: World, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store that many may ask at once."""
    if request.param == "embedded":
        monkeypatch.setenv("SESSILE_SERVER_BIN", server_bin())
        return f"embedded:{world.home()}?timeout=20&pool_wait=20"
    return world.url(request.param, "timeout=20&pool_wait=20")


def sockets() -> int:
    """How many sockets this process has open."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except OSError:
            continue
    return sum(link.startswith("socket:") for link in links)


def key() -> bytes:
    return f"t:{tag()}{os.urandom(16).hex()}".encode()


def test_a_thousand_short_loops_leave_no_socket(url: str) -> None:
    engine = open_async_engine(url)
    one = key()
    assert asyncio.run(engine.create(one, {}, FOREVER))
    gc.collect()
    before = sockets()
    for _ in range(LOOPS):
        assert asyncio.run(engine.touch(one))
    gc.collect()
    assert sockets() <= before


def test_children_of_a_fork_make_their_own_connections(url: str) -> None:
    engine = open_engine(url)
    one = key()
    engine.create(one, {b"n": b"0"}, FOREVER)
    children = []
    for _ in range(CHILDREN):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for _ in range(SAVES):
                    engine.save(one, Changes(increment={b"n": 1}), FOREVER)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    for _ in range(SAVES):
        engine.save(one, Changes(increment={b"n": 1}), FOREVER)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * CHILDREN
    assert engine.load(one).fields[b"n"] == b"%d" % (SAVES * (CHILDREN + 1))  # type: ignore[union-attr]
    engine.close()


APP = """
import os
from flask import Flask, session
from sessile.flask import Sessile

app = Flask(__name__)
Sessile(app, url=os.environ["SESSILE_URL"])

@app.get("/<name>")
def view(name):
    session.setdefault("name", name)
    session["count"] = session.get("count", 0) + 1
    return {"name": session["name"], "count": session["count"], "pid": os.getpid()}

with app.test_client() as client:  # the parent has connections of its own before it forks
    assert client.get("/parent").json["count"] == 1
    assert client.get("/parent").json["count"] == 2
"""
VISITS = 40


@contextmanager
def gunicorn(folder: Path, url: str) -> Iterator[int]:
    """Three workers of an app that was loaded, and used, before them; the port."""
    (folder / "preloaded.py").write_text(APP)
    port = free_port()
    source = Path(__file__).resolve().parents[1] / "src"
    environment = {**os.environ, "SESSILE_URL": url, "PYTHONPATH": f"{source}:{folder}"}
    command = [sys.executable, "-m", "gunicorn", "preloaded:app", "--preload", "--workers", "3"]
    command += ["--threads", "4", "--bind", f"127.0.0.1:{port}", "--timeout", "120"]
    log = folder / "log"
    with log.open("wb") as sink:
        server = subprocess.Popen(command, env=environment, stdout=sink, stderr=sink)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=20).close()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def test_gunicorn_may_load_the_app_before_its_workers(url: str, tmp_path: Path) -> None:
    with gunicorn(tmp_path, url) as port:

        def browser(number: int) -> set[int]:
            cookie, pids = "", set()
            for visit in range(1, VISITS + 1):
                # A new connection each time, so that any worker may have it.
                client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                client.request("GET", f"/browser{number}", headers={"Cookie": cookie})
                answer = client.getresponse()
                told = json.loads(answer.read())
                assert (told["name"], told["count"]) == (f"browser{number}", visit)
                cookie = (answer.getheader("Set-Cookie") or cookie).partition(";")[0]
                pids.add(told["pid"])
                client.close()
            return pids

        seen = set().union(*together(6, browser))
    assert len(seen) > 1, "one worker did it all"
