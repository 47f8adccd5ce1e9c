#!/usr/bin/env python3
"""Server CPU per memcached request: Sessile's memcached port beside memcached, in one run.

usage: measure_memcached.py --sessile BIN [--rounds 9]

memcslap (libmemcached-tools) gets values over 32 connections, servers in turn; CPU is what the
kernel counted for all threads of the server, over the requests that the server itself counted.
"""

import argparse
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

from loads import cpu_seconds
from servers import free_port


def requests(port):
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(b"stats\r\n")
        text = b""
        while not text.endswith(b"END\r\n"):
            text += s.recv(65536)
    rows = dict(line.split()[1:3] for line in text.splitlines() if line.startswith(b"STAT "))
    return int(rows[b"cmd_get"]) + int(rows[b"cmd_set"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessile", required=True)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    ports = {"sessile": free_port(), "memcached": free_port()}
    work = tempfile.mkdtemp()
    ours = [options.sessile, "--port", "0", "--memcached-port", str(ports["sessile"])]
    ours += ["--appendonly", "no"]
    commands = {
        "sessile": [*ours, "--io-threads", "1", "--dir", work],
        "memcached": ["memcached", "-u", "root", "-t", "1", "-p", str(ports["memcached"])],
    }
    running = {n: subprocess.Popen(c, stdout=subprocess.DEVNULL) for n, c in commands.items()}
    rows = {name: [] for name in commands}
    try:
        time.sleep(1)
        for _ in range(options.rounds):
            for name, process in running.items():
                cpu, before = cpu_seconds(process.pid), requests(ports[name])
                load = ["memcslap", f"--servers=127.0.0.1:{ports[name]}", "--test=get", "--quiet"]
                load += ["--concurrency=32", "--execute-number=2000", "--initial-load=10000"]
                subprocess.run(load, capture_output=True, check=True, timeout=120)
                done = requests(ports[name]) - before
                rows[name].append((cpu_seconds(process.pid) - cpu) / done * 1e6)
        for name, values in rows.items():
            print(
                f"{name:10} {statistics.median(values):6.3f} µs CPU/request"
                f"  (min {min(values):.3f}, max {max(values):.3f}, {options.rounds} rounds)"
            )
        pairs = [a / b for a, b in zip(rows["sessile"], rows["memcached"], strict=True)]
        print(f"sessile over memcached, pair by pair: {statistics.median(pairs):.2f}")
    finally:
        for process in running.values():
            process.kill()
            process.wait()
        shutil.rmtree(work, ignore_errors=True)


main()
