"""Room in the log under `always`: it's there while it's used, and does no harm to anybody."""

from __future__ import annotations

import subprocess

from durable_servers import LOG, check, everything, fill, ours, running, theirs

ALWAYS = (*LOG, "--appendfsync", "always")
END = b"##.\n"
"""How the last line of room ends."""


def last_increment(folder):
    return max((folder / "appendonlydir").glob("*.incr.aof"), key=lambda path: path.stat().st_size)


def test_after_a_kill_room_is_passed_over_by_redis_too(folder):
    server = ours(folder, *ALWAYS)
    before = fill(server.client)
    server.kill()
    increment = last_increment(folder)
    with_room = increment.stat().st_size
    assert increment.read_bytes().endswith(END)
    manifest = folder / "appendonlydir/appendonly.aof.manifest"
    command = ["redis-check-aof", manifest]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert check(manifest)[1]
    with running(theirs(folder, *LOG)) as client:
        assert everything(client) == before
        client.set("by", "redis")
        client.incr("count")
        after = everything(client)
    assert increment.stat().st_size > with_room, "Redis went on elsewhere"
    with running(ours(folder, *ALWAYS)) as client:
        assert everything(client) == after


def test_after_a_clean_stop_and_under_another_policy_there_is_none(folder):
    with running(ours(folder, *ALWAYS)) as client:
        client.set("k", 1)
        increment = last_increment(folder)
        assert increment.read_bytes().endswith(END)
        # INFO's size has none of it.
        assert client.info("persistence")["aof_current_size"] < 4096
        client.config_set("appendfsync", "everysec")
        client.set("k", 2)
        assert increment.stat().st_size < 4096
        client.config_set("appendfsync", "always")
        client.set("k", 3)
        assert increment.read_bytes().endswith(END)
    assert increment.stat().st_size < 4096
    with running(ours(folder, *ALWAYS)) as client:
        assert client.get("k") == b"3"


def test_damage_before_room_is_told_and_salvaged(folder):
    server = ours(folder, *ALWAYS)
    before = fill(server.client)
    server.kill()
    increment = last_increment(folder)
    content = bytearray(increment.read_bytes())
    at = content.index(b"value 1500")
    content[at] ^= 1
    increment.write_bytes(content)
    text, whole = check(increment)
    assert not whole and "damaged" in text[0]
    with running(ours(folder, *ALWAYS, "--salvage")) as client:
        assert everything(client) == before
