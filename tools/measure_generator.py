"""The load generator beside redis-benchmark: rates of the same GETs, and whose core is the bound.

    python tools/measure_generator.py --bench FILE [--rounds 5] [--json FILE]

A redis-server has the last core, the generators take turns on the first: 32 connections, GETs of
100,000 values of 300 bytes, without a pipeline and with 16 in flight. Each generator asks for keys
that it stored itself. Told are operations per second, the server's CPU per operation, and how much
of its core the server used while the generator ran: near 1, the server was the bound and one core
of generator is enough. Rounds take turns; medians are quoted. Needs the tests' environment.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import redis

from loads import KEYS, benchmark, cpu_seconds
from servers import RIVALS, Store

CONNECTIONS, SIZE, SECONDS = 32, 300, 3
PIPELINES = (1, 16)
RATE = re.compile(r"(\d+) operations per second")


def ours(bench: Path, port: int, pipeline: int, fill: bool = False) -> float:
    """Operations per second by `sessile-bench run`."""
    command = [str(bench), "run", f"string@127.0.0.1:{port}", "--workload", "browse"]
    command += ["--mix", "load 100", "--popularity", "uniform", "--bytes", f"{SIZE}..{SIZE}"]
    command += ["--sessions", str(KEYS), "--connections", str(CONNECTIONS)]
    command += ["--pipeline", str(pipeline), "--length", f"{SECONDS}s", "--warm-up", "0s"]
    done = subprocess.run(
        command if fill else [*command, "--no-fill"], capture_output=True, text=True, check=True
    )
    found = RATE.search(done.stdout)
    assert found, done.stdout
    return float(found[1])


def measured(pid: int, work: Callable[[], float]) -> dict[str, float]:
    """What a generator says, and what the server used meanwhile."""
    cpu, begun = cpu_seconds(pid), time.monotonic()
    rate = work()
    took, used = time.monotonic() - begun, cpu_seconds(pid) - cpu
    return {"per_second": rate, "server_core": used / took}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", type=Path, required=True, help="the program sessile-bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write every round to that file")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-1:])
    found: dict[str, list[dict[str, float]]] = {}
    with Store(command=RIVALS) as store:
        os.sched_setaffinity(0, cores[:1])
        with redis.Redis(port=store.port) as client:
            info = client.info("server")
        pid = info["process_id"]
        ours(options.bench, store.port, 16, fill=True)
        benchmark(store.port, "set", 10 * KEYS, size=SIZE, pipeline=16)
        for _ in range(options.rounds):
            for pipeline in PIPELINES:
                # About as long as ours.
                requests = SECONDS * (150_000 if pipeline == 1 else 600_000)
                ways = {
                    "sessile-bench": lambda p=pipeline: ours(options.bench, store.port, p),
                    "redis-benchmark": lambda p=pipeline, n=requests: benchmark(
                        store.port, "get", n, size=SIZE, clients=CONNECTIONS, pipeline=p
                    ),
                }
                for name, work in ways.items():
                    line = f"{name}, {pipeline} in flight"
                    found.setdefault(line, []).append(measured(pid, work))
    print(f"redis-server {info['redis_version']}, {platform.platform()}, {len(cores)} cores")
    for line, rounds in found.items():
        rates = sorted(one["per_second"] for one in rounds)
        core = statistics.median(one["server_core"] for one in rounds)
        middle = statistics.median(rates)
        print(
            f"{line:28} {middle:9.0f}/s ({rates[0]:.0f} to {rates[-1]:.0f}), "
            f"server used {core:.2f} of its core"
        )
    if options.json:
        facts = {"redis": info["redis_version"], "machine": platform.platform(), "rounds": found}
        options.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
