"""A snapshot under load is the store of one moment.

Threads move money between accounts in MULTI; nothing else changes their sum. Whatever is written
meanwhile from the whole store, a snapshot or a base of the log, is loaded by a second server and
must have the same sum. Each transfer counts, so that it's known that some came while it was
written.
"""

from __future__ import annotations

import random
import shutil
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis

from durable_servers import LOG, NO_LOG, Server, is_idle, ours, running

ACCOUNTS = [f"account:{n}" for n in range(40)]
SUM = 100 * len(ACCOUNTS)
FILLERS = 40_000
"""Keys that make writing the store take a while."""
ROUNDS = 3
SECONDS = 30


@contextmanager
def transfers(server: Server):
    """Money moves."""
    stop = threading.Event()

    def transfer(seed: int) -> None:
        rng, client = random.Random(seed), redis.Redis(port=server.port)
        while not stop.is_set():
            one, other = rng.sample(ACCOUNTS, 2)
            client.pipeline().decrby(one, 7).incr("moved").incrby(other, 7).execute()
        client.close()

    threads = [threading.Thread(target=transfer, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def until(true) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def switched(client, to: str) -> bool:
    """Whether nothing was on its way that refuses the switch."""
    with suppress(redis.ResponseError):
        return client.config_set("appendonly", to)
    return False


def write(client, how: str, folder: Path) -> Path:
    """Has the whole store written, in one of the ways; where."""
    if how == "SAVE":
        client.save()
    elif how == "BGSAVE":
        client.bgsave()
    elif how == "BGREWRITEAOF":
        client.bgrewriteaof()
    else:
        for to in ("no", "yes"):
            until(lambda to=to: switched(client, to))
        assert client.execute_command("WAITAOF", 1, 0, 0) == [1, 0]
    until(lambda: is_idle(client))
    if "SAVE" in how:
        return folder / "dump.rdb"
    (base,) = (folder / "appendonlydir").glob("*.base.rdb")
    return base


def moved(client) -> int:
    return int(client.get("moved"))


@pytest.mark.parametrize("how", ["SAVE", "BGSAVE", "BGREWRITEAOF", "appendonly"])
def test_sums_in_snapshots_are_those_of_a_moment(folder, how):
    server = ours(folder, *LOG)
    client = server.client
    filler = random.Random(1).randbytes(150)
    for start in range(0, FILLERS, 10_000):
        client.mset({f"filler:{n}": filler for n in range(start, start + 10_000)})
    client.mset({"moved": 0, **dict.fromkeys(ACCOUNTS, 100)})
    changing = 0
    with transfers(server):
        for number in range(ROUNDS):
            before = moved(client)
            path = write(client, how, folder)
            after = moved(client)
            copy = folder.parent / f"copy{number}"
            copy.mkdir()
            shutil.copy(path, copy / "dump.rdb")
            with running(ours(copy, *NO_LOG)) as other:
                assert sum(map(int, other.mget(ACCOUNTS))) == SUM
                assert before <= moved(other) <= after
                changing += moved(other) < after
                assert other.dbsize() == FILLERS + len(ACCOUNTS) + 1
    assert changing, "nothing was moved after a cut"
    server.kill()
    # And so is what the log makes of it.
    with running(ours(folder, *LOG)) as client:
        assert sum(map(int, client.mget(ACCOUNTS))) == SUM
