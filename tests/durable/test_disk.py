"""A disk that takes no more, and what a crash leaves beside the files."""

from __future__ import annotations

import random
import resource
import socket
import time

import pytest
import redis

from durable_servers import LOG, check, everything, fill, ours, rewritten, running
from servers import free_port

MISCONF = redis.exceptions.ResponseError


def told(port: int, line: bytes) -> bytes:
    """What memcached's port answers."""
    with socket.create_connection(("127.0.0.1", port)) as there:
        there.settimeout(20)
        there.sendall(line)
        return there.recv(1000)


def bulk(n: int) -> bytes:
    """A value that can't be compressed."""
    return random.Random(n).randbytes(300)


@pytest.mark.parametrize("policy", ["always", "everysec"])
def test_a_disk_that_takes_no_more_stops_writes_and_nothing_else(folder, policy):
    text = free_port()
    options = (*LOG, "--appendfsync", policy, "--memcached-port", str(text))
    server = ours(folder, *options)
    client, pid = server.client, server.process.pid
    # A base for which there won't be room again.
    known = {f"base:{n}": bulk(n) for n in range(1000)}
    client.mset(known)
    rewritten(client)
    client.set("to delete", "a")
    client.set("mc", "b")
    client.execute_command("SESSION.CREATE", "to end", "USER", "ann", "SET", 1, "a", "1")
    client.set("expires", "soon", px=200)
    # The disk is full, as far as this process goes.
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    failed = None
    for n in range(10_000):
        try:
            client.set(f"k:{n}", bulk(n))
        except redis.ConnectionError:
            continue  # The outcome of that one is unknown.
        except MISCONF as error:
            failed = str(error)
            break
        known[f"k:{n}"] = bulk(n)
    assert failed and failed.startswith("MISCONF"), failed
    assert len(known) > 1100
    # Reads go on, of all that is there.
    values = client.mget(known)
    assert values == list(known.values())
    assert client.execute_command("SESSION.LOAD", "to end")
    assert told(text, b"get k:1\r\n").startswith(b"VALUE k:1")
    assert client.info("persistence")["aof_last_write_status"] == "err"
    # Writes don't, and what ends, ends in memory at least.
    with pytest.raises(MISCONF, match="MISCONF Errors writing"):
        client.set("new", 1)
    assert told(text, b"set new 0 0 1\r\n1\r\n").startswith(b"SERVER_ERROR")
    with pytest.raises(MISCONF, match="MISCONF ended in memory, not on disk"):
        client.delete("to delete")
    with pytest.raises(MISCONF, match="ended in memory"):
        client.execute_command("SESSION.END", "to end")
    assert told(text, b"delete mc\r\n").startswith(b"SERVER_ERROR deleted in memory")
    assert client.exists("new", "to delete", "mc") == 0
    assert client.execute_command("SESSION.LOAD", "to end") is None
    deadline = time.monotonic() + 30
    while client.get("expires") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    # The disk has room again: it recovers alone.
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    while True:
        try:
            client.set("after", "all")
            break
        except MISCONF:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert client.info("persistence")["aof_last_write_status"] == "ok"
    server.kill()
    assert check(folder / "appendonlydir")[1]
    with running(ours(folder, *LOG)) as client:
        values = client.mget(known)
        assert values == list(known.values())
        assert client.get("after") == b"all"
        assert client.exists("new", "to delete", "mc", "expires") == 0
        assert client.execute_command("SESSION.LOAD", "to end") is None


def test_what_was_written_last_before_a_clean_stop_is_known_to_be_whole(folder):
    with running(ours(folder, *LOG)) as client:
        fill(client)
        client.set("last", "the very last value")
    increment = max((folder / "appendonlydir").glob("*.incr.aof"), key=lambda p: p.stat().st_size)
    whole = increment.read_bytes()
    at = whole.index(b"the very last")
    increment.write_bytes(whole[:at] + b"X" + whole[at + 1 :])
    with pytest.raises(RuntimeError, match=f"{increment.name}.*byte"):
        ours(folder, *LOG)
    increment.write_bytes(whole)
    with running(ours(folder, *LOG)) as client:
        assert client.get("last") == b"the very last value"


def test_what_a_crash_left_beside_the_files_goes_and_nothing_else(folder):
    with running(ours(folder, *LOG)) as client:
        fill(client)
        rewritten(client)
        before = everything(client)
        client.save()
    logs = folder / "appendonlydir"
    left = [logs / "appendonly.aof.77.incr.aof", logs / "appendonly.aof.9.base.rdb"]
    left += [logs / "temp-123-appendonly.aof.manifest"]
    others = [logs / "appendonly.aof.77.incr.aof.bak", logs / "notes", logs / "x.aof.1.base.rdb"]
    others += [folder / "appendonly.aof.77.incr.aof", folder / "dump.rdb"]
    for path in (*left, *others[:-1]):
        path.write_text("left behind")
    with running(ours(folder, *LOG)) as client:
        assert everything(client) == before
        assert not [path for path in left if path.exists()]
        assert all(path.exists() for path in others)
    assert check(logs)[1]


def test_a_rewrite_that_fails_leaves_the_log_as_it_was_and_is_tried_again(folder):
    server = ours(folder, *LOG)
    client, pid = server.client, server.process.pid
    before = fill(client)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    # The next increment is small enough, the base isn't.
    client.bgrewriteaof()
    deadline = time.monotonic() + 30
    while client.info("persistence")["aof_last_bgrewrite_status"] != "err":
        assert time.monotonic() < deadline
        time.sleep(0.005)
    with pytest.raises(redis.ResponseError):
        client.save()
    assert not list(folder.glob("**/temp-*"))
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    client.set("more", 1)
    rewritten(client)
    server.kill()
    with running(ours(folder, *LOG)) as client:
        assert client.get("more") == b"1"
        client.delete("more")
        assert everything(client) == before
