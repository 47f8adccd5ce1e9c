"""Bases made of records (`aof-use-rdb-preamble no`), as they are written here."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess

import pytest

from durable_servers import (
    LOG,
    NO_LOG,
    both,
    check,
    everything,
    fill,
    ours,
    rewritten,
    running,
    theirs,
)
from test_bases import wait_for
from test_salvage import SALVAGE, content, copies, logs, make_sessions, refused, sessions

RECORDS = (*LOG, "--aof-use-rdb-preamble", "no")
ENDS = {"no": ".base.aof", "yes": ".base.rdb"}


def base(folder):
    (path,) = logs(folder).glob("*.base.*")
    return path


def told(server, line: bytes) -> bytes:
    """What memcached's port answers."""
    with socket.create_connection(("127.0.0.1", server.ports["cache"])) as there:
        there.settimeout(20)
        there.sendall(line)
        return there.recv(1000)


def test_a_base_of_records_has_all_that_one_of_rdb_has(folder):
    server = both(folder, *LOG)
    with running(server) as client:
        before = fill(client)
        make_sessions(client)
        client.execute_command("SESSION.CREATE", "none", "IDLE", 600, "USER", "bob")
        client.execute_command("SESSION.ROTATE", "session:2", "graced", "GRACE", 300)
        client.execute_command("HPEXPIREAT", "large", 4_000_000_000_000, "FIELDS", 2, "f1", "f2")
        assert told(server, b"ms cached 5 F77 E1234\r\nhello\r\n") == b"HD\r\n"
        before, known = everything(client), sessions(client)
    for setting in ("no", "yes", "no"):
        # It counts for the next base, also if it's changed at run time.
        server = both(folder, *LOG)
        with running(server) as client:
            client.config_set("aof-use-rdb-preamble", setting)
            assert client.config_get("aof-use-rdb-preamble")["aof-use-rdb-preamble"] == setting
            rewritten(client)
            assert base(folder).name.endswith(ENDS[setting])
        manifest = (logs(folder) / "appendonly.aof.manifest").read_text()
        assert f"file {base(folder).name} seq" in manifest and " type b\n" in manifest
        lines, whole = check(logs(folder))
        assert whole and "whole: " in lines[1], lines
        assert check(base(folder))[1]
        server = both(folder, *LOG)
        with running(server) as client:
            assert everything(client) == before
            assert sessions(client) == known
            listed = {row[0] for row in client.execute_command("SESSION.LIST", "bob")}
            assert listed == {b"none"}
            times = client.execute_command("HPEXPIRETIME", "large", "FIELDS", 3, "f1", "f2", "f3")
            assert times == [4_000_000_000_000, 4_000_000_000_000, -1]
            assert told(server, b"mg cached f c v\r\n") == b"VA 5 f77 c1234\r\nhello\r\n"


def test_first_bases_are_of_records_too(folder):
    """That of a new log, and that of a log which begins while the server runs."""
    with running(ours(folder, *RECORDS)) as client:
        client.set("a", 1)
        assert base(folder).name == "appendonly.aof.1.base.aof"
    shutil.rmtree(logs(folder))
    options = ("--enable-debug-command", "yes", *RECORDS)
    with running(ours(folder, *options, *NO_LOG)) as client:
        client.set("a", 2)
        client.config_set("appendonly", "yes")
        client.set("b", 1)
        wait_for(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
        client.set("c", 1)
        assert base(folder).name.endswith(ENDS["no"])
        client.execute_command("DEBUG", "LOADAOF")
        assert client.mget("a", "b", "c") == [b"2", b"1", b"1"]
    with running(ours(folder, *RECORDS)) as client:
        assert client.mget("a", "b", "c") == [b"2", b"1", b"1"]


def test_redis_loads_our_base_of_records_and_we_load_its(folder):
    with running(ours(folder, *RECORDS)) as client:
        before = fill(client)
        make_sessions(client)
        rewritten(client)
        before = everything(client)
        client.set("after", 1)
        before[0, b"after"] = (b"1", False)
    assert base(folder).name.endswith(ENDS["no"])
    command = ["redis-check-aof", logs(folder) / "appendonly.aof.manifest"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with running(theirs(folder, *RECORDS)) as client:
        # What sessions left behind isn't there for Redis.
        assert everything(client) == before
        rewritten(client)
        client.set("by", "redis")
        before[0, b"by"] = (b"redis", False)
    assert base(folder).name.endswith(ENDS["no"])
    with running(ours(folder, *RECORDS)) as client:
        assert everything(client) == before


def test_an_empty_store_has_a_base_of_records(folder):
    with running(ours(folder, *RECORDS)) as client:
        rewritten(client)
    assert base(folder).name.endswith(ENDS["no"])
    assert check(logs(folder))[1]
    with running(theirs(folder, *RECORDS)) as client:
        assert client.dbsize() == 0
    with running(ours(folder, *RECORDS)) as client:
        assert client.dbsize() == 0


def filled(folder):
    """A store whose base has several chunks; what it holds."""
    rng = random.Random(7)
    with running(ours(folder, *RECORDS)) as client:
        fill(client)
        ended = make_sessions(client)
        for n in range(40):
            client.set(f"wide:{n}", rng.randbytes(100_000))
        rewritten(client)
        client.execute_command("SESSION.END", "session:4")
        client.hset("h:1", "later", "1")
        client.set("later", 1)
        return everything(client), sessions(client), [*ended, "session:4"]


def test_a_changed_byte_of_a_base_of_records_is_mended(folder, tmp_path):
    before, known, _ = filled(folder)
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole)
    for place in (2, 12, 40, 5000, 2_000_000, -30, -3):
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)
        path = base(folder)
        data = bytearray(path.read_bytes())
        data[place] ^= 0x21
        path.write_bytes(data)
        damaged = content(logs(folder))
        said = refused(folder, *RECORDS)
        assert path.name in said and "--salvage" in said and not check(logs(folder))[1]
        assert content(logs(folder)) == damaged, "nothing was changed"
        server = ours(folder, *SALVAGE, "--aof-use-rdb-preamble", "no")
        with running(server) as client:
            assert everything(client) == before, place
            assert sessions(client) == known
        said = server.log.read_text()
        assert f"byte {place % len(data)} was mended" in said and "nothing is lost" in said
        assert base(folder).name.endswith(ENDS["no"])


@pytest.mark.parametrize("how", ["stretch", "end", "chunks"])
def test_of_a_damaged_base_of_records_the_other_chunks_are_there(folder, how):
    before, _, ended = filled(folder)
    path = base(folder)
    data = path.read_bytes()
    chunks = [at for at in range(len(data)) if data.startswith(b"\n#sc ", at)]
    assert len(chunks) > 5
    if how == "stretch":
        data = data[:2_000_000] + bytes(5000) + data[2_005_000:]
    elif how == "end":
        data = data[: chunks[-1] + 1]
    else:
        data = data[: chunks[3] + 1]
    path.write_bytes(data)
    said = refused(folder, *RECORDS)
    assert path.name in said and "--salvage" in said and not check(logs(folder))[1]
    server = ours(folder, *SALVAGE)
    with running(server) as client:
        found = everything(client)
        # A part of a key that may be lost isn't there; the others go on with the increments.
        assert found.items() <= before.items()
        assert client.get("later") == b"1"
        if how == "end":
            assert found == before
        else:
            assert 10 < len(found) < len(before)
        for name in ended:
            assert client.execute_command("SESSION.LOAD", name, "PEEK") is None
    assert len(copies(folder)) == 1


def test_without_a_manifest_a_base_of_records_says_what_follows_it(folder):
    before, known, _ = filled(folder)
    (logs(folder) / "appendonly.aof.manifest").unlink()
    assert "is missing" in refused(folder, *RECORDS)
    with running(ours(folder, *SALVAGE)) as client:
        assert everything(client) == before
        assert sessions(client) == known


def test_of_two_bases_of_one_number_none_is_chosen(folder):
    filled(folder)
    (logs(folder) / "appendonly.aof.manifest").unlink()
    path = base(folder)
    path.with_name(path.name.removesuffix("aof") + "rdb").write_bytes(b"REDIS0010")
    assert "it isn't certain which files make up the log" in refused(folder, *SALVAGE)
