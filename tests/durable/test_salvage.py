"""`--salvage`: what can be had from a damaged log."""

from __future__ import annotations

import random
import shutil
import subprocess

import pytest

from durable_servers import (
    LOG,
    NO_LOG,
    check,
    command_of,
    everything,
    fill,
    ours,
    rewritten,
    running,
    theirs,
)
from servers import free_port, server_bin

SALVAGE = (*LOG, "--salvage")
NO_COPY = ("copy_file_range:error=ENOSPC", "mkdir,mkdirat:error=EROFS")
"""Faults with which no copy of a folder can be made."""


def logs(folder):
    return folder / "appendonlydir"


def largest(folder, kind):
    return max(logs(folder).glob(f"*.{kind}"), key=lambda path: path.stat().st_size)


def content(folder):
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.name != "sessile.lock"
    }


def copies(folder):
    return sorted(folder.glob("appendonlydir.damaged-*"))


def failed(folder, fault, *paths):
    """What a salvage says that ends for a fault in its system calls, or in those on some files."""
    command = ["strace", "-f", "-o", "/dev/null", "--seccomp-bpf"]
    command += ["-e", f"trace={fault.partition(':')[0]}", "-e", f"inject={fault}"]
    for path in paths:
        command += ["-P", str(path)]
    command += command_of(folder, free_port(), *SALVAGE)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    told = done.stdout + done.stderr
    assert done.returncode == 1 and "nothing was changed: " in told, told
    return told


def make_sessions(client):
    """Sessions, some of which end; what those are called."""
    for n in range(12):
        client.execute_command(
            "SESSION.CREATE", f"session:{n}", "IDLE", 600, "USER", "ann", "SET", 1, "f", f"{n} 0"
        )
    for n in range(0, 12, 3):
        client.execute_command("SESSION.END", f"session:{n}")
    client.execute_command("SESSION.ROTATE", "session:1", "moved", "HARD")
    return [f"session:{n}" for n in range(0, 12, 3)]


def sessions(client):
    names = [*(f"session:{n}" for n in range(12)), "moved"]
    loaded = {name: client.execute_command("SESSION.LOAD", name, "PEEK") for name in names}
    # Neither versions nor what is left of deadlines are the same after another start.
    return {name: one[3:] if isinstance(one, list) else one for name, one in loaded.items()}


def refused(folder, *options):
    with pytest.raises(RuntimeError) as error:
        ours(folder, *options)
    return str(error.value)


def test_a_changed_byte_is_mended_and_nothing_is_lost(folder, tmp_path):
    with running(ours(folder, *LOG)) as client:
        fill(client)
        make_sessions(client)
        rewritten(client)
        client.execute_command("SESSION.END", "session:4")
        for n in range(30):
            client.set(f"later:{n}", f"value {n}")
        before, known = everything(client), sessions(client)
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole)
    for kind, places in (("base.rdb", (12, 5000, -30, -3)), ("incr.aof", (2, 20, 33, 90, -130))):
        for place in places:
            shutil.rmtree(folder)
            shutil.copytree(whole, folder)
            path = largest(folder, kind)
            data = bytearray(path.read_bytes())
            data[place] ^= 0x21
            path.write_bytes(data)
            damaged = content(logs(folder))
            told = refused(folder, *LOG)
            assert path.name in told and "byte" in told
            assert content(logs(folder)) == damaged, "nothing was changed"
            server = ours(folder, *SALVAGE)
            with running(server) as client:
                assert everything(client) == before, (kind, place)
                assert sessions(client) == known
            (copy,) = copies(folder)
            assert content(copy) == damaged
            told = server.log.read_text()
            at = place % len(data)
            assert f"byte {at} was mended" in told and "nothing is lost" in told
            assert str(copy) in told and path.name in told
            with running(ours(folder, *LOG)) as client:
                assert everything(client) == before


def test_behind_a_lost_stretch_nothing_is_wrong_and_ended_sessions_stay_ended(folder):
    with running(ours(folder, *LOG)) as client:
        # A connection's requests that come one by one are chunks of their own.
        for n in range(50):
            client.set(f"before:{n}", n)
        client.append("text", "first ")
        make = ("SESSION.CREATE", "ended", "USER", "ann", "SET", 1, "f", "1 0")
        client.execute_command(*make)
        client.execute_command("SESSION.CREATE", "early", "SET", 1, "f", "1")
        client.set("deleted", 1)
        client.set("lost", "x" * 900)
        client.append("text", "second ")
        client.execute_command("SESSION.END", "ended")
        client.delete("deleted")
        client.set("after", "whole")
        client.append("text", "third")
        client.set("after:text", "a")
        client.append("after:text", "b")
        client.execute_command("SESSION.CREATE", "began", "USER", "bob", "SET", 1, "f", "1")
        client.execute_command("SESSION.SAVE", "began", "SET", 1, "g", "2")
        # One that the lost stretch would have to explain.
        client.execute_command("SESSION.SAVE", "early", "SET", 1, "g", "2")
    path = largest(folder, "incr.aof")
    data = path.read_bytes()
    at = data.index(b"x" * 900)
    # A sector that is gone, with the rest of its page.
    path.write_bytes(data[: at + 100] + bytes(512) + data[at + 612 :])
    told = refused(folder, *LOG)
    assert "byte" in told and "--salvage" in told
    server = ours(folder, *SALVAGE)
    with running(server) as client:
        assert client.mget(f"before:{n}" for n in range(50)) == [b"%d" % n for n in range(50)]
        assert client.get("text") == b"first ", "and nothing that was said behind the damage"
        assert client.mget("lost", "deleted") == [None, None]
        assert client.execute_command("SESSION.LOAD", "ended") is None
        assert client.mget("after", "after:text") == [b"whole", b"ab"]
        assert client.hgetall("began") == {b"f": b"1", b"g": b"2"}
        assert client.execute_command("SESSION.LIST", "bob")
        assert client.hgetall("early") == {b"f": b"1"}
        before = everything(client)
        client.set("new", 1)
    told = server.log.read_text()
    assert f"{path.name}: " in told and "right again from byte" in told
    # Two of the APPENDs to `text`, two of the SAVE of `early`.
    assert "4 records behind it weren't applied" in told
    for command in (["redis-check-aof", logs(folder) / "appendonly.aof.manifest"],):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert check(logs(folder))[1]
    with running(ours(folder, *LOG)) as client:
        assert everything(client) == {**before, (0, b"new"): (b"1", False)}


def test_of_a_damaged_base_what_is_known_to_be_right_is_there(folder):
    values = {f"large:{n}": random.Random(n).randbytes(90_000) for n in range(50)}
    with running(ours(folder, *LOG)) as client:
        client.mset(values)
        ended = make_sessions(client)
        client.select(1)
        client.set("elsewhere", 1)
        client.select(0)
        rewritten(client)
        for name in values:
            client.append(name, b" and more")
        client.set("later", 1)
        client.delete("large:7")
        client.execute_command("SESSION.END", "session:4")
        known = {**sessions(client), "session:4": None}
    check_rdb = ["redis-check-rdb", largest(folder, "base.rdb")]
    done = subprocess.run(check_rdb, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    path = largest(folder, "base.rdb")
    data = path.read_bytes()
    path.write_bytes(data[:2_000_000] + bytes(512) + data[2_000_512:])
    assert path.name in refused(folder, *LOG)
    server = ours(folder, *SALVAGE)
    with running(server) as client:
        found = {name: client.get(name) for name in values}
        right = {name: value for name, value in found.items() if value is not None}
        # A stretch of two megabytes at most is lost, with what was said of its keys since.
        assert 20 < len(right) < 49 and "large:7" not in right
        assert all(value == values[name] + b" and more" for name, value in right.items())
        assert client.get("later") == b"1"
        loaded = sessions(client)
        assert all(loaded[name] is None for name in [*ended, "session:4"])
        assert all(one in (None, known[name]) for name, one in loaded.items())
        before = everything(client)
    told = server.log.read_text()
    assert "bytes are known to be right" in told and path.name in told
    assert content(copies(folder)[0])[path.name] != data
    with running(ours(folder, *LOG)) as client:
        assert everything(client) == before


# Zeros in the midst of it, and a key of a type that there isn't.
@pytest.mark.parametrize("damage", [(3000, bytes(64)), (b"\0\6key:10", b"\6" + bytes(63))])
def test_of_a_base_of_redis_that_is_damaged_nothing_can_be_trusted(folder, damage):
    with running(theirs(folder, *LOG)) as client:
        client.mset({f"key:{n}": f"value {n}" * 9 for n in range(500)})
        rewritten(client)
        client.mset({"whole": 1, "key:1": 2})
        client.append("key:2", "x")
    path = largest(folder, "base.rdb")
    data = path.read_bytes()
    place, wrong = damage
    at = place if isinstance(place, int) else data.index(place)
    path.write_bytes(data[:at] + wrong + data[at + len(wrong) :])
    assert path.name in refused(folder, *LOG)
    server = ours(folder, *SALVAGE)
    with running(server) as client:
        assert everything(client) == {(0, b"whole"): (b"1", False), (0, b"key:1"): (b"2", False)}
    assert f"0 of its {len(data)} bytes are known to be right" in server.log.read_text()


def test_without_a_checksum_a_type_that_is_not_kept_is_another_programs(folder):
    with running(theirs(folder, *LOG, "--rdbchecksum", "no")) as client:
        client.mset({f"key:{n}": f"value {n}" * 9 for n in range(50)})
        rewritten(client)
    path = largest(folder, "base.rdb")
    data = path.read_bytes()
    assert data.endswith(bytes(8))
    at = data.index(b"\0\6key:10")
    path.write_bytes(data[:at] + b"\6" + data[at + 1 :])
    kept = content(logs(folder))
    assert "old module value" in refused(folder, *SALVAGE)
    assert content(logs(folder)) == kept and not copies(folder)


def test_a_damaged_snapshot_is_salvaged_too(folder):
    values = {f"large:{n}": random.Random(n).randbytes(90_000) for n in range(40)}
    with running(ours(folder, *NO_LOG)) as client:
        client.mset(values)
        client.save()
    path = folder / "dump.rdb"
    right = path.read_bytes()
    for damage, lost in ((b"?", 0), (bytes(512), 25)):
        at = len(right) // 2
        damaged = right[:at] + damage + right[at + len(damage) :]
        path.write_bytes(damaged)
        assert "dump.rdb" in refused(folder, *NO_LOG)
        server = ours(folder, *NO_LOG, "--salvage")
        with running(server) as client:
            found = {name: value for name in values if (value := client.get(name)) is not None}
            assert len(values) - lost <= len(found) <= len(values) - (lost > 0)
            assert all(values[name] == value for name, value in found.items())
            assert client.dbsize() == len(found)
        assert "salvaged: " in server.log.read_text()
        copy = max(folder.glob("dump.rdb.damaged-*"), key=lambda path: path.stat().st_mtime_ns)
        assert content(copy) == {"dump.rdb": damaged}
    path.write_bytes(right)
    server = ours(folder, *NO_LOG, "--salvage")
    with running(server) as client:
        assert client.dbsize() == len(values)
    assert "nothing to salvage" in server.log.read_text()


def test_a_manifest_is_mended_or_made_anew_where_the_files_say_enough(folder, tmp_path):
    with running(ours(folder, *LOG)) as client:
        before = fill(client)
        rewritten(client)
        client.set("later", 1)
    for n in range(2):
        with running(ours(folder, *LOG)) as client:
            client.append("later", n)
            before = everything(client)
    assert before[0, b"later"] == (b"101", False)
    (manifest,) = logs(folder).glob("*.manifest")
    right = manifest.read_bytes()
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole)
    for damaged in (b"fjle" + right[4:], right[:40] + bytes(40) + right[80:], b"", None):
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)
        manifest.unlink()
        if damaged is not None:
            manifest.write_bytes(damaged)
        kept = content(logs(folder))
        assert manifest.name in refused(folder, *LOG)
        assert content(logs(folder)) == kept
        with running(ours(folder, *SALVAGE)) as client:
            assert everything(client) == before, damaged
        (copy,) = copies(folder)
        assert content(copy) == kept
        with running(ours(folder, *LOG)) as client:
            assert everything(client) == before
    # Without one of the increments nobody knows.
    shutil.rmtree(folder)
    shutil.copytree(whole, folder)
    manifest.unlink()
    sorted(logs(folder).glob("*.incr.aof"))[1].unlink()
    kept = content(logs(folder))
    told = refused(folder, *SALVAGE)
    assert "isn't certain" in told and "type b" in told
    assert content(logs(folder)) == kept and not copies(folder)


def crc64_of(byte):
    for _ in range(8):
        byte = byte >> 1 ^ (0x95AC9329AC4BC9B5 if byte & 1 else 0)
    return byte


CRC64 = [crc64_of(byte) for byte in range(256)]


def crc64(data):
    """Redis's: Jones' polynomial, reflected."""
    crc = 0
    for byte in data:
        crc = CRC64[(crc ^ byte) & 255] ^ crc >> 8
    return crc


def test_a_log_that_has_no_base_yet_is_kept_and_the_snapshot_counts(folder):
    with running(ours(folder, *NO_LOG)) as client:
        before = fill(client)
        client.save()
    with running(ours(folder, *LOG)) as client:
        client.set("never", "counted")
    next(logs(folder).glob("*.base.rdb")).unlink()
    (increment,) = logs(folder).glob("*.incr.aof")
    (manifest,) = logs(folder).glob("*.manifest")
    text = f"#sessile-begins\nfile {increment.name} seq 1 type i\n".encode()
    text += b"#sessile-sum %016x\n" % crc64(text)
    manifest.write_bytes(text.replace(b"file", b"fjle"))
    kept = content(logs(folder))
    assert manifest.name in refused(folder, *LOG)
    with running(ours(folder, *SALVAGE)) as client:
        assert everything(client) == before
    (copy,) = copies(folder)
    assert content(copy) == kept


def test_a_base_of_redis_does_not_say_what_follows_it(folder):
    with running(theirs(folder, *LOG)) as client:
        client.set("a", 1)
        rewritten(client)
    next(logs(folder).glob("*.manifest")).unlink()
    kept = content(logs(folder))
    assert "doesn't say what follows it" in refused(folder, *SALVAGE)
    assert content(logs(folder)) == kept


def test_a_lost_increment_takes_no_removal_back(folder):
    server = ours(folder, *LOG)
    server.client.set("a", 1)
    server.client.set("b", 1)
    server.kill()
    server = ours(folder, *LOG)
    server.client.append("a", "2")
    server.kill()
    server = ours(folder, *LOG)
    server.client.append("a", "3")
    server.client.delete("b")
    server.kill()
    parts = sorted(logs(folder).glob("*.incr.aof"))
    parts[1].unlink()
    assert parts[1].name in refused(folder, *LOG)
    with running(ours(folder, *SALVAGE)) as client:
        assert client.mget("a", "b") == [b"1", None]


def test_without_damage_a_start_is_as_any_other(folder):
    with running(ours(folder, *SALVAGE)) as client:
        before = fill(client)
    with largest(folder, "incr.aof").open("ab") as file:
        # What a crash leaves of a write is no damage.
        file.write(b"#sc 99 5000 0000000000000000 0000000000000000 0\r\n*3\r\n$3")
    server = ours(folder, *SALVAGE)
    with running(server) as client:
        assert everything(client) == before
    assert "nothing to salvage" in server.log.read_text()
    assert not copies(folder)


def test_what_cannot_be_copied_stays_as_it_is(folder):
    with running(ours(folder, *LOG)) as client:
        fill(client)
    path = largest(folder, "incr.aof")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    damaged = content(logs(folder))
    for fault in NO_COPY:
        failed(folder, fault)
    assert content(logs(folder)) == damaged and not copies(folder)


def test_it_is_an_argument_of_one_start_and_no_setting(folder):
    (folder / "sessile.conf").write_text("salvage yes\n")
    command = [server_bin(), str(folder / "sessile.conf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1 and "argument of one start" in done.stderr
