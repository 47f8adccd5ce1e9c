"""Logs in each form that Redis gives them, and what isn't one.

Each test has a folder and starts servers on it, ours and Debian's redis-server.
"""

from __future__ import annotations

import re
import shutil
import time

import pytest
import redis

from durable_servers import LOG, NO_LOG, check, everything, fill, ours, rewritten, running, theirs

PREFIX = "appendonly.aof"


def record(*words: object) -> bytes:
    parts = [str(word).encode() for word in words]
    head = b"*%d\r\n" % len(parts)
    return head + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def wait_for(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def old_log(folder) -> bytes:
    """A log of Redis before 7: RDB, and then records. What Redis makes of it is in the folder."""
    with running(theirs(folder)) as client:
        client.set("a", 1)
        client.set("gone", 1)
        client.save()
    old = (folder / "dump.rdb").read_bytes()
    (folder / "dump.rdb").unlink()
    old += record("SELECT", 0) + record("SET", "b", 2) + record("INCR", "a")
    old += record("MULTI") + record("DEL", "gone") + record("HSET", "h", "f", "v") + record("EXEC")
    (folder / PREFIX).write_bytes(old)
    with running(theirs(folder, *LOG)) as client:
        assert client.mget("a", "b", "gone") == [b"2", b"2", None]
    base = folder / "appendonlydir" / PREFIX
    assert base.read_bytes() == old
    return old


def test_a_log_of_an_older_redis_is_loaded_with_all_behind_its_rdb(folder):
    old_log(folder)
    lines, whole = check(folder / "appendonlydir")
    assert whole and "7 records of a log behind it" in lines[1], lines
    with running(ours(folder, *LOG)) as client:
        assert client.mget("a", "b", "gone") == [b"2", b"2", None]
        assert client.hgetall("h") == {b"f": b"v"}
        client.set("c", 3)
    # Of what isn't whole, nothing is taken for right; nor is it given up.
    base = folder / "appendonlydir" / PREFIX
    whole = base.read_bytes()
    for damaged in (whole[:-3], whole + b"what is this", whole + record("SADD", "s", "m")):
        base.write_bytes(damaged)
        assert not check(base)[1]
        for options in (LOG, (*LOG, "--salvage")):
            with pytest.raises(RuntimeError) as refused:
                ours(folder, *options)
            assert PREFIX in str(refused.value) and "redis-check-aof" in str(refused.value)
            assert base.read_bytes() == damaged
    base.write_bytes(whole)
    with running(ours(folder, *LOG, "--salvage")) as client:
        assert client.mget("a", "b", "c") == [b"2", b"2", b"3"]
        client.bgrewriteaof()
        wait_for(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
    assert not base.exists()
    with running(ours(folder, *LOG)) as client:
        assert client.mget("a", "b", "c") == [b"2", b"2", b"3"]


def test_a_base_without_rdb_is_loaded(folder):
    options = (*LOG, "--aof-use-rdb-preamble", "no")
    with running(theirs(folder, *options)) as client:
        before = fill(client)
        client.bgrewriteaof()
        wait_for(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
        client.set("after", 1)
        before[0, b"after"] = (b"1", False)
    assert list((folder / "appendonlydir").glob("*.base.aof"))
    assert check(folder / "appendonlydir")[1]
    with running(ours(folder, *options)) as client:
        assert everything(client) == before


def test_a_log_of_an_older_redis_beside_the_folder_is_not_passed_over(folder):
    old = old_log(folder)
    logs = folder / "appendonlydir"
    for path in logs.iterdir():
        path.unlink()
    (folder / PREFIX).write_bytes(old)
    with pytest.raises(RuntimeError) as refused:
        ours(folder, *LOG)
    line = "file appendonly.aof seq 1 type b"
    assert line in str(refused.value) and (folder / PREFIX).read_bytes() == old
    # What it says to do.
    (folder / PREFIX).rename(logs / PREFIX)
    (logs / f"{PREFIX}.manifest").write_text(f"{line}\n")
    with running(ours(folder, *LOG)) as client:
        assert client.mget("a", "b") == [b"2", b"2"]


def test_what_follows_a_snapshot_is_no_part_of_it(folder):
    with running(ours(folder, *NO_LOG)) as client:
        client.set("a", 1)
        client.save()
    snapshot = folder / "dump.rdb"
    assert check(snapshot)[1]
    with snapshot.open("ab") as file:
        file.write(record("SET", "b", 2))
    lines, whole = check(snapshot)
    assert not whole and "something follows the file's end" in lines[0]
    with pytest.raises(RuntimeError) as refused:
        ours(folder, *NO_LOG)
    assert "something follows the file's end" in str(refused.value)


def test_check_takes_each_file_for_what_a_start_takes_it_for(folder):
    """By what names it, not by how it looks."""
    with running(ours(folder, *LOG)) as client:
        client.set("a", 1)
        client.save()
        rewritten(client)
    snapshot = (folder / "dump.rdb").read_bytes()
    behind = snapshot + record("SET", "b", 2)
    logs = folder / "appendonlydir"
    shutil.move(logs, folder / "aside")
    # A snapshot may have any name, and nothing behind it under any.
    (folder / "dump.rdb").rename(folder / "store")
    assert check(folder / "store")[1]
    (folder / "store").write_bytes(behind)
    lines, whole = check(folder / "store")
    assert not whole and "something follows the file's end" in lines[0]
    with pytest.raises(RuntimeError, match="something follows the file's end"):
        ours(folder, *NO_LOG, "--dbfilename", "store")
    shutil.move(folder / "aside", logs)
    (base,), (increment,) = logs.glob("*.base.rdb"), logs.glob("*.incr.aof")
    for path, other in ((base, record("SET", "b", 2)), (base, behind), (increment, snapshot)):
        before = path.read_bytes()
        path.write_bytes(other)
        for asked in (logs, path):
            assert not check(asked)[1], (path, asked)
        with pytest.raises(RuntimeError, match=path.name):
            ours(folder, *LOG)
        path.write_bytes(before)
    # The name of a base is what says that it may have records.
    (logs / "store").write_bytes(behind)
    manifest = logs / f"{PREFIX}.manifest"
    # Without the line that has its checksum, as Redis writes it.
    lines = [line for line in manifest.read_text().splitlines() if not line.startswith("#")]
    manifest.write_text("\n".join([*lines, ""]).replace(base.name, "store"))
    for asked in (logs, logs / "store"):
        lines, whole = check(asked)
        assert whole and any("1 records of a log behind it" in line for line in lines), lines
    with running(ours(folder, *LOG)) as client:
        assert client.mget("a", "b") == [b"1", b"2"]
    # Nothing of one is torn: it's never cut.
    (logs / "store").write_bytes(record("SET", "a", 1) + record("SET", "b", 2)[:-1])
    assert not check("--fix", logs / "store")[1] and not list(logs.glob("*.torn"))


def test_check_finds_records_that_no_start_could_apply(folder):
    with running(ours(folder, *LOG)) as client:
        client.set("a", 1)
    increment = max((folder / "appendonlydir").glob("*.incr.aof"))
    whole = increment.read_bytes()
    for words in (("SADD", "s", "m"), ("EXPIRE", "a", 10), ("SET", "a", 1, "PXAT", "never")):
        increment.write_bytes(whole + record(*words))
        lines, is_whole = check(folder / "appendonlydir")
        assert not is_whole and f"can't be loaded: command '{words[0]}'" in lines[-1], lines
        with pytest.raises(RuntimeError):
            ours(folder, *LOG)
    # What rests on what a key holds is no fault of the record.
    increment.write_bytes(whole + record("RENAME", "a", "b") + record("INCR", "b"))
    assert check(folder / "appendonlydir")[1]
    with running(ours(folder, *LOG)) as client:
        assert client.get("b") == b"2"


def test_a_deadline_that_could_not_be_loaded_is_refused(folder):
    with running(ours(folder, *LOG)) as client:
        client.set("a", "hello")
        payload = client.dump("a")
        with pytest.raises(redis.ResponseError, match="Invalid TTL"):
            client.restore("k", 2**63 - 1, payload)
        client.restore("k", 2**63 - 1, payload, absttl=True)
        client.restore("l", 2**62, payload)
    with running(ours(folder, *LOG)) as client:
        assert client.mget("k", "l") == [b"hello", b"hello"]


@pytest.mark.parametrize("policy", ["noeviction", "volatile-ttl"])
@pytest.mark.parametrize("what", ["log", "snapshot"])
def test_more_than_the_cap_is_loaded_where_nothing_may_go(folder, policy, what):
    """Who lowers the cap too far has a server that answers, and all of the data."""
    options = LOG if what == "log" else NO_LOG
    names = [f"k:{n}" for n in range(4_000)]
    server = ours(folder, *options, "--appendfsync", "no")
    with running(server) as client:
        pipe = client.pipeline(transaction=False)
        for name in names:
            pipe.set(name, name * 2_000)
        pipe.execute()
        if what == "snapshot":
            client.save()
    server = ours(folder, *options, "--maxmemory", "20mb", "--maxmemory-policy", policy)
    with running(server) as client:
        assert client.dbsize() == len(names)
        assert client.get("k:7") == b"k:7" * 2_000
        memory = client.info("memory")
        assert memory["used_memory"] > memory["maxmemory"] == 20 << 20
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            client.set("new", 1)
        said = server.log.read_text()
        assert "more was loaded than 'maxmemory' allows" in said and "it's 20971520" in said
        for name in names[100:]:
            client.delete(name)
        wait_for(lambda: can_set(client))
    with running(ours(folder, *options)) as client:
        # Without a log the snapshot is the store still.
        assert client.dbsize() == (101 if what == "log" else len(names))


def can_set(client) -> bool:
    try:
        return client.set("new", 1)
    except redis.ResponseError:
        return False


@pytest.mark.parametrize("what", ["log", "base", "snapshot"])
def test_a_start_without_room_says_how_much_there_is(folder, what):
    options = NO_LOG if what == "snapshot" else LOG
    with running(ours(folder, *options)) as client:
        client.set("large", bytes(40 << 20))
        if what == "snapshot":
            client.save()
        elif what == "base":
            rewritten(client)
    bounds = {
        "maxmemory": ("--maxmemory", "20mb", "--maxmemory-policy", "allkeys-lru"),
        "arena-max": ("--arena-max", "20mb"),
    }
    for name, bound in bounds.items():
        with pytest.raises(RuntimeError) as refused:
            ours(folder, *options, *bound)
        words = rf"memory for it: \d+ bytes are in use, and '{name}' is 20971520"
        assert re.search(words, str(refused.value)), refused.value
    with running(ours(folder, *options)) as client:
        assert client.strlen("large") == 40 << 20


def test_a_smaller_cap_leaves_no_session_in_part(folder):
    """Keys that the policy evicts while the log is loaded aren't made again by what follows."""
    names = [f"h:{n}" for n in range(30_000)]
    with running(ours(folder, *LOG, "--appendfsync", "no", "--maxmemory", "100mb")) as client:
        for second in (False, True):
            pipe = client.pipeline(transaction=False)
            for n, name in enumerate(names):
                pipe.hset(name, "second" if second else "first", "v" * 900)
                if n % 1000 == 999:
                    pipe.execute()
            pipe.execute()
        assert client.dbsize() == len(names)
    small = ("--maxmemory", "40mb", "--maxmemory-policy", "allkeys-lru")
    server = ours(folder, *LOG, *small)
    with running(server) as client:
        found = list(client.scan_iter(count=1000))
        assert 1000 < len(found) < len(names)
        pipe = client.pipeline(transaction=False)
        for name in found:
            pipe.hlen(name)
        lengths = pipe.execute()
        # A key may have gone since it was listed.
        assert {length for length in lengths if length} == {2}
    assert "were evicted while the log was loaded" in server.log.read_text()
