"""What survives: torn and damaged files, and the way to Redis and back.

Each test has a folder and starts servers on it, ours and Debian's redis-server.
"""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest
import redis

from durable_servers import (
    LOG,
    NO_LOG,
    check,
    everything,
    fill,
    ours,
    rewritten,
    running,
    theirs,
)


def test_a_clean_stop_and_a_snapshot_keep_everything(folder):
    with running(ours(folder, *LOG)) as client:
        before = fill(client)
    with running(ours(folder, *LOG)) as client:
        assert everything(client) == before
    snapshots = folder.parent / "snapshots"
    snapshots.mkdir()
    with running(ours(snapshots, *NO_LOG)) as client:
        before = fill(client)
        assert client.save() and client.lastsave()
        client.set("after", "the snapshot")
    with running(ours(snapshots, *NO_LOG)) as client:
        assert everything(client) == before
        client.set("more", 1)
        with pytest.raises(redis.ConnectionError):
            client.execute_command("SHUTDOWN", "SAVE")
    with running(ours(snapshots, *NO_LOG)) as client:
        assert client.get("more") == b"1"


def test_redis_loads_our_files_and_we_load_its(folder):
    with running(ours(folder, *LOG)) as client:
        before = fill(client)
        client.save()
    manifest = folder / "appendonlydir/appendonly.aof.manifest"
    for command in (["redis-check-aof", manifest], ["redis-check-rdb", folder / "dump.rdb"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    snapshot = folder.parent / "snapshot"
    snapshot.mkdir()
    shutil.copy(folder / "dump.rdb", snapshot)
    with running(theirs(folder, *LOG)) as client:
        assert everything(client) == before
        client.set("by", "redis")
        client.bgrewriteaof()
        while client.info("persistence")["aof_rewrite_in_progress"]:
            time.sleep(0.01)
        client.incr("count")
        client.hincrby("h:2", "n", 5)
        client.rename("s:5", "moved")
        after = everything(client)
    with running(ours(folder, *LOG)) as client:
        assert everything(client) == after
    with running(theirs(snapshot)) as client:
        assert everything(client) == before
        client.set("by", "redis")
        after = everything(client)
        client.save()
    with running(ours(snapshot)) as client:
        assert everything(client) == after


def test_a_torn_end_is_cut_and_kept_and_damage_is_refused(folder):
    with running(ours(folder, *LOG)) as client:
        before = fill(client)
    increment = max((folder / "appendonlydir").glob("*.incr.aof"), key=lambda p: p.stat().st_size)
    whole = increment.read_bytes()
    # A write that a crash tore: its chunk isn't all there.
    increment.write_bytes(whole + b"#sc 99 5000 0000000000000000 0000000000000000 0\r\n*3\r\n$3")
    with running(ours(folder, *LOG)) as client:
        assert everything(client) == before
    assert increment.with_name(increment.name + ".torn").exists()
    # A byte that was on the disk has changed.
    at = whole.index(b"value 1500")
    increment.write_bytes(whole[:at] + b"X" + whole[at + 1 :])
    with pytest.raises(RuntimeError) as refused:
        ours(folder, *LOG)
    assert increment.name in str(refused.value) and "byte" in str(refused.value)
    assert increment.read_bytes()[at : at + 1] == b"X", "and nothing was changed"


def test_a_torn_end_is_refused_where_it_may_not_be_cut(folder):
    with running(ours(folder, *LOG)) as client:
        before = fill(client)
    increment = max((folder / "appendonlydir").glob("*.incr.aof"), key=lambda p: p.stat().st_size)
    with increment.open("ab") as file:
        file.write(b"#sc 99 5000 0000000000000000 0000000000000000 0\r\n*3\r\n$3")
    torn = increment.read_bytes()
    files = sorted(path.name for path in increment.parent.iterdir())
    with pytest.raises(RuntimeError) as refused:
        ours(folder, *LOG, "--aof-load-truncated", "no")
    assert increment.name in str(refused.value) and "byte" in str(refused.value)
    assert increment.read_bytes() == torn, "and nothing was changed"
    assert sorted(path.name for path in increment.parent.iterdir()) == files
    with running(ours(folder, *LOG, "--aof-load-truncated", "yes")) as client:
        assert everything(client) == before


def test_a_torn_end_before_an_increment_without_records_is_cut_too(folder):
    """A rewrite names its increment before the journal goes on in it; a crash may come between."""
    with running(ours(folder, *LOG)) as client:
        before = fill(client)
    logs = folder / "appendonlydir"
    increment = max(logs.glob("*.incr.aof"), key=lambda p: p.stat().st_size)
    manifest = logs / "appendonly.aof.manifest"
    lines = [line for line in manifest.read_text().splitlines() if line.startswith("file")]
    lines.append("file appendonly.aof.99.incr.aof seq 99 type i")
    manifest.write_text("\n".join(lines) + "\n")
    (logs / "appendonly.aof.99.incr.aof").write_bytes(b"#sessile 1 0123456789abcdef\r\n")
    with increment.open("ab") as file:
        file.write(b"#sc 99 5000 0000000000000000 0000000000000000 0\r\n*3\r\n$3")
    with running(ours(folder, *LOG)) as client:
        assert everything(client) == before


def test_check_tells_what_files_hold_and_fix_cuts_a_torn_end(folder):
    with running(ours(folder, *LOG)) as client:
        fill(client)
        client.bgrewriteaof()
        while client.info("persistence")["aof_rewrite_in_progress"]:
            time.sleep(0.01)
        client.set("after", 1)
        client.save()
    logs = folder / "appendonlydir"
    # A crash leaves what was being written; it's no manifest yet.
    (logs / "temp-1-appendonly.aof.manifest").touch()
    lines, whole = check(folder / "dump.rdb", logs)
    assert whole and len(lines) >= 4, lines
    assert "whole: RDB version 10, " in lines[0] and "checksum is right" in lines[0]
    assert "names a base and 1 increments" in lines[1]
    assert "records of a log, 0 without a checksum" in lines[-1]
    (increment,) = logs.glob("*.incr.aof")
    right = increment.read_bytes()
    with increment.open("ab") as log:
        log.write(b"#sc 77")
    lines, whole = check(logs)
    assert not whole and f"at byte {len(right)}" in lines[-1] and "--fix" in lines[-1]
    lines, whole = check("--fix", logs)
    assert whole and "6 bytes were cut off" in lines[-1]
    assert increment.read_bytes() == right and check(increment)[1]
    assert (logs / f"{increment.name}.torn").read_bytes() == b"#sc 77"
    base = next(logs.glob("*.base.rdb"))
    damaged = bytearray(base.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    base.write_bytes(damaged)
    lines, whole = check("--fix", logs)
    assert not whole and "damaged: " in lines[1] and base.read_bytes() == damaged
    assert check(folder / "nothing")[1] is False
    assert check()[1] is False


def test_one_folder_belongs_to_one_server(folder):
    with running(ours(folder, *LOG)), pytest.raises(RuntimeError) as refused:
        ours(folder, *LOG)
    assert "in use by another server" in str(refused.value)


def test_nobody_else_keeps_anything_in_the_folder_of_a_log(folder):
    with running(ours(folder, *LOG)) as client:
        client.set("k", 1)
    # One that goes on with a log reads no snapshot, and the folder is its own all the same.
    with running(ours(folder, *LOG)) as client:
        with pytest.raises(RuntimeError, match="in use by another server"):
            ours(folder, *NO_LOG, "--save", "3600 1")
        # One that keeps nothing is let in, and can't begin to.
        with running(ours(folder, *NO_LOG)) as second:
            with pytest.raises(redis.ResponseError, match="in use by another server"):
                second.save()
            with pytest.raises(redis.ResponseError, match="in use by another server"):
                second.config_set("appendonly", "yes")
        client.save()
        with pytest.raises(RuntimeError, match="in use by another server"):
            ours(folder, *NO_LOG)


def test_what_memcached_and_sessions_keep_beside_their_values_survives(folder):
    with running(ours(folder, *LOG)) as client:
        version = client.execute_command(
            "SESSION.CREATE", "s", "IDLE", 600, "MAX", 9000, "USER", "ann", "SET", 1, "a", "1 0"
        )
        client.execute_command("SESSION.SAVE", "s", "SET", 1, "b", "2 1")
        client.execute_command("SESSION.CREATE", "empty", "IDLE", 600, "USER", "ann")
        client.execute_command("SESSION.CREATE", "ended", "USER", "ann")
        client.execute_command("SESSION.END", "ended")
        assert version
    for rewrite in (True, False):
        with running(ours(folder, *LOG)) as client:
            loaded = client.execute_command("SESSION.LOAD", "s", "PEEK")
            assert loaded[3] == b"ann" and loaded[4] == [b"a", b"1 0", b"b", b"2 1"]
            assert 0 < loaded[1] <= 600_000 and 0 < loaded[2] <= 9_000_000
            keys = {row[0] for row in client.execute_command("SESSION.LIST", "ann")}
            assert keys == {b"s", b"empty"}
            assert client.execute_command("SESSION.LOAD", "ended") is None
            if rewrite:
                client.bgrewriteaof()
                while client.info("persistence")["aof_rewrite_in_progress"]:
                    time.sleep(0.01)


def test_what_sessions_left_behind_survives_and_versions_are_not_used_twice(folder):
    def ask(client, *words):
        return client.execute_command(*words)

    seen = set()
    with running(ours(folder, *LOG)) as client:
        for name in ("a", "b", "c", "e"):
            ask(client, "SESSION.CREATE", name, "IDLE", 600, "USER", "ann", "SET", 1, "f", name)
        ask(client, "SESSION.ROTATE", "a", "a2", "GRACE", 300)
        ask(client, "SESSION.ROTATE", "b", "b2")
        ask(client, "SESSION.ROTATE", "c", "c2", "HARD")
        ask(client, "SESSION.END", "e")
    # From the log, then from its new base, then from a snapshot.
    for start in (LOG, LOG, LOG, ()):
        with running(ours(folder, *start)) as client:
            alias = ask(client, "SESSION.LOAD", "a", "PEEK")
            assert alias[4] == [b"f", b"a"] and alias[3] == b"ann"
            assert alias[0] == ask(client, "SESSION.LOAD", "a2", "PEEK")[0]
            assert ask(client, "SESSION.LOAD", "b", "PEEK") == b"ROTATED"
            assert ask(client, "SESSION.LOAD", "c", "PEEK") == b"ROTATED"
            for ended in ("b", "c", "e"):
                assert ask(client, "SESSION.SAVE", ended, "SET", 1, "f", "back") is None
            assert {row[0] for row in ask(client, "SESSION.LIST", "ann")} == {b"a2", b"b2", b"c2"}
            assert client.exists("a", "b", "c", "e") == 0
            assert sorted(client.scan_iter()) == [b"a2", b"b2", b"c2"]
            for name in ("a2", "b2", "c2"):
                version = ask(client, "SESSION.LOAD", name, "PEEK")[0]
                assert (name, version) not in seen
                seen.add((name, version))
            client.save()
            if start:
                client.bgrewriteaof()
                while client.info("persistence")["aof_rewrite_in_progress"]:
                    time.sleep(0.01)
    assert subprocess.run(["redis-check-rdb", folder / "dump.rdb"], check=False).returncode == 0


@pytest.mark.parametrize("rewrite", ["none", "before", "after"])
def test_ended_sessions_stay_ended_over_rewrites_and_kills(folder, rewrite):
    server = ours(folder, *LOG)
    seen = {}
    try:
        ask = server.client.execute_command
        for name in ("moved", "hard", "ended", "stays"):
            make = ("SESSION.CREATE", name, "IDLE", 600, "MAX", 9000, "USER", "ann")
            ask(*make, "SET", 1, "f", name)
        ask("SESSION.SAVE", "ended", "SET", 1, "f", "late", "REQ", "token")
        if rewrite == "before":
            rewritten(server.client)
        ask("SESSION.ROTATE", "moved", "moved2", "GRACE", 300)
        ask("SESSION.ROTATE", "hard", "hard2", "HARD")
        ask("SESSION.END", "ended")
        if rewrite == "after":
            rewritten(server.client)
        for name in ("moved", "hard2", "stays"):
            seen[name] = {ask("SESSION.LOAD", name, "PEEK")[0]}
        for _ in range(3):
            server.kill()
            server = ours(folder, *LOG)
            ask = server.client.execute_command
            save = ("SET", 1, "f", "late")
            assert ask("SESSION.SAVE", "ended", *save, "REQ", "token") is None
            assert ask("SESSION.SAVE", "hard", *save) is None
            assert ask("SESSION.LOAD", "hard") == b"ROTATED"
            assert ask("SESSION.LOAD", "ended") is None
            _, idle, absolute, user, fields = ask("SESSION.LOAD", "moved", "PEEK")
            assert (user, fields[0]) == (b"ann", b"f")
            # Both deadlines are those of before the kill, at most the test's own time ago.
            assert 540_000 < idle <= 600_000 and 8_940_000 < absolute <= 9_000_000
            listed = {row[0] for row in ask("SESSION.LIST", "ann")}
            assert listed == {b"moved2", b"hard2", b"stays"}
            assert sorted(server.client.scan_iter()) == sorted(listed)
            for name in ("moved", "hard2", "stays"):
                version = ask("SESSION.LOAD", name, "PEEK")[0]
                later = ask("SESSION.SAVE", name, *save)
                for number in (version, later):
                    assert number not in seen[name]
                    seen[name].add(number)
        # The target's end is the alias's too, in every later life.
        ask("SESSION.END", "moved2")
        server.kill()
        server = ours(folder, *LOG)
        assert server.client.execute_command("SESSION.LOAD", "moved", "PEEK") is None
    finally:
        server.stop()


def test_dump_and_restore_go_both_ways(folder, tmp_path):
    other = tmp_path / "theirs"
    other.mkdir()
    with running(ours(folder, *LOG)) as mine, running(theirs(other)) as redis_server:
        values = {"s": b"text", "n": b"12345", "empty": b"", "long": bytes(range(256)) * 300}
        for name, value in values.items():
            mine.set(name, value)
        mine.hset("small", mapping={"a": "1", "b": "two"})
        mine.hset("large", mapping={f"field:{n}": "x" * (n % 90) for n in range(900)})
        mine.execute_command("SESSION.CREATE", "session", "USER", "ann", "SET", 1, "a", "1 0")
        names = [*values, "small", "large", "session"]
        for name in names:
            redis_server.restore(name, 0, mine.dump(name))
            mine.restore("back:" + name, 90_000, redis_server.dump(name))
            assert 0 < mine.pttl("back:" + name) <= 90_000
        for client, prefix in ((redis_server, ""), (mine, "back:")):
            assert {name: client.get(prefix + name) for name in values} == values
            assert client.hgetall(prefix + "small") == {b"a": b"1", b"b": b"two"}
            assert client.hgetall(prefix + "large") == mine.hgetall("large")
            assert client.hgetall(prefix + "session") == {b"a": b"1 0"}
        # Fields' deadlines are something that Redis 7.0 has no payload for.
        mine.hset("dated", mapping={"a": "1", "b": "2"})
        mine.execute_command("HPEXPIREAT", "dated", 4102444800000, "FIELDS", 1, "a")
        mine.restore("dated2", 0, mine.dump("dated"))
        asked = ("HPEXPIRETIME", "dated2", "FIELDS", 2, "a", "b")
        assert mine.execute_command(*asked) == [4102444800000, -1]
        redis_server.rpush("list", "a")
        with pytest.raises(redis.ResponseError, match="Bad data format"):
            mine.restore("list", 0, redis_server.dump("list"))
        before = everything(mine)
    with running(ours(folder, *LOG)) as mine:
        assert everything(mine).keys() == before.keys()
        assert mine.get("back:long") == values["long"]


def test_a_log_without_its_manifest_is_refused_and_left_alone(folder):
    with running(ours(folder, *LOG)) as client:
        client.set("k", "v")
    logs = folder / "appendonlydir"
    (manifest,) = logs.glob("*.manifest")
    aside = manifest.rename(folder / "manifest")
    before = {path.name: path.read_bytes() for path in logs.iterdir() if "lock" not in path.name}
    with pytest.raises(RuntimeError, match="manifest is missing"):
        ours(folder, *LOG)
    assert before == {
        path.name: path.read_bytes() for path in logs.iterdir() if "lock" not in path.name
    }
    aside.rename(manifest)
    with running(ours(folder, *LOG)) as client:
        assert client.get("k") == b"v"


def test_increments_without_anything_else_are_not_taken_for_nothing(folder):
    with running(ours(folder, *LOG)) as client:
        client.set("k", "v" * 2000)
    logs = folder / "appendonlydir"
    (increment,) = logs.glob("*.incr.aof")
    for path in (*logs.glob("*.manifest"), *logs.glob("*.base.rdb")):
        path.unlink()
    before = increment.read_bytes()
    with pytest.raises(RuntimeError, match=r"manifest is missing, but there is .*incr\.aof"):
        ours(folder, *LOG)
    assert increment.read_bytes() == before
