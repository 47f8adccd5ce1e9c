"""The launcher and the store fixture: what they say about obstacles, and what they leave."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

import run
import servers
import setup_venv

ROOT = Path(run.__file__).resolve().parent.parent


def test_a_busy_port_is_replaced_and_said(capsys, monkeypatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("WEB_PORT", str(port))
        assert run.pick("WEB_PORT", 8000, lambda: 12345) == 12345
    assert f"port {port} is busy, taking 12345" in capsys.readouterr().out


def test_a_bad_port_is_one_line(monkeypatch) -> None:
    monkeypatch.setenv("WEB_PORT", "http")
    with pytest.raises(setup_venv.SetupError, match="WEB_PORT must be a port number"):
        run.pick("WEB_PORT", 8000, lambda: 1)


def test_no_cargo_is_one_line(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("SESSILE_SERVER_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(setup_venv.SetupError, match="no cargo"):
        run.build()


def test_a_server_that_dies_at_once_is_quoted(monkeypatch) -> None:
    store = servers.Store(command=sys.executable)
    with pytest.raises(servers.StartError, match="did not become ready"):
        store.start()
    assert store.folder is None
    assert store.processes == []


STRAGGLER = """
import fcntl, socket, sys, time
home = sys.argv[1]
lock = open(home + "/lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
listener = socket.socket(socket.AF_UNIX)
listener.bind(home + "/sock")
listener.listen()
print("up", flush=True)
talk, _ = listener.accept()
talk.recv(100)
talk.close()
time.sleep(0.3)
open(home + "/last", "w").close()
"""


def test_a_server_that_hung_up_is_waited_for(tmp_path) -> None:
    command = [sys.executable, "-c", STRAGGLER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"up\n"
        run.end_server(tmp_path)
        assert (tmp_path / "last").exists(), "it still had something to write"
    run.end_server(tmp_path)
    run.end_server(tmp_path / "none")


def test_a_missing_server_is_named() -> None:
    with pytest.raises(servers.StartError, match="cannot start /nowhere/sessile"):
        servers.Store(command="/nowhere/sessile").start()


def test_a_store_leaves_nothing_behind() -> None:
    with servers.Store() as store:
        folder, processes = store.folder, list(store.processes)
        assert store.alive()
        assert servers.can_connect(store.host, store.port)
    assert not folder.exists()
    assert all(process.returncode is not None for process in processes)


def test_make_run_starts_and_ends_everything() -> None:
    """The whole launcher: the shop up, a page that needs the store, nothing left after SIGINT."""
    port = servers.free_port()
    environment = dict(os.environ, SESSILE_SERVER_BIN=servers.server_bin(), WEB_PORT=str(port))
    command = [sys.executable, str(ROOT / "tools/run.py"), "demo"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            said = []
            for line in process.stdout:
                said.append(line)
                if "Ctrl-C ends both" in line:
                    break
            shown = "".join(said)
            assert f"http://127.0.0.1:{port}" in shown
            admin = re.search(r"live plots:  (http://127\.0\.0\.1:[0-9]+)", shown)[1]
            with urllib.request.urlopen(f"{admin}/healthz", timeout=30) as answer:
                assert answer.status == 200
            assert "/sign-out/" in sign_in(f"http://127.0.0.1:{port}")
            home = Path(re.search(r"redis-cli -s (.*)/sock", shown)[1])
            pid = int(re.search(r"PID: ([0-9]+)", (home / "server.log").read_text())[1])
            os.kill(pid, 0)
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, process.stdout.read()
    assert not servers.can_connect("127.0.0.1", port)
    assert not home.exists()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, "the server is still there"
        time.sleep(0.01)


def sign_in(shop: str) -> str:
    """Signs in as ada; the page that comes then."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with browser.open(f"{shop}/sign-in/", timeout=30) as page:
        token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', page.read().decode())[1]
    form = {"csrfmiddlewaretoken": token, "username": "ada", "password": "ada"}
    with browser.open(f"{shop}/sign-in/", urllib.parse.urlencode(form).encode(), 30) as page:
        return page.read().decode()
