"""A disk that answers errors, has no room or takes its time, injected from outside the server.

`strace` attached to the server makes its system calls fail or wait while a fault lasts. The disk
without room is a real one, a small tmpfs in a mount namespace of the server's own.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from durable_servers import (
    LOG,
    NO_LOG,
    Server,
    check,
    command_of,
    is_idle,
    ours,
    rewritten,
    running,
)
from servers import free_port
from stalls import Stalls
from test_disk import bulk, told

SECONDS = 60
REFUSED_WITHIN = 1
"""Seconds from the last write that a full disk took to the first one that is refused."""
WRITERS = 30
INCREMENTS = 30
"""So many increments, from the first on, are files that a fault is about."""


@contextmanager
def fault(server: Server, what: str, *paths: Path, trace: str | Path = "/dev/null"):
    """Injects a fault into system calls, into those on some files only if there are any named."""
    command = ["strace", "-f", "-o", str(trace), "-p", str(server.process.pid)]
    calls = what.split(":")[0]
    command += ["-e", f"trace={calls}", "-e", f"inject={what}"]
    for path in paths:
        command += ["-P", str(path)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        # "Process 123 attached with 9 threads", or why not.
        line = tracer.stderr.readline()
        while "attached" not in line:
            assert line, "strace can't attach"
            line = tracer.stderr.readline()
        yield
    finally:
        tracer.terminate()
        try:
            tracer.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            # It waits for ever for a thread that was killed as it began.
            tracer.kill()
            tracer.communicate(timeout=SECONDS)


def increments(folder: Path) -> list[Path]:
    logs = folder / "appendonlydir"
    return [logs / f"appendonly.aof.{n}.incr.aof" for n in range(1, INCREMENTS)]


def one_try(port: int, timeout: float = SECONDS) -> redis.Redis:
    """A client that asks once."""
    return redis.Redis(port=port, socket_timeout=timeout, retry=Retry(NoBackoff(), 0))


def write_until_refused(
    port: int,
    known: dict[str, bytes],
    unknown: set[str],
    prefix: str = "",
    stalls: Stalls | None = None,
) -> str:
    """Writes until an error comes; what is acknowledged is known.

    With `stalls` it has to come in time: so long after what was acknowledged last, which the disk
    has taken, and without what kept this machine from running meanwhile.
    """
    with closing(one_try(port)) as client:
        taken = time.time()
        for n in range(100_000):
            key = f"{prefix}k:{n}"
            try:
                client.set(key, bulk(n))
            except redis.ConnectionError:
                unknown.add(key)
            except redis.ResponseError as error:
                refused = time.time()
                if stalls:
                    most = REFUSED_WITHIN + stalls.within(taken, refused)
                    assert refused - taken <= most, (refused - taken, most)
                return str(error)
            else:
                known[key] = bulk(n)
                taken = time.time()
    raise AssertionError("no write was refused")


def until_written(client: redis.Redis, key: str, value: object) -> None:
    """Waits until a write is taken."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            client.set(key, value)
            return
        except redis.RedisError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


FAULTS = [
    ("always", "fdatasync:error=EIO"),
    ("everysec", "fdatasync:error=EIO"),
    ("always", "write:error=EIO"),
    ("everysec", "write:error=EIO"),
    ("always", "write:error=ENOSPC"),
    ("everysec", "write:error=ENOSPC"),
    ("no", "write:error=EIO"),
]


@pytest.mark.parametrize(("policy", "what"), FAULTS)
def test_errors_of_the_log_refuse_writes_until_the_disk_is_well_again(folder, policy, what):
    text = free_port()
    options = (*LOG, "--appendfsync", policy, "--memcached-port", str(text))
    server = ours(folder, *options)
    known = {"before": b"1"}
    unknown: set[str] = set()
    try:
        server.client.set("before", 1)
        server.client.execute_command("SESSION.CREATE", "s", "USER", "ann", "SET", 1, "a", "1")
        with fault(server, what, *increments(folder)):
            said = write_until_refused(server.port, known, unknown)
            assert said.startswith("MISCONF"), said
            # Under always nothing was acknowledged that didn't come to the disk.
            assert policy != "always" or len(known) == 1
            client = one_try(server.port)
            assert client.get("before") == b"1"
            assert client.mget(known) == list(known.values())
            assert client.execute_command("SESSION.LOAD", "s", "PEEK")
            assert client.info("persistence")["aof_last_write_status"] == "err"
            for refused in ("SET new 1", "HSET new f 1", "SESSION.SAVE s SET 1 a 2"):
                with pytest.raises(redis.ResponseError, match="MISCONF"):
                    client.execute_command(*refused.split())
            assert told(text, b"set new 0 0 1\r\n1\r\n").startswith(b"SERVER_ERROR")
            assert told(text, b"get before\r\n").startswith(b"VALUE before")
            client.close()
        with closing(one_try(server.port)) as client:
            until_written(client, "after", 1)
            assert client.info("persistence")["aof_last_write_status"] == "ok"
            assert told(text, b"set text 0 0 1\r\n1\r\n") == b"STORED\r\n"
            state = {key: client.get(key) for key in unknown}
    finally:
        server.kill()
    assert check(folder / "appendonlydir")[1]
    with running(ours(folder, *LOG)) as client:
        assert client.mget(known) == list(known.values())
        assert client.mget("after", "text", "new") == [b"1", b"1", None]
        # What was unknown to its client is known to the log that was written anew.
        assert {key: client.get(key) for key in unknown} == state
        assert client.execute_command("SESSION.LOAD", "s", "PEEK")[4] == [b"a", b"1"]


def test_an_error_of_one_sync_isn_t_trusted_to_be_the_last(folder):
    """One fsync fails and the next ones don't: the file behind it is never relied on again."""
    server = ours(folder, *LOG, "--appendfsync", "always")
    try:
        server.client.set("before", 1)
        logs = folder / "appendonlydir"
        old = set(logs.glob("*.incr.aof"))
        with fault(server, "fdatasync:error=EIO:when=1", *increments(folder)):
            client = one_try(server.port)
            with pytest.raises(redis.ConnectionError):
                client.set("unknown", 1)
            until_written(client, "after", 1)
            client.close()
        assert not old & set(logs.iterdir()), "there is a new base, and the old files are gone"
    finally:
        server.kill()
    with running(ours(folder, *LOG)) as client:
        assert client.mget("before", "after") == [b"1", b"1"]


def test_an_error_of_one_sync_under_everysec_ends_the_file_and_loses_nothing(folder):
    """What was acknowledged before is in memory still, and comes with the new base."""
    server = ours(folder, *LOG, "--appendfsync", "everysec")
    try:
        server.client.set("before", 1)
        logs = folder / "appendonlydir"
        old = set(logs.glob("*.incr.aof"))
        with fault(server, "fdatasync:error=EIO:when=1", *increments(folder)):
            server.client.set("acknowledged", 1)
            deadline = time.monotonic() + SECONDS
            while old & set(logs.iterdir()):
                assert time.monotonic() < deadline, "the old file is relied on"
                time.sleep(0.01)
            until_written(server.client, "after", 1)
    finally:
        server.kill()
    with running(ours(folder, *LOG)) as client:
        assert client.mget("before", "acknowledged", "after") == [b"1"] * 3


@pytest.mark.parametrize("policy", ["always", "everysec"])
def test_a_write_that_is_interrupted_is_made_again(folder, policy):
    server = ours(folder, *LOG, "--appendfsync", policy)
    try:
        trace = folder.with_name("trace")
        with fault(server, "write:error=EINTR:when=1+2", *increments(folder), trace=trace):
            for n in range(50):
                assert server.client.set(f"k:{n}", bulk(n))
        assert "EINTR" in trace.read_text()
        assert server.client.info("persistence")["aof_last_write_status"] == "ok"
    finally:
        server.kill()
    with running(ours(folder, *LOG)) as client:
        assert client.mget(f"k:{n}" for n in range(50)) == [bulk(n) for n in range(50)]


@pytest.mark.parametrize("policy", ["always", "everysec"])
@pytest.mark.parametrize("what", ["fsync of base", "fsync of manifest", "rename", "openat"])
def test_a_rewrite_that_fails_leaves_the_log_as_it_was(folder, what, policy):
    server = ours(folder, *LOG, "--appendfsync", policy)
    client = server.client
    try:
        client.set("k", "old")
        rewritten(client)
        logs = folder / "appendonlydir"
        manifest = logs / "appendonly.aof.manifest"
        named = manifest.read_bytes()
        bases = [logs / f"appendonly.aof.{n}.base.rdb" for n in range(1, 9)]
        names = [manifest] if what == "fsync of manifest" else bases
        paths = [logs / f"temp-{server.process.pid}-{path.name}" for path in names]
        call = what.split()[0]
        with fault(server, f"{call}:error=EIO", *paths):
            client.set("k", "new")
            with suppress(redis.ResponseError):
                client.bgrewriteaof()
            until_failed(client)
            assert client.set("meanwhile", 1), "the log goes on"
            assert client.delete("meanwhile") == 1
        assert set(base_of(manifest.read_bytes())) == set(base_of(named)), "the old base"
        assert not list(logs.glob("temp-*"))
        assert client.set("more", 1)
        server.kill()
        server = ours(folder, *LOG, "--appendfsync", policy)
        client = server.client
        assert client.mget("k", "more", "meanwhile") == [b"new", b"1", None]
        rewritten(client)
        assert client.info("persistence")["aof_last_bgrewrite_status"] == "ok"
        assert set(base_of(manifest.read_bytes())) != set(base_of(named))
    finally:
        server.kill()
    with running(ours(folder, *LOG)) as client:
        assert client.mget("k", "more", "meanwhile") == [b"new", b"1", None]


def until_idle(client: redis.Redis) -> None:
    """Waits until nothing is written in the background."""
    deadline = time.monotonic() + SECONDS
    while not is_idle(client):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def until_failed(client: redis.Redis) -> None:
    """Waits until a rewrite has failed."""
    deadline = time.monotonic() + SECONDS
    while True:
        facts = client.info("persistence")
        if facts["aof_last_bgrewrite_status"] == "err" and not facts["aof_rewrite_in_progress"]:
            return
        assert time.monotonic() < deadline, facts
        time.sleep(0.01)


def base_of(manifest: bytes) -> list[bytes]:
    """The lines that name a base."""
    return [line for line in manifest.splitlines() if line.endswith(b"type b")]


@pytest.mark.parametrize("call", ["fsync", "rename", "openat"])
def test_a_snapshot_that_fails_leaves_the_old_one(folder, call):
    server = ours(folder, *NO_LOG)
    client = server.client
    try:
        client.set("k", "old")
        client.save()
        old = (folder / "dump.rdb").read_bytes()
        client.set("k", "new")
        with fault(server, f"{call}:error=EIO", folder, folder / "dump.rdb", *temporary(server)):
            with pytest.raises(redis.ResponseError):
                client.save()
            client.bgsave()
            deadline = time.monotonic() + SECONDS
            while client.info("persistence")["rdb_bgsave_in_progress"]:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert client.info("persistence")["rdb_last_bgsave_status"] == "err"
            assert client.get("k") == b"new"
            assert client.set("more", 1)
        if call != "fsync":
            # A folder whose sync fails has got the new file already, whole.
            assert (folder / "dump.rdb").read_bytes() == old
        assert check(folder / "dump.rdb")[1]
        assert not list(folder.glob("temp-*"))
        client.save()
    finally:
        server.kill()
    with running(ours(folder, *NO_LOG)) as client:
        assert client.mget("k", "more") == [b"new", b"1"]


def temporary(server: Server) -> list[Path]:
    """Where a snapshot is written before it's whole."""
    (folder,) = server.client.config_get("dir").values()
    return [Path(folder) / f"temp-{server.process.pid}-dump.rdb"]


def test_reads_go_on_while_a_sync_takes_seconds(folder):
    """Writers wait for the slow disk, on all shards; whoever reads doesn't."""
    server = ours(folder, *LOG, "--appendfsync", "everysec")
    client = server.client
    names = [f"k:{n}" for n in range(500)]
    client.mset(dict.fromkeys(names, 1))
    answered = [0] * WRITERS
    stop = threading.Event()

    def write_on(number: int) -> None:
        with closing(one_try(server.port)) as other:
            while not stop.is_set():
                other.set(f"w:{number}:{answered[number] % 100}", 1)
                answered[number] += 1

    writers = [threading.Thread(target=write_on, args=(n,)) for n in range(WRITERS)]
    try:
        with fault(server, "fdatasync:delay_enter=3000000", *increments(folder)):
            for writer in writers:
                writer.start()
            deadline = time.monotonic() + SECONDS
            while True:
                # All wait by now, and still did when the last read was answered.
                time.sleep(0.05)
                before = sum(answered)
                found = client.mget(names) + [client.get(name) for name in names]
                assert set(found) == {b"1"}
                if before == sum(answered) and client.info("persistence")["aof_delayed_fsync"]:
                    break
                assert time.monotonic() < deadline, "reads wait with the writers"
            stop.set()
        for writer in writers:
            writer.join()
    finally:
        stop.set()
        server.kill()
    with running(ours(folder, *LOG)) as client:
        assert client.mget(names) == [b"1"] * len(names)
        for number, count in enumerate(answered):
            written = min(count, 100)
            assert not written or client.exists(*(f"w:{number}:{n}" for n in range(written)))


def test_reads_of_other_keys_go_on_under_always_while_a_sync_takes_seconds(folder):
    """Who reads what is being written waits with the writer; nobody else does."""
    server = ours(folder, *LOG, "--appendfsync", "always")
    names = [f"k:{n}" for n in range(20)]
    server.client.mset(dict.fromkeys(names, 1))
    server.client.execute_command("SESSION.CREATE", "s", "USER", "ann", "SET", 1, "a", "1")
    # One name of many thousands is taken for the written one, and a machine may stall.
    answers = (reads_beside_a_write(server, folder, f"w:{n}", names) for n in range(6))
    in_time = any(answers)
    server.kill()
    assert in_time, "the reads waited for the sync"


def reads_beside_a_write(server: Server, folder: Path, key: str, names: list[str]) -> bool:
    """Whether reads of some keys are answered while a write of another waits for its sync."""
    answered = threading.Event()

    def write() -> None:
        with closing(one_try(server.port)) as other:
            other.set(key, 2)
            answered.set()

    def is_appended() -> bool:
        files = [path for path in increments(folder) if path.exists()]
        return any(key.encode() in path.read_bytes() for path in files)

    writer, client = threading.Thread(target=write), server.client
    with fault(server, "fdatasync:delay_enter=3000000", *increments(folder)):
        writer.start()
        while not is_appended():
            assert not answered.is_set() or is_appended()
        assert [client.get(name) for name in names] == [b"1"] * len(names)
        assert client.execute_command("SESSION.LOAD", "s", "PEEK")
        in_time = not answered.is_set()
        assert client.get(key) == b"2"
        writer.join(SECONDS)
        # Who reads it was told when the writer was, or the write wasn't held at all.
        assert answered.is_set()
    return in_time


class Small:
    """A server whose folder is a disk of a few megabytes of its own."""

    SIZE_MB = 6

    def __init__(self, folder: Path, *options: str) -> None:
        script = f'mount -t tmpfs -o size={self.SIZE_MB}m small {folder} && exec "$@"'
        port = free_port()
        command = ["unshare", "-rm", "sh", "-c", script, "sh", *command_of(folder, port, *options)]
        self.server = Server(command, folder, port)
        self.folder = Path(f"/proc/{self.server.process.pid}/root{folder}")

    def fill(self, leave: int = 0) -> None:
        """Leaves no room, or so many bytes."""
        with (self.folder / "ballast").open("ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(1000))
            except OSError:
                pass
            if leave:
                ballast.truncate(ballast.tell() - leave)

    def empty(self) -> None:
        (self.folder / "ballast").unlink()


def can_mount() -> bool:
    """Whether namespaces of one's own are allowed here."""
    command = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs small /mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="no mount namespaces here")
@pytest.mark.parametrize("policy", ["always", "everysec"])
def test_a_disk_without_room_is_survived_again_and_again(folder, policy):
    """Each time writes are refused within a second, and taken again once there is room."""
    small = Small(folder, *LOG, "--appendfsync", policy)
    server, client = small.server, small.server.client
    known: dict[str, bytes] = {}
    unknown: set[str] = set()
    try:
        client.set("k", "old")
        client.save()
        snapshot = (small.folder / "dump.rdb").read_bytes()
        for turn in range(2):
            small.fill(leave=50_000)
            with Stalls() as stalls:
                said = write_until_refused(server.port, known, unknown, f"{turn}:", stalls)
            assert said.startswith("MISCONF"), said
            with closing(one_try(server.port)) as reader:
                assert reader.mget(known) == list(known.values())
                with pytest.raises(redis.ResponseError):
                    reader.save()
            assert (small.folder / "dump.rdb").read_bytes() == snapshot
            assert not list(small.folder.glob("**/temp-*"))
            small.empty()
            until_written(client, f"after:{turn}", 1)
            known[f"after:{turn}"] = b"1"
        # The rewrite that gave the writes room ends just after they are taken again.
        until_idle(client)
        client.save()
        assert (small.folder / "dump.rdb").read_bytes() != snapshot
        kept = folder.parent / "kept"
        # What the dead server leaves, before its disk goes with it.
        server.process.send_signal(signal.SIGSTOP)
        shutil.copytree(small.folder, kept)
    finally:
        server.kill()
    with running(ours(kept, *LOG)) as client:
        assert client.mget(known) == list(known.values())
