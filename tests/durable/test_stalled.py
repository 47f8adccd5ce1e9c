"""A disk that stalls under a store that is at its memory cap: everything at once.

Writers go on for as long as they are answered, and what they write makes other keys go.
"""

from __future__ import annotations

import random
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

from durable_servers import LOG, Server, check, ours, running
from test_faults import SECONDS, fault, increments, one_try

CAP = 48 << 20
POLICY = ("--maxmemory", str(CAP), "--maxmemory-policy", "allkeys-lru")
WRITERS = 6
BATCH = 40
SIZE = 20_000
KEYS = 300
"""Of each writer: all of them together have twice what the cap allows."""
OVER = 16 << 20
"""What buffers may take for a moment until a turn ends in which keys go for them."""
PROCESS = 64 << 20
"""What a process has beside what it counts: its program, its stacks, what the allocator keeps."""
QUIET_READS = 20
"""Rounds of reads in a row during which nobody who writes is answered."""


class Writers:
    """Clients that write batch after batch; each key's value tells how many it wrote before."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.known: list[dict[int, int]] = [{} for _ in range(WRITERS)]
        """Of each writer for each key the last turn that was acknowledged."""
        self.issued = [0] * WRITERS
        """The turn that each has begun."""
        self.failed: list[BaseException] = []
        self._stop = threading.Event()

    def answered(self) -> int:
        return sum(map(len, self.known)) + sum(self.issued)

    def _run(self, number: int) -> None:
        noise = random.Random(number).randbytes(SIZE)
        try:
            with closing(one_try(self.port)) as client:
                while not self._stop.is_set():
                    turn = self.issued[number] = self.issued[number] + 1
                    pipe = client.pipeline(transaction=False)
                    names = [(turn * BATCH + i) % KEYS for i in range(BATCH)]
                    for name in names:
                        pipe.set(f"w:{number}:{name}", b"%d:" % turn + noise)
                    pipe.execute()
                    self.known[number] |= dict.fromkeys(names, turn)
        except BaseException as error:
            self.failed.append(error)

    @contextmanager
    def at_work(self):
        threads = [threading.Thread(target=self._run, args=(n,)) for n in range(WRITERS)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(SECONDS)
        assert not self.failed, self.failed


def resident(server: Server) -> int:
    """Bytes of memory that the process has."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) << 10


def test_a_disk_that_stalls_at_the_memory_cap_stops_writers_and_nothing_else(folder):
    """Reads go on, memory stays bounded, and all goes on alone once the disk does."""
    server = ours(folder, *LOG, *POLICY, "--appendfsync", "everysec")
    client = server.client
    writers = Writers(server.port)
    try:
        with writers.at_work():
            deadline = time.monotonic() + SECONDS
            while client.info("stats")["evicted_keys"] < 1_000:
                assert time.monotonic() < deadline and not writers.failed, writers.failed
                time.sleep(0.01)
            with fault(server, "fdatasync:delay_enter=4000000", *increments(folder)):
                quiet = read_on(server, writers, deadline + SECONDS)
            assert quiet >= QUIET_READS
            before = sum(writers.issued)
            while sum(writers.issued) < before + 3 * WRITERS:
                assert time.monotonic() < deadline + 3 * SECONDS, "writers go on alone"
                assert not writers.failed, writers.failed
                time.sleep(0.01)
        info = client.info("persistence")
        assert info["aof_last_write_status"] == "ok" and info["aof_delayed_fsync"] > 0
    finally:
        server.kill()
    assert check(folder / "appendonlydir")[1]
    with running(ours(folder, *LOG, *POLICY)) as client:
        found = 0
        for number, turns in enumerate(writers.known):
            values = client.mget(f"w:{number}:{name}" for name in turns)
            for turn, value in zip(turns.values(), values, strict=True):
                # It may have gone for others; it's never older than what was acknowledged.
                assert value is None or turn <= int(value.split(b":")[0]) <= writers.issued[number]
                found += value is not None
        assert found > 500


def read_on(server: Server, writers: Writers, deadline: float) -> int:
    """Reads while the disk stalls, until writers wait for a while; in how many rounds they did."""
    client, quiet = server.client, 0
    while quiet < QUIET_READS:
        assert time.monotonic() < deadline, "reads wait with the writers"
        assert not writers.failed, writers.failed
        before = writers.answered()
        for number in range(WRITERS):
            client.get(f"w:{number}:{random.randrange(KEYS)}")
        memory = client.info("memory")
        assert memory["used_memory"] < CAP + OVER, memory
        assert resident(server) < CAP + OVER + PROCESS
        time.sleep(0.02)
        waits = client.info("persistence")["sessile_aof_unsynced_ms"] >= 900
        quiet = quiet + 1 if waits and writers.answered() == before else 0
    return quiet
