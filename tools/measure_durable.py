#!/usr/bin/env python3
"""What durability costs, beside redis-server in one run.

usage: measure_durable.py --sessile BIN [--before BIN] [--rounds 5] [--sessions 1000000]
                          [--json FILE] PART...

everysec   SETs per second with the log under everysec, over those without a log
always     SETs per second of 50 clients under always, over redis-server's, and syncs for them;
           with one worker, too, and by another build of ours if one is named
slow       p99 of GETs that are due every 2 ms while 50 others write and each sync takes 3 s, over
           the p99 with syncs as the disk makes them; strace delays them
files      seconds to write a snapshot of the sessions and to load it, over redis-server's

Rounds are interleaved; medians are quoted. Servers run on free ports and in folders of their own.
"""

import argparse
import json
import multiprocessing
import pathlib
import platform
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from loads import benchmark
from servers import free_port

WAIT_SECONDS = 300
SIZE = 500
READ_KEYS = 100
READS_PER_SECOND = 500
READ_SECONDS = 10
WRITERS = 50
WRITE_EVERY = 0.01


class Server:
    """A server in a folder of its own, up when this returns."""

    def __init__(self, command, folder):
        self.command = command
        self.port = free_port()
        words = [*command, "--port", str(self.port), "--dir", str(folder)]
        begun = time.monotonic()
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd=folder)
        # Its own pauses between retries would be counted as loading.
        never = Retry(NoBackoff(), 0)
        self.client = redis.Redis(port=self.port, socket_timeout=WAIT_SECONDS, retry=never)
        while True:
            try:
                self.client.dbsize()
                break
            except (redis.ConnectionError, redis.ResponseError):
                if self.process.poll() is not None or time.monotonic() - begun > WAIT_SECONDS:
                    sys.exit(f"it doesn't start: {' '.join(words)}")
                time.sleep(0.005)
        self.took = time.monotonic() - begun

    def stop(self):
        self.client.close()
        self.process.kill()
        self.process.wait()


def rounds_of(servers, count, work):
    """What `work` answers for each server, `count` times, in turn."""
    found = {name: [] for name in servers}
    names = list(servers)
    for turn in range(count):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            found[name].append(work(servers[name]))
    return found


def compare(part, commands, base, count, work):
    """Runs `work` on each server and prints rates over those of one of them."""
    with tempfile.TemporaryDirectory() as root:
        servers = {}
        for name, command in commands.items():
            folder = pathlib.Path(root) / name.replace(" ", "-")
            folder.mkdir()
            servers[name] = Server(command, folder)
        try:
            found = rounds_of(servers, count, work)
        finally:
            for server in servers.values():
                server.stop()
    for name, rates in found.items():
        pairs = statistics.median(a / b for a, b in zip(rates, found[base], strict=True))
        print(f"{part}: {name:22} {statistics.median(rates):10.0f} SET/s  {pairs:5.2f} x {base}")
    return found


def everysec(options):
    ours = [options.sessile, "--memcached-port", "0"]
    log = ["--appendonly", "yes", "--appendfsync", "everysec"]
    commands = {
        "sessile without": [*ours, "--appendonly", "no"],
        "sessile everysec": [*ours, *log],
        "redis without": ["redis-server", "--save", ""],
        "redis everysec": ["redis-server", "--save", "", *log],
    }
    out = {}
    for pipeline, requests in ((1, 200_000), (16, 1_000_000)):

        def work(server, pipeline=pipeline, requests=requests):
            return benchmark(server.port, "set", requests, size=SIZE, pipeline=pipeline)

        part = f"everysec, pipeline {pipeline}"
        out[part] = compare(part, commands, "sessile without", options.rounds, work)
        for name in ("sessile", "redis"):
            pairs = zip(out[part][f"{name} everysec"], out[part][f"{name} without"], strict=True)
            ratio = statistics.median(a / b for a, b in pairs)
            print(f"{part}: {name} with over without {ratio:.2f}")
    return out


def always(options):
    log = ["--appendonly", "yes", "--appendfsync", "always"]
    ours = ["--memcached-port", "0", *log]
    commands = {
        "sessile always": [options.sessile, *ours],
        "sessile, one worker": [options.sessile, *ours, "--io-threads", "1"],
        "redis always": ["redis-server", "--save", "", *log],
    }
    if options.before:
        commands["sessile before"] = [options.before, *ours]
    requests, syncs = 100_000, {name: [] for name in commands}

    def work(server):
        name = next(name for name, command in commands.items() if command == server.command)
        before = server.client.info("persistence").get("sessile_aof_syncs")
        rate = benchmark(server.port, "set", requests, size=SIZE, clients=50)
        if before is not None:
            after = server.client.info("persistence")["sessile_aof_syncs"]
            syncs[name].append((after - before) * 1000 / requests)
        return rate

    part = "always, 50 clients"
    found = compare(part, commands, "redis always", options.rounds, work)
    # redis-server doesn't tell of its own.
    for name, per_thousand in syncs.items():
        if per_thousand:
            print(f"{part}: {name:22} {statistics.median(per_thousand):.0f} syncs for 1,000 SETs")
    return found | {"syncs per 1,000": syncs}


def reads(port, seconds):
    """The 99th percentile (ms) of GETs of one client, each counted from when it was due.

    Those that couldn't be sent until the end count with the time that they waited so far.
    """
    took, total = [], int(seconds * READS_PER_SECOND)
    with socket.create_connection(("127.0.0.1", port)) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        begun = time.monotonic()
        for n in range(total):
            due = begun + n / READS_PER_SECOND
            if time.monotonic() > begun + seconds:
                left = range(n, total)
                took += [time.monotonic() - begun - m / READS_PER_SECOND for m in left]
                break
            time.sleep(max(0, due - time.monotonic()))
            wire.sendall(b"GET read:%d\r\n" % (n % READ_KEYS))
            assert wire.recv(4096).startswith(b"$3")
            took.append(time.monotonic() - due)
    return statistics.quantiles(took, n=100)[98] * 1000


def write_on(port):
    """Clients that have one SET each every few milliseconds, unless the last one isn't answered."""
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(WRITERS)]
    poll = select.poll()
    wires = {wire.fileno(): wire for wire in idle}
    for wire in idle:
        poll.register(wire, select.POLLIN)
    value, n = b"x" * 500, 0
    while True:
        for wire in idle:
            n += 1
            wire.sendall(b"*3\r\n$3\r\nSET\r\n$7\r\nw%06d\r\n$500\r\n%s\r\n" % (n % 100_000, value))
        time.sleep(WRITE_EVERY)
        idle = [wires[ready] for ready, _ in poll.poll(1000)]
        for wire in idle:
            if wire.recv(4096) != b"+OK\r\n":
                return


def slow(options):
    bare = ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null"]
    bare += ["-e", "trace=fdatasync"]
    ways = {"as they are": bare, "3 s": [*bare, "-e", "inject=fdatasync:delay_enter=3000000"]}
    products = {
        "sessile": [options.sessile, "--memcached-port", "0"],
        "redis": ["redis-server", "--save", ""],
    }
    out = {}
    for policy in ("everysec", "always"):
        log = ["--appendonly", "yes", "--appendfsync", policy]
        for _ in range(options.rounds):
            for product, way in ((p, w) for p in products for w in ways):
                with tempfile.TemporaryDirectory() as folder:
                    server = Server([*ways[way], *products[product], *log], folder)
                    found = read_beside_writers(server)
                out.setdefault(f"{policy}, {product}, syncs {way}", []).append(found)
        for name in products:
            quiet, late = (out[f"{policy}, {name}, syncs {way}"] for way in ways)
            ratio = statistics.median(a / b for a, b in zip(late, quiet, strict=True))
            middles = (statistics.median(quiet), statistics.median(late))
            print(f"slow, {policy}: {name:8} p99 of GET %.2f ms, %.2f ms" % middles, end=" ")
            print(f"with syncs of 3 s: {ratio:.2f}")
    return out


def read_beside_writers(server):
    server.client.mset({f"read:{n}": "one" for n in range(READ_KEYS)})
    # Nothing that is read waits for the disk any more.
    server.client.set("last", 1)
    writers = multiprocessing.Process(target=write_on, args=(server.port,))
    writers.start()
    try:
        found = reads(server.port, READ_SECONDS)
        assert writers.is_alive(), "a write was refused"
        return found
    finally:
        writers.kill()
        writers.join()
        server.stop()


def fill(client, count):
    """Sessions of about 460 bytes with a deadline."""
    value = f"{7:064x}" * 7
    pipe = client.pipeline(transaction=False)
    for n in range(count):
        pipe.set(f"sessile:app:{n:064x}", f"{n:012}{value}", ex=1_209_600)
        if n % 5000 == 4999:
            pipe.execute()
    pipe.execute()


def files(options):
    commands = {
        "sessile": [options.sessile, "--memcached-port", "0", "--appendonly", "no"],
        "redis": ["redis-server", "--save", ""],
    }
    out = {name: {"save": [], "load": []} for name in commands}
    with tempfile.TemporaryDirectory() as root:
        folders = {name: pathlib.Path(root) / name for name in commands}
        for name, folder in folders.items():
            folder.mkdir()
            server = Server(commands[name], folder)
            fill(server.client, options.sessions)
            server.client.save()
            server.stop()
        for _ in range(options.rounds):
            for name, folder in folders.items():
                server = Server(commands[name], folder)
                assert server.client.dbsize() == options.sessions
                begun = time.monotonic()
                server.client.save()
                out[name]["save"].append(time.monotonic() - begun)
                out[name]["load"].append(server.took)
                server.stop()
    for what in ("save", "load"):
        for name in commands:
            pairs = zip(out[name][what], out["redis"][what], strict=True)
            ratio = statistics.median(a / b for a, b in pairs)
            middle = statistics.median(out[name][what])
            print(f"files: {name:8} {what} {middle:6.2f} s  {ratio:.2f} x redis")
    return out


PARTS = {"everysec": everysec, "always": always, "slow": slow, "files": files}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessile", required=True)
    parser.add_argument("--before", help="another build of ours, for always")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--json")
    parser.add_argument("parts", nargs="+", choices=PARTS)
    options = parser.parse_args()
    if not shutil.which("redis-server"):
        sys.exit("redis-server isn't installed")
    found = {part: PARTS[part](options) for part in options.parts}
    if options.json:
        facts = {"machine": platform.platform(), "argv": sys.argv[1:], "results": found}
        pathlib.Path(options.json).write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
