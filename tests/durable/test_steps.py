"""Killed at each step of a rewrite and of a snapshot.

`strace` attached to the server kills it as its n-th call of a kind begins, for every n until the
work comes to its end: so what each step leaves is met once. Between two of them nothing changes
but the bytes of a file that is being written. What was acknowledged is there again, what was
deleted isn't, and nothing is left over.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
import redis

from durable_servers import LOG, everything, fill, ours, rewritten, running
from test_faults import fault, one_try

CALLS = ("openat", "fsync", "rename", "unlink", "ftruncate", "fdatasync", "pwrite64")
"""What the steps are made of: begin a file or a folder's sync, sync, name, remove; cut the room
that stands behind the log, sync the log, write into the room."""
MOST = 60
"""So many calls of a kind would be more than any of it takes."""
LEAST = {"rewrite": 10, "records": 10, "snapshot": 4}
"""Fewer steps than that: some of them were missed."""


def left_over(folder):
    """Files that no manifest names and that aren't there for another reason."""
    logs = folder / "appendonlydir"
    manifest = logs / "appendonly.aof.manifest"
    lines = [line.split() for line in manifest.read_text().splitlines()]
    named = {words[1] for words in lines if words[0] == "file"} | {manifest.name, "sessile.lock"}
    there = {path.name for path in logs.iterdir()}
    assert named - {"sessile.lock"} <= there, "what is named is there"
    return (there - named) | {path.name for path in folder.glob("temp-*")}


def is_killed_at(server, call: str, number: int, work: str) -> bool:
    """Does the work, unless the server is killed at that call of it."""
    with fault(server, f"{call}:signal=SIGKILL:when={number}"):
        with suppress(redis.ConnectionError), one_try(server.port) as client:
            if work == "snapshot":
                client.save()
            else:
                rewritten(client)
            return False
        server.process.wait(20)
        return True


@pytest.mark.timeout(300)
@pytest.mark.parametrize("policy", ["everysec", "always"])
@pytest.mark.parametrize("work", LEAST)
def test_killed_at_each_step_everything_is_there_and_nothing_is_left_over(folder, work, policy):
    options = (*LOG, "--appendfsync", policy)
    if work == "records":
        options = (*options, "--aof-use-rdb-preamble", "no")
    with running(ours(folder, *options)) as client:
        fill(client)
    steps: dict[str, int] = {}
    for call in CALLS:
        for number in range(1, MOST):
            server = ours(folder, *options)
            client = server.client
            client.set("ended", number)
            assert client.delete("ended") == 1
            assert client.set("last", f"{call} {number}")
            before = everything(client)
            killed = is_killed_at(server, call, number, work)
            server.kill()
            with running(ours(folder, *options)) as client:
                assert everything(client) == before, f"{work}: killed at {call} {number}"
                assert not client.exists("ended")
                assert left_over(folder) == set(), f"{work}: killed at {call} {number}"
            if not killed:
                break
            steps[call] = number
        else:
            raise AssertionError(f"{call}: {MOST} calls, and no end")
    print(f"{work}, {policy}: killed at {steps}")
    assert sum(steps.values()) >= LEAST[work]
    if (work, policy) == ("rewrite", "always"):
        assert {"ftruncate", "fdatasync", "pwrite64"} <= steps.keys(), "room behind the log"
