"""What is often said of Redis and memcached as session stores, tried out.

    python tools/measure_claims.py [--json FILE]

serializers   microseconds to dump and load a session of some sizes with json, pickle and msgspec
hashseed      seconds of the same work with PYTHONHASHSEED=0, over those with a random seed
inside        microseconds that a server counts for a GET, beside those that its client waits
memory        resident bytes of a server without a session
eviction      what memcached and Redis do with more sessions than there is memory for
pipelined     GETs per second by redis-benchmark, 32 clients with 16 requests in flight each
stats         what `redis-cli` ends with when it's told --stats, and --stat
lost          of updates of different fields of one session by parallel requests, those lost

Starts Debian's redis-server and memcached and our own release binary; needs the virtual environment
of the tests. Rounds take turns; a list has a number per round.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import redis
from pymemcache.client.base import Client

from loads import benchmark
from measure_sessions import configure, makers
from servers import RIVALS, Store, server_bin

ROUNDS = 7
SIZES = (1, 4, 16, 64)
"""Sizes of sessions, in KiB of JSON."""
WRITERS, UPDATES = 8, 40


def document(kib: int) -> dict[str, Any]:
    """A session of about that size: a cart and what was looked at."""
    draw = random.Random(kib)
    found: dict[str, Any] = {"_auth_user_id": "12345", "seen": [], "cart": {}}
    while len(json.dumps(found)) < kib * 1024:
        n = len(found["seen"])
        found["seen"].append({"id": draw.randrange(10**6), "at": 1_700_000_000 + n})
        found["cart"][f"item:{n}"] = {"count": n % 5, "price": f"{draw.randrange(10**4) / 100}"}
    return found


def microseconds(work: Callable[[], Any]) -> list[float]:
    """Some runs, each long enough for the clock."""
    times = []
    for _ in range(ROUNDS):
        begun, count = time.perf_counter(), 0
        while time.perf_counter() - begun < 0.02:
            work()
            count += 1
        times.append((time.perf_counter() - begun) / count * 1e6)
    return times


def serializers() -> dict[str, Any]:
    encoder, decoder = msgspec.json.Encoder(), msgspec.json.Decoder()
    ways = {
        "json": (lambda d: json.dumps(d).encode(), json.loads),
        "pickle": (pickle.dumps, pickle.loads),
        "msgspec": (encoder.encode, decoder.decode),
    }
    found: dict[str, Any] = {}
    for kib in SIZES:
        data = document(kib)
        found[f"{kib} KiB"] = sizes = {}
        for name, (dump, load) in ways.items():
            text = dump(data)
            cost = (
                microseconds(lambda f=dump, d=data: f(d)),
                microseconds(lambda f=load, t=text: f(t)),
            )
            sizes[name] = {"bytes": len(text), "dump_us": cost[0], "load_us": cost[1]}
    return found


WORK = """
import json, time
data = {f"field {n}": {"a": n, "b": str(n)} for n in range(2000)}
text = json.dumps(data)
begun = time.perf_counter()
for _ in range(40):
    json.loads(json.dumps(data))
print(time.perf_counter() - begun)
"""


def hashseed() -> dict[str, list[float]]:
    times: dict[str, list[float]] = {"0": [], "random": []}
    for _ in range(ROUNDS):
        for seed, taken in times.items():
            environment = dict(os.environ, PYTHONHASHSEED=seed)
            command = [sys.executable, "-c", WORK]
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            )
            taken.append(float(done.stdout))
    pairs = zip(times["0"], times["random"], strict=True)
    return {"ratio": [zero / other for zero, other in pairs]}


def inside(stores: dict[str, Store]) -> dict[str, Any]:
    found: dict[str, Any] = {name: {"server_us": [], "client_us": []} for name in stores}
    for _ in range(ROUNDS):
        for name, store in stores.items():
            client = redis.Redis(port=store.port)
            client.set("k", "v" * 460)
            client.config_resetstat()
            waits = []
            for _ in range(3_000):
                begun = time.perf_counter()
                client.get("k")
                waits.append(time.perf_counter() - begun)
            stats = client.info("commandstats")["cmdstat_get"]
            found[name]["server_us"].append(stats["usec_per_call"])
            found[name]["client_us"].append(statistics.median(waits) * 1e6)
            client.close()
    return found


def pipelined(stores: dict[str, Store]) -> dict[str, Any]:
    rates: dict[str, list[float]] = {name: [] for name in stores}
    for turn in range(ROUNDS + 1):
        for name, store in stores.items():
            # The first turn stores what the others ask for.
            test = "get" if turn else "set"
            rate = benchmark(store.port, test, 400_000, size=460, pipeline=16)
            if turn:
                rates[name].append(rate)
    return {name: {"per_second": these} for name, these in rates.items()}


def stats(store: Store) -> dict[str, Any]:
    found = {}
    for option in ("--stats", "--stat"):
        command = ["redis-cli", "-p", str(store.port), "-i", "0.05", option]
        try:
            # --stat goes on until it's stopped.
            done = subprocess.run(command, capture_output=True, check=False, timeout=1)
            found[option] = {"ended_with": done.returncode}
        except subprocess.TimeoutExpired:
            found[option] = {"still_running": 1}
    return found


def resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def memory(rivals: Store, ours: Store) -> dict[str, int]:
    processes = [*rivals.processes, *ours.processes]
    names = [Path(process.args[0]).name for process in processes]  # type: ignore[index]
    return {name: resident(process.pid) for name, process in zip(names, processes, strict=True)}


def eviction(rivals: Store, ours: Store) -> dict[str, Any]:
    """Sessions of 1 KiB, three times as many as fit under the cap, into servers with 64 MB."""
    value, count, found = b"v" * 1024, 150_000, {}
    client = redis.Redis(port=rivals.port)
    client.config_set("maxmemory", "64mb")
    refused = 0
    pipe = client.pipeline(transaction=False)
    for n in range(count):
        pipe.set(f"evict:{n}", value)
        if n % 1000 == 999:
            answers = pipe.execute(raise_on_error=False)
            refused += sum(isinstance(answer, Exception) for answer in answers)
    found["redis-server, its default policy (noeviction)"] = {
        "sent": count,
        "refused": refused,
        "evicted": client.info("stats")["evicted_keys"],
    }
    client.flushall()
    client.config_set("maxmemory", 0)
    host, port = rivals.memcached.rsplit(":", 1)
    with closing(Client((host, int(port)))) as cache:
        for n in range(count):
            cache.set(f"evict:{n}", value, noreply=True)
        cache.get("evict:0")  # the answer comes after all before it
        stats = cache.stats()
        found["memcached, as it comes (64 MB)"] = {
            "sent": count,
            "refused": 0,
            "evicted": stats[b"evictions"],
        }
        cache.flush_all()
    del ours
    return found


def lost(rivals: Store, ours: Store) -> dict[str, Any]:
    """Parallel requests, each of which counts up a field of its own in the one session."""
    found = {}
    for name, make in makers(rivals, ours).items():
        session = make()
        session.update({f"field{n}": 0 for n in range(WRITERS)})
        session.save()
        key = session.session_key
        start = threading.Barrier(WRITERS)

        def write(number: int, make: Any = make, key: str = key, start: Any = start) -> None:
            start.wait()
            for _ in range(UPDATES):
                request = make(key)
                request[f"field{number}"] += 1
                request.save()

        threads = [threading.Thread(target=write, args=(n,)) for n in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = make(key)
        kept = sum(after[f"field{n}"] for n in range(WRITERS))
        found[name] = {"updates": WRITERS * UPDATES, "lost": WRITERS * UPDATES - kept}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures to that file")
    options = parser.parse_args()
    extra = ["--appendonly", "no"]
    with Store(command=RIVALS) as rivals, Store(command=server_bin(), extra=extra) as ours:
        configure(rivals, ours)
        found = {
            "memory": memory(rivals, ours),
            "serializers": serializers(),
            "hashseed": hashseed(),
            "inside": inside({"redis-server": rivals, "sessile": ours}),
            "eviction": eviction(rivals, ours),
            "lost": lost(rivals, ours),
            "pipelined": pipelined({"redis-server": rivals, "sessile": ours}),
            "stats": stats(rivals),
        }
    text = json.dumps(found, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
