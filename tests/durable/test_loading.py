"""What clients see while the server reads its files."""

from __future__ import annotations

import random
import stat
import time
from pathlib import Path

import pytest
import redis

from durable_servers import NO_LOG, Slow, ours, running

VALUE = random.Random(1).randbytes(1024)
"""Nothing that could be compressed."""


def a_snapshot(folder: Path) -> bytes:
    """A snapshot with a key, and a key that is overdue by now."""
    with running(ours(folder, *NO_LOG)) as client:
        client.set("k", VALUE)
        client.set("overdue", "x", px=1)
        client.save()
    file = folder / "dump.rdb"
    written = file.read_bytes()
    file.unlink()
    return written


def test_clients_are_told_while_files_are_read(folder):
    snapshot = a_snapshot(folder)
    server = Slow(folder)
    client = server.client
    server.pipe.write(snapshot[:200])
    for command in ("GET k", "SET k new", "PING", "SESSION.LOAD k", "KEYS *"):
        with pytest.raises(redis.BusyLoadingError):
            pytest.fail(f"{command}: {client.execute_command(*command.split())}")
    # A transaction, too, may have only what needs no keys.
    pipe = client.pipeline()
    pipe.set("k", "new")
    with pytest.raises((redis.BusyLoadingError, redis.exceptions.ExecAbortError)):
        pipe.execute()
    for save in ("SAVE", "BGSAVE", "BGREWRITEAOF"):
        with pytest.raises(redis.RedisError):
            client.execute_command(save)
    info = client.info("persistence")
    assert info["loading"] == 1
    assert info["loading_loaded_bytes"] == 200
    assert client.config_get("port") == {"port": str(server.ports[0])}
    assert server.told(b"get k\r\n").startswith(b"SERVER_ERROR loading")
    assert server.told(b"set k 0 0 3\r\nnew\r\n").startswith(b"SERVER_ERROR loading")
    assert server.told(b"mg k v\r\n").startswith(b"SERVER_ERROR loading")
    assert server.told(b"version\r\n").startswith(b"VERSION")
    server.pipe.write(snapshot[200:])
    server.pipe.close()
    deadline = time.monotonic() + 30
    while client.info("persistence")["loading"]:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert client.get("k") == VALUE
    assert client.get("overdue") is None
    assert server.told(b"get k\r\n").startswith(b"VALUE k 0 1024")
    # What is overdue ends by itself, too.
    while client.dbsize() > 1:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    server.process.terminate()
    assert server.ended()[0] == 0


def test_a_stop_while_files_are_read_saves_nothing(folder):
    snapshot = a_snapshot(folder)
    server = Slow(folder, "--save", "1 1")
    server.pipe.write(snapshot[:200])
    with pytest.raises(redis.BusyLoadingError):
        server.client.get("k")
    server.process.terminate()
    deadline = time.monotonic() + 30
    while server.is_open():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    server.pipe.close()
    code, said = server.ended()
    assert (code, "Ready to accept" in said) == (0, False), said
    assert stat.S_ISFIFO((folder / "dump.rdb").stat().st_mode), "what was there is there"


def test_damage_that_is_found_late_ends_the_server(folder):
    snapshot = bytearray(a_snapshot(folder))
    snapshot[-1] ^= 1
    server = Slow(folder)
    server.pipe.write(snapshot[:-8])
    with pytest.raises(redis.BusyLoadingError):
        server.client.get("k")
    server.pipe.write(snapshot[-8:])
    server.pipe.close()
    code, said = server.ended()
    assert code == 1
    assert "checksum" in said
    assert "Ready to accept" not in said
