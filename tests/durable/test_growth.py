"""How the log stays small by itself: over many starts, and over what earlier ones have written."""

from __future__ import annotations

import random
import time

from durable_servers import LOG, check, everything, fill, ours, rewritten, running

EMPTY = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n"
PARTS_MAX = 4096
"""Of `crates/persist/src/limits.rs`."""
INCREMENTS_MOST = 64
"""Of `crates/server/src/limits.rs`."""


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


def test_a_small_log_of_many_starts_gets_a_new_base_by_itself(folder):
    with running(ours(folder, *LOG)) as client:
        before = fill(client)
    start_again_and_again(folder, INCREMENTS_MOST)
    with running(ours(folder, *LOG)) as client:
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
