"""`appendonly`, switched while the server runs."""

from __future__ import annotations

import resource
import threading
import time

import pytest
import redis

from durable_servers import LOG, NO_LOG, check, everything, fill, ours, running
from test_faults import fault, increments


def until(client, **wanted):
    """Waits until INFO persistence says so."""
    deadline = time.monotonic() + 30
    while True:
        info = client.info("persistence")
        if all(info.get(name) == value for name, value in wanted.items()):
            return
        assert time.monotonic() < deadline, info
        time.sleep(0.005)


def switch(client, to):
    client.config_set("appendonly", to)
    until(client, aof_enabled=int(to == "yes"), aof_rewrite_in_progress=0)


def swapped(port):
    """What each of two databases that are swapped all the time holds."""
    found = {}
    for db in (2, 3):
        with redis.Redis(port=port, db=db) as client:
            found[db] = client.get("swapped")
    return found


def test_what_is_written_while_the_log_begins_is_in_it(folder):
    server = ours(folder, *NO_LOG)
    client = server.client
    before = fill(client)
    with pytest.raises(redis.ResponseError, match="no append-only file"):
        client.bgrewriteaof()
    written, stop = {}, threading.Event()

    def write():
        with redis.Redis(port=server.port) as own:
            n = 0
            while not stop.is_set():
                own.incr("counter")
                own.set(f"new:{n}", n)
                own.swapdb(2, 3)
                own.select(2)
                own.set("swapped", n)
                own.select(0)
                written[f"new:{n}"] = str(n).encode()
                n += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while len(written) < 20:
            time.sleep(0.005)
        switch(client, "yes")
        count = len(written)
        while len(written) < count + 20:
            time.sleep(0.005)
    finally:
        stop.set()
        thread.join()
    expected = everything(client)
    assert before.items() <= expected.items()
    kept = swapped(server.port)
    server.kill()
    assert check(folder / "appendonlydir")[1]
    restarted = ours(folder, *LOG)
    with running(restarted) as client:
        assert everything(client) == expected
        assert client.mget(written) == list(written.values())
        assert swapped(restarted.port) == kept


def test_off_and_on_again_keeps_what_there_is_now(folder):
    server = ours(folder, *LOG)
    client = server.client
    fill(client)
    client.set("first", 1)
    switch(client, "no")
    assert client.config_get("appendonly") == {"appendonly": "no"}
    client.set("unlogged", 1)
    client.delete("first")
    # What was ended is whole, and of the time when it was ended.
    assert check(folder / "appendonlydir")[1]
    switch(client, "yes")
    client.set("logged", 1)
    assert len(list((folder / "appendonlydir").glob("*.incr.aof"))) == 1
    expected = everything(client)
    server.kill()
    with running(ours(folder, *LOG)) as client:
        assert everything(client) == expected
        assert client.exists("unlogged", "logged") == 2
        assert not client.exists("first")


def test_a_switch_on_its_way_is_nobody_else_s(folder):
    """Settings that are changed while the log is being ended neither undo nor repeat that."""
    server = ours(folder, *LOG, "--appendfsync", "no")
    client = server.client
    client.set("first", 1)
    # Until the fault is over, however long the machine takes.
    with fault(server, "fdatasync:delay_enter=60000000", *increments(folder)):
        client.config_set("appendonly", "no")
        client.config_set("appendfsync", "always")
        # It's there still, so whoever wants it must not be told that it stays.
        assert client.info("persistence")["aof_enabled"] == 1
        with pytest.raises(redis.ResponseError, match="in progress"):
            client.config_set("appendonly", "yes")
        asked = client.config_get("appendonly", "appendfsync")
        assert asked == {"appendonly": "no", "appendfsync": "always"}
        assert client.info("persistence")["aof_enabled"] == 1
    until(client, aof_enabled=0, aof_rewrite_in_progress=0)
    client.set("unlogged", 1)
    client.config_set("appendonly", "yes")
    client.config_set("appendfsync", "everysec")
    assert client.execute_command("WAITAOF", 1, 0, 0) == [1, 0]
    client.config_set("appendfsync", "no")
    assert client.config_get("appendonly") == {"appendonly": "yes"}
    client.set("logged", 1)
    server.kill()
    with running(ours(folder, *LOG)) as client:
        assert client.exists("first", "unlogged", "logged") == 3


def test_a_log_that_cannot_begin_refuses_writes_until_it_can_or_is_not_wanted(folder):
    server = ours(folder, *NO_LOG)
    client, pid = server.client, server.process.pid
    before = fill(client)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    client.config_set("appendonly", "yes")
    until(client, aof_last_write_status="err")
    with pytest.raises(redis.ResponseError, match="MISCONF"):
        client.set("new", 1)
    assert everything(client) == before
    deadline = time.monotonic() + 30
    while True:
        try:
            client.config_set("appendonly", "no")
            break
        except redis.ResponseError as error:
            # It's just trying again.
            assert "in progress" in str(error) and time.monotonic() < deadline
            time.sleep(0.01)
    until(client, aof_enabled=0)
    client.set("new", 1)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    switch(client, "yes")
    server.kill()
    with running(ours(folder, *LOG)) as client:
        assert client.get("new") == b"1"


def test_a_folder_of_somebody_else_is_an_error_and_nothing_changes(folder):
    with running(ours(folder, *LOG)) as holder:
        second = ours(folder, *NO_LOG)
        with running(second) as client:
            with pytest.raises(redis.ResponseError, match="in use by another server"):
                client.config_set("appendonly", "yes")
            assert client.config_get("appendonly") == {"appendonly": "no"}
            client.set("k", 1)
        holder.set("k", 2)


def test_what_is_set_together_with_a_log_that_cannot_be_is_not_set_either(folder):
    with running(ours(folder, *LOG)) as holder:
        second = ours(folder, *NO_LOG)
        with running(second) as client:
            names = ("appendonly", "appendfsync", "maxmemory-policy", "slowlog-max-len")
            before = client.config_get(*names)
            together = ("appendfsync", "always", "appendonly", "yes", "slowlog-max-len", 7)
            with pytest.raises(redis.ResponseError, match=r"'appendonly'.*in use by another"):
                client.config_set("maxmemory-policy", "allkeys-lru", *together)
            assert client.config_get(*names) == before
            client.config_set("maxmemory-policy", "allkeys-lru", "slowlog-max-len", 7)
            holder.shutdown(nosave=True)
            client.config_set("maxmemory-policy", "noeviction", *together)
            until(client, aof_enabled=1, aof_rewrite_in_progress=0)
            after = dict(zip(names, ("yes", "always", "noeviction", "7"), strict=True))
            assert client.config_get(*names) == after
