"""What it costs on a busy machine that apps wait for replies without sleeping (`busy_poll`).

    python tools/measure_busy_poll.py [ROUNDS] [--seconds S] [--workers N]

N processes, by default four for each core, load a session from our own server, work for a
millisecond and save a field, over and over: the machine has no time to spare. Printed are requests
per second, the processors' time per request and how long a load took (median, p90) with
`busy_poll=100` (what it is unless it's said otherwise) and with `busy_poll=0`, interleaved; then of
one process beside others, one for each core, that compute without pause, and of one alone.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier

from servers import ROOT, Store, server_bin

sys.path.insert(0, str(ROOT / "python/src"))

from sessile.contract import Changes, Life
from sessile.urls import open_engine

WORK_S = 0.001
LEAVES = {b"%d" % n: b'"a value of some length"' for n in range(12)}


def work(url: str, number: int, seconds: float, barrier: Barrier, out) -> None:
    """What one worker of an app does; tells its own time and how long each load took."""
    engine = open_engine(url)
    key = b"%032x" % number
    engine.create(key, LEAVES, Life())
    barrier.wait()
    loads: list[float] = []
    begun, before = time.monotonic(), time.process_time()
    while (now := time.monotonic()) - begun < seconds:
        engine.load(key)
        loads.append(time.monotonic() - now)
        ends = time.thread_time() + WORK_S
        while time.thread_time() < ends:
            pass
        engine.save(key, Changes(set={b"0": b"%d" % len(loads)}), Life())
    out.put((time.process_time() - before, loads))
    engine.end(key)


def compute() -> None:
    while True:
        pass


@contextmanager
def beside(others: int) -> Iterator[None]:
    """While so many processes compute without pause."""
    processes = [multiprocessing.Process(target=compute, daemon=True) for _ in range(others)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def measured(url: str, workers: int, seconds: float) -> tuple[float, ...]:
    """Requests per second, and microseconds: of the workers' processors for each, of a load in the
    median and the 90th percentile."""
    barrier, out = multiprocessing.Barrier(workers), multiprocessing.Queue()
    arguments = [(url, number, seconds, barrier, out) for number in range(workers)]
    processes = [multiprocessing.Process(target=work, args=one) for one in arguments]
    for process in processes:
        process.start()
    told = [out.get() for _ in processes]
    for process in processes:
        process.join()
    loads = sorted(load * 1e6 for _, some in told for load in some)
    spent = sum(spent for spent, _ in told) / len(loads) * 1e6
    return len(loads) / seconds, spent, statistics.median(loads), loads[len(loads) * 9 // 10]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rounds", type=int, nargs="?", default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--workers", type=int, default=4 * (os.cpu_count() or 1))
    options = parser.parse_args()
    with Store(command=server_bin()) as store:
        urls = {n: f"sessile://{store.host}:{store.port}?busy_poll={n}" for n in (0, 100)}
        for workers, others in ((options.workers, 0), (1, os.cpu_count() or 1), (1, 0)):
            found: dict[int, list[tuple[float, ...]]] = {n: [] for n in urls}
            with beside(others):
                for turn in range(options.rounds):
                    for n in sorted(urls, reverse=bool(turn % 2)):
                        found[n].append(measured(urls[n], workers, options.seconds))
            who = f"{workers} workers" + (f" beside {others} others" if others else "")
            pairs = [a[0] / b[0] for a, b in zip(found[100], found[0], strict=True)]
            for n, figures in found.items():
                rate, spent, median, high = map(statistics.median, zip(*figures, strict=True))
                text = (
                    f"{rate:.0f} requests/s, {spent:.0f} µs each, loads {median:.0f} and {high:.0f}"
                )
                print(f"{who}, busy_poll={n}: {text} µs")
            print(f"{who}: requests/s with over without {statistics.median(pairs):.3f}", flush=True)


if __name__ == "__main__":
    main()
