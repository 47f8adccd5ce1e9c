"""The engine `file:` where the contract doesn't look: processes, rights, damaged files."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from sessile.contract import Changes, Life, Loaded
from sessile.errors import ConfigurationError, SessionUnavailable
from sessile.promises import Promise
from sessile.urls import open_engine
from stores import FIELDS

FOREVER = Life()
ENV = {"PYTHONPATH": str(Path(__file__).resolve().parents[1] / "src")}


def test_processes_share_a_file(tmp_path: Path) -> None:
    engine = open_engine(f"file://{tmp_path}/sessions?sync=off")
    engine.create(b"k", {b"n": b"0"}, FOREVER)
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for _ in range(40):
                    engine.save(b"k", Changes(increment={b"n": 1}), FOREVER)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    for _ in range(40):
        engine.save(b"k", Changes(increment={b"n": 1}), FOREVER)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 3
    engine.close()
    loaded = open_engine(f"file://{tmp_path}/sessions").load(b"k")
    assert isinstance(loaded, Loaded)
    assert loaded.fields == {b"n": b"160"}


@pytest.mark.proves(Promise.RESTART, "file")
def test_what_was_confirmed_outlives_a_process_that_was_killed(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from sessile.contract import Changes, Life
from sessile.urls import open_engine
engine = open_engine(sys.argv[1])
assert engine.create(b"stays", {b"a": b"1"}, Life(), user="ann")
assert engine.create(b"ended", {b"a": b"1"}, Life(), user="ann")
assert engine.save(b"stays", Changes(set={b"a": b"2"}), Life())
assert engine.end(b"ended") == 1
os.kill(os.getpid(), signal.SIGKILL)
"""
    url = f"file://{tmp_path / 'sessions'}"
    done = subprocess.run([sys.executable, "-c", script, url], check=False, env=ENV)
    assert done.returncode == -signal.SIGKILL
    engine = open_engine(url)
    assert engine.load(b"stays").fields == {b"a": b"2"}
    assert engine.load(b"ended") is None
    assert [row.key for row in engine.sessions_of("ann")] == [b"stays"]
    engine.close()


def test_a_new_file_that_another_holds_is_waited_for(tmp_path: Path) -> None:
    """Many processes may open a file at its first moment; SQLite lets one of them set it up."""
    path = tmp_path / "sessions"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE held (n)")
        other.execute("BEGIN IMMEDIATE")
        failed = open_engine(f"file:{path}?timeout=0.05")
        with pytest.raises(SessionUnavailable, match="locked"):
            failed.create(b"k", FIELDS, Life())
        tried = threading.Event()
        created: list[int | None] = []

        def create() -> None:
            engine = open_engine(f"file:{path}?timeout=20")
            tried.set()
            created.append(engine.create(b"k", FIELDS, Life()))
            engine.close()

        thread = threading.Thread(target=create)
        thread.start()
        tried.wait()
        thread.join(0.1)
        assert not created
        other.execute("COMMIT")
        thread.join()
        failed.close()
    assert created and created[0] is not None


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        engine = open_engine(f"file://{tmp_path}/sessions")
        engine.create(b"k", FIELDS, FOREVER)
        assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {"0o600"}
        engine.close()
    finally:
        os.umask(old)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sessions").write_bytes(b"no database, but long enough to be looked at" * 99)
    with pytest.raises(SessionUnavailable):
        open_engine(f"file://{tmp_path}/sessions").ping()


@pytest.mark.parametrize(
    "url", ["file:", "file://host/x", "file:/nowhere/at/all/x", "file:x?sync=often"]
)
def test_a_bad_url_is_named(url: str) -> None:
    with pytest.raises(ConfigurationError, match="file URL"):
        open_engine(url)
