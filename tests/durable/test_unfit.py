"""`--salvage`: logs and bases that are right by their checksums and can't be loaded."""

from __future__ import annotations

import random
import re
import shutil
import time

import pytest

from durable_servers import LOG, check, everything, ours, rewritten, running, theirs
from test_bases import record
from test_salvage import (
    NO_COPY,
    SALVAGE,
    content,
    copies,
    crc64,
    failed,
    largest,
    logs,
    make_sessions,
    refused,
)
from test_salvage import sessions as loaded


@pytest.fixture
def log(folder):
    """The increment of a log with sessions and strings, and what was in the store."""
    with running(ours(folder, *LOG)) as client:
        make_sessions(client)
        client.mset({f"text:{n}": n for n in range(9)})
        before, known = everything(client), loaded(client)
    return largest(folder, "incr.aof"), before, known


def salvaged(folder, path, added):
    """What is there after a salvage of a log to which this was added, and what the server said."""
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(added)
    kept = content(logs(folder))
    told = refused(folder, *LOG)
    assert path.name in told and "at byte" in told and "--salvage" in told
    assert content(logs(folder)) == kept, "nothing was changed"
    server = ours(folder, *SALVAGE)
    with running(server) as client:
        after, sessions = everything(client), loaded(client)
    (copy,) = copies(folder)
    aside = content(copy)
    left_out = aside.pop(f"{path.name}.left-out")
    assert aside == kept
    assert check(logs(folder))[1]
    with running(ours(folder, *LOG)) as client:
        assert everything(client) == after
    assert not (path.exists() and path.read_bytes() == kept[path.name])
    return after, sessions, server.log.read_text(), left_out, len(whole)


def test_a_record_that_does_not_fit_costs_its_key_alone(folder, log):
    path, before, known = log
    unfit = record("HSET", "text:1", "f", "v")
    added = record("SELECT", 0) + unfit + record("APPEND", "text:1", "x")
    added += record("APPEND", "text:2", "x") + record("UNLINK", "session:2")
    after, sessions, told, left_out, at = salvaged(folder, path, added)
    del before[0, b"text:1"], before[0, b"session:2"]
    assert after == {**before, (0, b"text:2"): (b"2x", False)}
    assert sessions == {**known, "session:2": None}
    at += len(record("SELECT", 0))
    what = f"command 'HSET': the key holds another kind of value (at byte {at})"
    assert f"{path.name}: {what}; left out" in told
    assert "1 records can't be applied and were left out" in told and "1 records behind it" in told
    assert left_out == f"# {what}\r\n".encode() + unfit


def test_behind_an_unknown_command_sessions_end_and_nothing_is_wrong(folder, log):
    path, before, known = log
    unfit = record("LATER", "session:4", "once")
    added = record("SELECT", 0) + unfit + record("APPEND", "text:1", "x")
    added += record("SET", "text:2", "whole") + record("UNLINK", "session:5")
    after, sessions, told, left_out, _ = salvaged(folder, path, added)
    del before[0, b"session:4"], before[0, b"session:5"]
    assert after == {**before, (0, b"text:2"): (b"whole", False)}
    assert sessions == {**known, "session:4": None, "session:5": None}
    assert "command 'LATER': it isn't known" in told and left_out.endswith(unfit)


def test_what_was_to_end_sooner_does_not_last_for_an_unknown_command(folder):
    """A new deadline and another user stand in a chunk that is right, and are passed over."""
    names = ("soon", "given-up", "stays")
    with running(ours(folder, *LOG)) as client:
        for name in names:
            client.execute_command(
                *("SESSION.CREATE", name, "IDLE", 600, "USER", "eve", "SET", 1, "f", 0)
            )
        client.set("text:soon", 1)
    first = largest(folder, "incr.aof")
    with running(ours(folder, *LOG)) as client:
        ends = int(time.time() * 1000) + 600
        client.execute_command("SESSION.SAVE", "soon", "EXAT", ends, "SET", 1, "f", 1)
        client.execute_command("SESSION.SAVE", "given-up", "USER", "")
        client.execute_command("SESSION.SAVE", "stays", "SET", 1, "f", 2)
        client.pexpireat("text:soon", ends)
    with first.open("ab") as file:
        file.write(record("SELECT", 0) + record("LATER", "zz"))
    server = ours(folder, *SALVAGE)
    with running(server) as client:
        while time.time() * 1000 <= ends:
            time.sleep(0.01)
        there = [client.execute_command("SESSION.LOAD", name) for name in names]
        assert [found is not None for found in there] == [False, False, True]
        assert [row[0] for row in client.execute_command("SESSION.LIST", "eve")] == [b"stays"]
        assert client.get("text:soon") is None


def test_what_was_put_back_from_its_copy_is_salvaged_again(folder, log):
    path, _, known = log
    salvaged(folder, path, record("LATER", "zz"))
    (copy,) = copies(folder)
    shutil.rmtree(logs(folder))
    copy.rename(logs(folder))
    server = ours(folder, *SALVAGE)
    with running(server) as client:
        assert loaded(client) == known
    (copy,) = copies(folder)
    assert {f"{path.name}.left-out", f"{path.name}.left-out.2"} <= content(copy).keys()


def test_behind_damage_an_unfit_record_is_left_out_too(folder, log):
    path, before, known = log
    data = path.read_bytes()
    at = data.index(b"text:3") - 40
    path.write_bytes(data[:at] + bytes(9) + data[at + 9 :])
    unfit = record("INCR", "word")
    added = record("SELECT", 0) + record("SET", "word", "a") + unfit + record("SET", "whole", 1)
    after, sessions, told, left_out, _ = salvaged(folder, path, added)
    texts = [(0, b"text:%d" % n) for n in range(9)]
    assert after == {
        **{key: value for key, value in before.items() if key not in texts},
        (0, b"whole"): (b"1", False),
    }
    assert sessions == known
    assert left_out.endswith(unfit) and "right again from byte" in told


def test_what_cannot_be_copied_first_is_not_left_out(folder, log):
    path, _, _ = log
    with path.open("ab") as file:
        file.write(record("LATER", "x"))
    kept = content(logs(folder))
    for fault in NO_COPY:
        assert "; left out" not in failed(folder, fault)
    assert content(logs(folder)) == kept and not copies(folder)


@pytest.mark.parametrize("fault", ["openat:error=EROFS", "write:error=ENOSPC", "fsync:error=EIO"])
def test_what_is_left_out_and_cannot_be_kept_changes_nothing(folder, log, fault):
    path, before, _ = log
    with path.open("ab") as file:
        file.write(record("LATER", "x"))
    kept = content(logs(folder))
    name, began = f"{path.name}.left-out", int(time.time())
    made = [folder / f"appendonlydir.damaged-{began + n}" / name for n in range(60)]
    told = failed(folder, fault, *made)
    (copy,) = copies(folder)
    assert f"what is left out can't be kept in {copy}: " in told
    # Only that the disk has it is known no sooner than in the end.
    assert "; left out" not in told or fault.startswith("fsync")
    assert content(logs(folder)) == kept
    assert {**content(copy), name: b""} == {**kept, name: b""}
    with running(ours(folder, *SALVAGE)) as client:
        assert everything(client) == before


def spoilt(data, key):
    """A base in which the compressed value of a key can't be read; all its checksums are right."""
    at = data.index(key) + len(key)
    assert data[at] == 0xC3 and data[at + 1] < 64
    value = at + (3 if data[at + 2] < 64 else 4)
    # What is repeated stands before the value's beginning.
    data = data[:value] + b"\xff" + data[value + 1 :]
    seeds = re.findall(rb"sessile-seed\x10([0-9a-f]{16})", data)
    for mark in re.finditer(rb"sessile-mark\x32([0-9a-f]{16}) ([0-9a-f]{16}) ", data):
        start, end = (int(number, 16) for number in mark.groups())
        if start <= at < end:
            numbers = int(seeds[0], 16).to_bytes(8, "little") + start.to_bytes(8, "little")
            total = crc64(numbers + data[start:end])
            data = data[: mark.end()] + b"%016x" % total + data[mark.end() + 16 :]
    return data[:-8] + crc64(data[:-8]).to_bytes(8, "little")


def test_of_a_base_with_a_value_that_cannot_be_read_the_other_stretches_are_there(folder):
    values = {f"large:{n}": random.Random(n).randbytes(90_000) for n in range(50)}
    with running(ours(folder, *LOG)) as client:
        client.mset(values)
        client.set("zipped", b"ab" * 100)
        rewritten(client)
        client.append("zipped", "more")
        for name in values:
            client.append(name, b" and more")
    path = largest(folder, "base.rdb")
    path.write_bytes(spoilt(path.read_bytes(), b"zipped"))
    kept = content(logs(folder))
    assert "a compressed string is damaged" in refused(folder, *LOG)
    server = ours(folder, *SALVAGE)
    with running(server) as client:
        found = {name: value for name in values if (value := client.get(name)) is not None}
        assert 20 < len(found) < 50 and client.dbsize() == len(found)
        assert all(value == values[name] + b" and more" for name, value in found.items())
    assert "bytes can be read" in server.log.read_text()
    assert content(copies(folder)[0]) == kept
    with running(ours(folder, *LOG)) as client:
        assert client.dbsize() == len(found)


def test_a_base_of_redis_that_is_right_and_cannot_be_read_is_refused(folder):
    with running(theirs(folder, *LOG)) as client:
        client.set("zipped", b"ab" * 100)
        rewritten(client)
    path = largest(folder, "base.rdb")
    path.write_bytes(spoilt(path.read_bytes(), b"zipped"))
    kept = content(logs(folder))
    assert path.name in refused(folder, *SALVAGE)
    assert content(logs(folder)) == kept and not copies(folder)
