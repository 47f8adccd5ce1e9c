"""Killed at each step of a start.

`strace` kills a server as its n-th call of a kind on the files of the store begins, for every n
until it's ready: as it takes the folder, cuts a torn end, removes what a crash left, begins an
increment, writes the first base. The start after that has everything, what is written then lasts,
too, and nothing is left over.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis

from durable_servers import LOG, NO_LOG, command_of, everything, ours, rewritten, running
from servers import free_port
from test_faults import fault, one_try
from test_steps import left_over

CALLS = (
    "flock",
    "ftruncate",
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "rename",
    "unlink",
    "mkdir",
)
"""What opens a file or only reads leaves nothing that the next of these doesn't meet."""
MOST = 60
"""So many calls of a kind would be more than any start takes."""
SECONDS = 20
TORN = b"#sc 99 5000 0000000000000000 0000000000000000 0\r\n*3\r\n$3"
LEAST = {"torn": 20, "snapshot": 20, "nothing": 20}
"""Fewer calls than that: some of them were missed."""


def fill(client) -> dict:
    """A little of everything; what is there."""
    for n in range(20):
        client.set(f"s:{n}", f"{n}" * 9, px=10_000_000 if n % 3 else None)
    client.hset("h", mapping={f"f{n}": f"value {n}" for n in range(50)})
    client.execute_command("SESSION.CREATE", "session", "IDLE", 5000, "USER", "u", "SET", 1, "a", 1)
    return everything(client)


def torn(folder: Path) -> dict:
    """A base, two increments of which the last ends in the middle, and what a crash leaves."""
    server = ours(folder, *LOG)
    fill(server.client)
    rewritten(server.client)
    server.client.save()
    server.kill()
    server = ours(folder, *LOG)
    server.client.set("last", 1)
    server.client.set("ended", 1)
    server.client.delete("ended")
    before = everything(server.client)
    server.kill()
    logs = folder / "appendonlydir"
    last = max(logs.glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[2]))
    with last.open("ab") as file:
        file.write(TORN)
    for path in (folder / "temp-1-dump.rdb", logs / "temp-1-appendonly.aof.manifest"):
        path.write_bytes(b"half")
    (logs / "appendonly.aof.77.incr.aof").write_bytes(b"")
    return before


def snapshot(folder: Path) -> dict:
    """A snapshot without a log: the first base is made of it."""
    with running(ours(folder, *NO_LOG)) as client:
        before = fill(client)
        client.save()
    return before


def nothing(folder: Path) -> dict:
    """Not even a folder."""
    folder.rmdir()
    return {}


def files_of(folder: Path, pid: int) -> list[Path]:
    """What a start may touch."""
    logs = folder / "appendonlydir"
    manifest = "appendonly.aof.manifest"
    parts = [f"appendonly.aof.{n}.{end}" for n in range(1, 6) for end in ("base.rdb", "incr.aof")]
    parts += [f"{part}.torn" for part in parts] + ["appendonly.aof.77.incr.aof"]
    names = [manifest, "sessile.lock", *parts]
    names += [f"temp-{n}-{name}" for n in (1, pid) for name in (manifest, *parts)]
    beside = [folder / name for name in ("dump.rdb", "sessile.lock", "temp-1-dump.rdb")]
    return [folder.parent, folder, logs, *beside, *(logs / name for name in names)]


@contextmanager
def held(folder: Path, *options: str):
    """A server that doesn't begin before somebody writes a line to it, and its log."""
    command = ["sh", "-c", 'read line; exec "$@"', "sh"]
    command += command_of(folder, free_port(), *options)
    log = folder.parent / "killed.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=out)
    try:
        yield process, log
    finally:
        process.kill()
        process.wait()
        process.stdin.close()


def has_ended(process: subprocess.Popen) -> bool:
    """Whether it has ended, also while its tracer hasn't taken notice of all its threads."""
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "Z"


def is_killed_at(folder: Path, call: str, number: int, *options: str) -> bool:
    """Starts a server; whether it was killed at that call before it was ready."""
    with held(folder, *options) as (process, log):
        strace = ["strace", "-f", "-o", "/dev/null", "-p", str(process.pid)]
        strace += ["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}"]
        for path in files_of(folder, process.pid):
            strace += ["-P", str(path)]
        tracer = subprocess.Popen(strace, stderr=subprocess.PIPE, text=True)
        try:
            line = tracer.stderr.readline()
            while "attached" not in line:
                # What it says of the paths that aren't there yet, or that it can't attach.
                assert line, "strace can't attach"
                line = tracer.stderr.readline()
            process.stdin.write(b"\n")
            process.stdin.flush()
            deadline = time.monotonic() + SECONDS
            while not (ended := has_ended(process)) and b"Ready to acc" not in log.read_bytes():
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.002)
        finally:
            # Not asked to end: it may wait for a thread that was killed as it began.
            tracer.kill()
            tracer.communicate(timeout=SECONDS)
        process.kill()
        assert process.wait(SECONDS) == -signal.SIGKILL, log.read_text()
        return ended


def check_next_start(folder: Path, before: dict, what: str, *options: str) -> None:
    """It has everything, what is written then lasts, and nothing is left over."""
    server = ours(folder, *options)
    assert everything(server.client) == before, what
    server.client.set("after", what)
    server.client.delete("last")
    server.kill()
    before = {key: at for key, at in before.items() if key != (0, b"last")}
    with running(ours(folder, *options)) as client:
        assert client.get("after") == what.encode()
        client.delete("after")
        assert everything(client) == before, what
        assert {name for name in left_over(folder) if ".torn" not in name} == set(), what


@pytest.mark.timeout(300)
@pytest.mark.parametrize("policy", ["everysec", "always"])
@pytest.mark.parametrize("make", [torn, snapshot, nothing])
def test_killed_at_each_step_of_a_start_everything_is_there(folder, make, policy):
    options = (*LOG, "--appendfsync", policy)
    before = make(folder)
    kept = folder.with_name("kept")
    if folder.exists():
        shutil.copytree(folder, kept)
    steps = 0
    for call in CALLS:
        for number in range(1, MOST):
            killed = is_killed_at(folder, call, number, *options)
            what = f"{make.__name__}: killed at {call} {number}"
            check_next_start(folder, before, what, *options)
            cut = {path.read_bytes() for path in (folder / "appendonlydir").glob("*.torn*")}
            assert cut == ({TORN} if make is torn else set()), "what was cut is kept, whole"
            shutil.rmtree(folder)
            if kept.exists():
                shutil.copytree(kept, folder)
            if not killed:
                break
            steps += 1
        else:
            raise AssertionError(f"{call}: {MOST} calls, and no end")
    print(f"{make.__name__}: killed at {steps} calls")
    assert steps >= LEAST[make.__name__]


@pytest.mark.timeout(300)
def test_killed_at_each_step_of_a_log_that_begins_later_the_snapshot_is_there(folder):
    """`CONFIG SET appendonly yes` where there was none: the snapshot is the store until then."""
    before = snapshot(folder)
    kept = folder.with_name("kept")
    shutil.copytree(folder, kept)
    steps = 0
    for call in ("fsync", "rename"):
        for number in range(1, MOST):
            server, killed = ours(folder, *NO_LOG), True
            with fault(server, f"{call}:signal=SIGKILL:when={number}"):
                with suppress(redis.ConnectionError), one_try(server.port) as client:
                    client.config_set("appendonly", "yes")
                    assert client.execute_command("WAITAOF", 1, 0, 0) == [1, 0]
                    killed = False
                if killed:
                    server.process.wait(SECONDS)
            server.kill()
            check_next_start(folder, before, f"killed at {call} {number}")
            shutil.rmtree(folder)
            shutil.copytree(kept, folder)
            if not killed:
                break
            steps += 1
        else:
            raise AssertionError(f"{call}: {MOST} calls, and no end")
    assert steps >= 10
