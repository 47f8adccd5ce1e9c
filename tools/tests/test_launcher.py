"""The launcher and the store fixture: what they say about obstacles, and what they leave."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
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
    """The whole launcher: store and shop up, the front page served, nothing left after SIGINT."""
    ports = {name: str(servers.free_port()) for name in ("PORT", "MEMCACHED_PORT", "WEB_PORT")}
    environment = dict(os.environ, SESSILE_SERVER_BIN=servers.server_bin(), **ports)
    command = [sys.executable, str(ROOT / "tools/run.py"), "demo"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        said = []
        for line in process.stdout:
            said.append(line)
            if "Ctrl-C ends both" in line:
                break
        assert f"http://127.0.0.1:{ports['WEB_PORT']}" in "".join(said)
        assert all(servers.can_connect("127.0.0.1", int(port)) for port in ports.values())
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, process.stdout.read()
    assert not any(servers.can_connect("127.0.0.1", int(port)) for port in ports.values())
