"""What keeping costs: how the log stays small by itself, and what INFO says of it."""

from __future__ import annotations

import random
import time

import pytest

from durable_servers import LOG, NO_LOG, check, everything, fill, ours, rewritten, running
from test_faults import fault, increments

EMPTY = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n"
PARTS_MAX = 4096
"""Of `crates/persist/src/limits.rs`."""
INCREMENTS_MOST = 64
"""Of `crates/server/src/limits.rs`."""

LARGE = 64 << 20
TWICE = 100
"""Bytes: a session takes 80 in a snapshot, and 113 with its facts twice."""


def parts(folder, kind: str) -> list:
    return sorted((folder / "appendonlydir").glob(f"*.{kind}"))


def start_again_and_again(folder, files: int) -> None:
    """Leaves a log as so many files, as if each start had added an empty increment."""
    logs = folder / "appendonlydir"
    lines = [
        line
        for line in (logs / "appendonly.aof.manifest").read_text().splitlines()
        if not line.startswith("#")
    ]
    last = max(int(line.split()[3]) for line in lines)
    for n in range(last + 1, last + 1 + files - len(lines)):
        name = f"appendonly.aof.{n}.incr.aof"
        (logs / name).write_bytes(EMPTY)
        lines.append(f"file {name} seq {n} type i")
    (logs / "appendonly.aof.manifest").write_text("\n".join(lines) + "\n")


def until(client, what) -> dict:
    """Waits until that is true of INFO persistence."""
    deadline = time.monotonic() + 60
    while not what(info := client.info("persistence")):
        assert time.monotonic() < deadline, info
        time.sleep(0.02)
    return info


def test_a_log_of_as_many_files_as_there_can_be_starts_all_the_same(folder):
    with running(ours(folder, *LOG)) as client:
        before = fill(client)
    # One more, the increment of the start, would be too many already.
    for files in (PARTS_MAX - 1, PARTS_MAX):
        start_again_and_again(folder, files)
        server = ours(folder, *LOG, "--auto-aof-rewrite-percentage", "0")
        assert len(parts(folder, "incr.aof")) == len(parts(folder, "base.rdb")) == 1
        client = server.client
        assert everything(client) == before
        client.set("after", files)
        server.kill()
        with running(ours(folder, *LOG)) as client:
            assert client.getdel("after") == str(files).encode()
    assert check(folder / "appendonlydir")[1]


@pytest.mark.parametrize("percentage", [100, 0])
def test_a_small_log_of_many_starts_gets_a_new_base_by_itself(folder, percentage):
    """Also where it's never to have one because of its size."""
    with running(ours(folder, *LOG)) as client:
        before = fill(client)
    start_again_and_again(folder, INCREMENTS_MOST)
    growth = ("--auto-aof-rewrite-percentage", str(percentage))
    with running(ours(folder, *LOG, *growth)) as client:
        until(client, lambda _: len(parts(folder, "incr.aof")) == 1)
        assert everything(client) == before


def test_what_earlier_runs_wrote_counts_for_the_next_base(folder):
    least = ("--auto-aof-rewrite-min-size", "1mb")
    noise = random.Random(6)
    with running(ours(folder, *LOG, *least)) as client:
        client.set("base", noise.randbytes(600_000))
        rewritten(client)
    (base,) = parts(folder, "base.rdb")
    sizes = []
    for run in range(4):
        server = ours(folder, *LOG, *least)
        info = server.client.info("persistence")
        if parts(folder, "base.rdb") != [base]:
            break
        assert info["aof_base_size"] == base.stat().st_size > 600_000
        files = [base, *parts(folder, "incr.aof")]
        assert info["aof_current_size"] == sum(file.stat().st_size for file in files)
        sizes.append(info["aof_current_size"])
        # None of these runs writes what a base would pay for alone.
        server.client.set(f"run:{run}", noise.randbytes(250_000))
        if run == 3:
            break
        server.stop()
    assert sizes == sorted(sizes) and len(sizes) >= 3
    info = until(server.client, lambda info: info["aof_base_size"] > 1_000_000)
    assert info["aof_last_bgrewrite_status"] == "ok"
    assert server.client.strlen("base") == 600_000 and server.client.exists("run:0", "run:1") == 2
    server.kill()


def test_a_large_write_leaves_no_memory_in_use(folder):
    """Neither what it was written down in, nor what that was put in for the file."""
    with running(ours(folder, *LOG, "--appendfsync", "always")) as client:
        client.set("k", 1)
        before = client.info("memory")["used_memory"]
        client.set("large", b"x" * LARGE)
        client.delete("large")
        deadline = time.monotonic() + 60
        while (used := client.info("memory")["used_memory"]) > before + LARGE // 4:
            assert time.monotonic() < deadline, (before, used)
            # The worker that had it looks when it has a turn.
            client.set("k", 1)


def test_info_tells_what_waits_for_the_disk(folder):
    server = ours(folder, *LOG)
    client = server.client
    client.set("k", 1)
    with fault(server, "fdatasync:delay_enter=2000000", *increments(folder)):
        client.set("k", 2)
        info = until(client, lambda info: info["sessile_aof_unsynced_ms"] >= 700)
        assert info["sessile_aof_unsynced_bytes"] > 0 and info["aof_pending_bio_fsync"] == 1
    until(client, lambda info: info["sessile_aof_unsynced_bytes"] == 0)
    info = client.info("persistence")
    assert info["sessile_aof_unsynced_ms"] == info["aof_buffer_length"] == 0
    server.stop()


def test_info_tells_of_saves_rewrites_and_loads(folder):
    with running(ours(folder, *LOG)) as client:
        info = client.info("persistence")
        never = ("rdb_current_bgsave_time_sec", "aof_current_rewrite_time_sec")
        assert [info[name] for name in (*never, "aof_last_rewrite_time_sec")] == [-1, -1, -1]
        assert info["rdb_saves"] == info["aof_rewrites"] == info["aof_rewrite_scheduled"] == 0
        client.mset({f"k:{n}": n for n in range(10)})
        client.save()
        rewritten(client)
        info = client.info("persistence")
        assert info["rdb_saves"] == info["aof_rewrites"] == 1
        assert info["aof_last_rewrite_time_sec"] >= 0 and info["aof_pending_rewrite"] == 0
    for options in (LOG, NO_LOG):
        with running(ours(folder, *options)) as client:
            assert client.info("persistence")["rdb_last_load_keys_loaded"] == 10


def test_a_base_says_once_what_a_session_carries(folder):
    """What stands beside an item is written before it, and not twice."""
    with running(ours(folder, *NO_LOG, "--rdbcompression", "no")) as client:
        client.execute_command("SESSION.CREATE", "s", "IDLE", 600, "USER", "ann", "SET", 1, "a", 1)
        client.save()
        once = (folder / "dump.rdb").stat().st_size
        client.execute_command("SESSION.CREATE", "t", "IDLE", 600, "USER", "ann", "SET", 1, "a", 1)
        client.save()
        assert (folder / "dump.rdb").stat().st_size - once < TWICE


def test_a_store_at_its_cap_gets_its_snapshots(folder):
    """A page of large values may be more than what such a store lets changes keep waiting."""
    cap = ("--maxmemory", "32mb", "--maxmemory-policy", "allkeys-lru")
    noise = random.Random(7).randbytes(40_000)
    with running(ours(folder, *LOG, *cap)) as client:
        for n in range(1_500):
            client.set(f"k:{n}", noise)
        assert client.info("stats")["evicted_keys"] > 100
        for number in range(1, 4):
            client.bgsave()
            while client.info("persistence")["rdb_bgsave_in_progress"]:
                client.set(f"k:{number * 10_000}", noise)
            info = client.info("persistence")
            assert info["rdb_last_bgsave_status"] == "ok", number
            assert info["rdb_saves"] == number
        rewritten(client)
