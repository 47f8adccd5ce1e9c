"""What it costs on a busy machine that apps wait for replies without sleeping (`busy_poll`).

    python tools/measure_busy_poll.py [ROUNDS] [--seconds S] [--workers N]

N processes, by default four for each core, load a session from our own server, work for a
millisecond and save a field, over and over: the machine has no time to spare. Printed are requests
per second and the processors' time per request with `busy_poll=100` (what it is unless it's said
otherwise) and with `busy_poll=0`, interleaved, and one process alone beside them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from multiprocessing.synchronize import Barrier

from servers import ROOT, Store, server_bin

sys.path.insert(0, str(ROOT / "python/src"))

from sessile.contract import Changes, Life
from sessile.urls import open_engine

WORK_S = 0.001
LEAVES = {b"%d" % n: b'"a value of some length"' for n in range(12)}


def work(url: str, number: int, seconds: float, barrier: Barrier, out) -> None:
    """What one worker of an app does; tells how many requests it served, and its own time."""
    engine = open_engine(url)
    key = b"%032x" % number
    engine.create(key, LEAVES, Life())
    barrier.wait()
    begun, served, before = time.monotonic(), 0, time.process_time()
    while time.monotonic() - begun < seconds:
        engine.load(key)
        ends = time.thread_time() + WORK_S
        while time.thread_time() < ends:
            pass
        engine.save(key, Changes(set={b"0": b"%d" % served}), Life())
        served += 1
    out.put((served, time.process_time() - before))
    engine.end(key)


def measured(url: str, workers: int, seconds: float) -> tuple[float, float]:
    """Requests per second, and microseconds of the workers' processors for each."""
    barrier, out = multiprocessing.Barrier(workers), multiprocessing.Queue()
    arguments = [(url, number, seconds, barrier, out) for number in range(workers)]
    processes = [multiprocessing.Process(target=work, args=one) for one in arguments]
    for process in processes:
        process.start()
    told = [out.get() for _ in processes]
    for process in processes:
        process.join()
    served = sum(count for count, _ in told)
    return served / seconds, sum(spent for _, spent in told) / served * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rounds", type=int, nargs="?", default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--workers", type=int, default=4 * (os.cpu_count() or 1))
    options = parser.parse_args()
    with Store(command=server_bin()) as store:
        urls = {n: f"sessile://{store.host}:{store.port}?busy_poll={n}" for n in (0, 100)}
        for workers in (options.workers, 1):
            found: dict[int, list[tuple[float, float]]] = {n: [] for n in urls}
            for turn in range(options.rounds):
                for n in sorted(urls, reverse=bool(turn % 2)):
                    found[n].append(measured(urls[n], workers, options.seconds))
            pairs = [a[0] / b[0] for a, b in zip(found[100], found[0], strict=True)]
            for n, figures in found.items():
                rate, spent = (statistics.median(column) for column in zip(*figures, strict=True))
                print(
                    f"{workers} workers, busy_poll={n}: {rate:.0f} requests/s, {spent:.0f} µs each"
                )
            print(f"{workers} workers: requests/s with over without {statistics.median(pairs):.3f}")


if __name__ == "__main__":
    main()
