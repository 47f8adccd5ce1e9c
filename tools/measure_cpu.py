#!/usr/bin/env python3
"""Server CPU per request beside the rivals and beside a server that does nothing, in one run.

usage: measure_cpu.py --sessile BIN [--rounds 15] [--requests 200000] [--pipeline 1,16]
                      [--threads 1] [--yardsticks DIR] [--json FILE]

Each round starts with the next server in turn (A B C A B C ...), so that a machine whose speed
drifts treats all alike. A round is redis-benchmark with 32 connections, keys of a space of 100,000
and values of 512 bytes: first SETs, then ten times as many GETs. CPU is what the kernel counted
for all threads of the server (/proc/PID/task/*/schedstat), divided by the requests. What is
quoted is the median of the rounds, and the ratio to the do-nothing server of the same run.
"""

import argparse
import json
import pathlib
import platform
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from loads import KEYS, benchmark, cpu_seconds
from servers import free_port

VALUE = 512


def wait_for(port, process):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit(f"a server ended at once: {process.args}")
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.02)
    sys.exit(f"no server on port {port}: {process.args}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = pathlib.Path(__file__).resolve().parent.parent
    parser.add_argument("--sessile", required=True)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--pipeline", default="1,16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--yardsticks", default=str(here.parent / "shared" / "yardsticks"))
    parser.add_argument("--floor", help="another do-nothing server: a command with PORT in it")
    parser.add_argument("--json")
    options = parser.parse_args()

    work = pathlib.Path(tempfile.mkdtemp())
    floor = work / "floor"
    source = pathlib.Path(options.yardsticks) / "floor.c"
    subprocess.run(["cc", "-O2", "-w", "-o", floor, source], check=True)
    ports = {name: free_port() for name in ("floor", "sessile", "redis")}
    idle = [str(floor), "PORT", str(VALUE)] if not options.floor else shlex.split(options.floor)
    commands = {
        "floor": [word.replace("PORT", str(ports["floor"])) for word in idle],
        "sessile": [
            *(options.sessile, "--port", str(ports["sessile"]), "--memcached-port", "0"),
            *("--appendonly", "no"),
            *("--io-threads", str(options.threads), "--dir", str(work)),
        ],
        "redis": ["redis-server", "--port", str(ports["redis"]), "--save", "", "--dir", str(work)],
    }
    running = {}
    try:
        for name, command in commands.items():
            if not shutil.which(command[0]):
                sys.exit(f"{command[0]} isn't installed")
            running[name] = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            wait_for(ports[name], running[name])
            benchmark(ports[name], "set", KEYS * 3, size=VALUE, pipeline=16)
        results = {}
        for pipeline in (int(p) for p in options.pipeline.split(",")):
            scale = 4 if pipeline > 1 else 1
            sets, gets = options.requests * scale // 11, options.requests * scale * 10 // 11
            rows = {name: [] for name in commands}
            rates = {name: [] for name in commands}
            names = list(commands)
            for turn in range(options.rounds):
                for name in names[turn % 3 :] + names[: turn % 3]:
                    before = cpu_seconds(running[name].pid)
                    benchmark(ports[name], "set", sets, size=VALUE, pipeline=pipeline)
                    rate = benchmark(ports[name], "get", gets, size=VALUE, pipeline=pipeline)
                    rates[name].append(rate)
                    used = cpu_seconds(running[name].pid) - before
                    rows[name].append(used / (sets + gets) * 1e6)
                print(f"pipeline {pipeline}: round {turn + 1} of {options.rounds}", file=sys.stderr)
            results[pipeline] = report(pipeline, rows, rates)
        if options.json:
            facts = {"machine": platform.platform(), "argv": sys.argv[1:], "results": results}
            pathlib.Path(options.json).write_text(json.dumps(facts, indent=1))
    finally:
        for process in running.values():
            process.kill()
            process.wait()
        shutil.rmtree(work, ignore_errors=True)


def report(pipeline, rows, rates):
    base = statistics.median(rows["floor"])
    out = {}
    for name, values in rows.items():
        middle = statistics.median(values)
        pairs = statistics.median(v / f for v, f in zip(values, rows["floor"], strict=True))
        out[name] = {"us": values, "median_us": middle, "ratio": middle / base, "pairs": pairs}
        print(
            f"pipeline {pipeline:2}  {name:8} {middle:7.3f} µs CPU/request"
            f"  (min {min(values):.3f}, max {max(values):.3f})"
            f"  ratio {middle / base:5.2f}  pair by pair {pairs:5.2f}"
            f"  {statistics.median(rates[name]):9.0f} GET/s",
            flush=True,
        )
    return out


main()
