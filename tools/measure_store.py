#!/usr/bin/env python3
"""What a store of sessions costs: memory after loading and after rewriting, index bytes, speed as
the store grows, expiry beside many keys, and the memory cap.

usage: measure_store.py --sessile BIN [--json FILE] rewrites|index|growth|expiry|cap [...]

Each part starts a server of its own on a free port, prints what it saw, and stops the server.
Standard library only; redis-server is measured beside us where it is installed.
"""

import argparse
import json
import pathlib
import platform
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

MONTH = 1_209_600


class Server:
    """A server on a free port, with one connection to it."""

    def __init__(self, command):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.dir = tempfile.mkdtemp()
        command = [word.replace("PORT", str(self.port)) for word in command]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=self.dir)
        end = time.monotonic() + 10
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", self.port))
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    sys.exit(f"no server: {command}")
                time.sleep(0.02)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def stop(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def ask(self, *args):
        self.socket.sendall(request(*args))
        return self.reply()

    def reply(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self.file.read(size + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest if kind == b"+" else OSError(rest.decode())

    def pipeline(self, requests, batch=500):
        """Sends requests in batches; replies are read and counted, errors too."""
        errors = 0
        for start in range(0, len(requests), batch):
            part = requests[start : start + batch]
            self.socket.sendall(b"".join(part))
            for _ in part:
                errors += isinstance(self.reply(), OSError)
        return errors

    def info(self, field):
        text = self.ask(b"INFO", b"everything").decode()
        for line in text.splitlines():
            if line.startswith(field + ":"):
                return int(line.split(":")[1])
        return None

    def rss(self):
        statm = pathlib.Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(statm.split()[1]) * 4096


def request(*args):
    words = b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args)
    return b"*%d\r\n" % len(args) + words


def session(rng, items):
    """A shop's session as Django's JSON serializer would store it."""
    doc = {
        "_auth_user_id": str(rng.randrange(10**7)),
        "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
        "_auth_user_hash": f"{rng.getrandbits(256):064x}",
        "csrf": f"{rng.getrandbits(128):032x}",
        "lang": rng.choice(["en-us", "de", "fr", "ja"]),
        "cart": [
            {"sku": f"A-{rng.randrange(10**5):05}", "qty": 2, "price": "19.99"}
            for _ in range(items)
        ],
    }
    return json.dumps(doc, separators=(",", ":")).encode()


def key(n):
    rng = random.Random(n)
    return b":1:django.contrib.sessions.cache%032x" % rng.getrandbits(128)


def rewrites(sessile, _):
    """Every session rewritten ten times in random order with other sizes."""
    count, rng = 200_000, random.Random(5)
    server = Server(sessile)
    time.sleep(0.3)
    before = server.rss()
    keys = [key(n) for n in range(count)]
    order = list(range(count))
    rows = []
    try:
        for turn in range(11):
            raw = 0
            for start in range(0, count, 500):
                part = []
                for n in order[start : start + 500]:
                    value = session(rng, rng.randrange(6))
                    raw += len(value) + len(keys[n])
                    part.append(request(b"SET", keys[n], value, b"EX", b"%d" % MONTH))
                assert server.pipeline(part) == 0
            rng.shuffle(order)
            used = (server.rss() - before) / count
            raw /= count
            rows.append({"turn": turn, "bytes": used, "raw": raw})
            print(f"rewrite {turn:2}: {used:6.1f} resident bytes per session, raw {raw:.1f}")
        written = server.info("sessile_bytes_written")
        copied = server.info("sessile_bytes_relocated")
        print(f"copied per byte written: {copied / written:.3f}")
        return {"rows": rows, "copied_per_written": copied / written}
    finally:
        server.stop()


def index(sessile, _):
    """Index bytes per key over a sweep of key counts."""
    server, rows, done = Server(sessile), [], 0
    try:
        target = 5_000
        while target <= 3_000_000:
            part = [request(b"SET", b"k%d" % n, b"v") for n in range(done, target)]
            assert server.pipeline(part) == 0
            done = target
            per_key = server.info("sessile_index_bytes") / done
            rows.append({"keys": done, "bytes": per_key})
            target = int(target * 1.13)
        worst = max(rows, key=lambda row: row["bytes"])
        print(
            f"index bytes per key from {rows[0]['keys']} to {done} keys: worst "
            f"{worst['bytes']:.2f} at {worst['keys']}, median "
            f"{statistics.median(row['bytes'] for row in rows):.2f}"
        )
        return rows
    finally:
        server.stop()


def growth(sessile, redis):
    """GETs without pipelining as the store grows from ten thousand to ten million small keys."""
    out = {}
    for name, command in [("sessile", sessile), ("redis", redis)]:
        if not command:
            continue
        server, rates, done = Server(command), {}, 0
        try:
            for target in (10_000, 100_000, 1_000_000, 10_000_000):
                step = 200_000
                for start in range(done, target, step):
                    numbers = range(start, min(start + step, target))
                    part = [request(b"SET", b"key:%012d" % n, b"v%d" % n) for n in numbers]
                    assert server.pipeline(part, 2_000) == 0
                done = target
                runs = []
                for _ in range(5):
                    bench = ["redis-benchmark", "-p", str(server.port), "-c", "32", "-n", "200000"]
                    bench += ["-r", str(target), "-q", "get", "key:__rand_int__"]
                    said = subprocess.run(bench, capture_output=True, text=True, check=True).stdout
                    last = said.replace("\r", "\n").strip().splitlines()[-1]
                    runs.append(float(last.split(":")[-1].split()[0]))
                rates[target] = statistics.median(runs)
            base = rates[10_000]
            text = ", ".join(f"{n:,}: {r:,.0f}/s ({r / base:.2f}x)" for n, r in rates.items())
            print(f"{name}: GET by size of the store: {text}")
            out[name] = rates
        finally:
            server.stop()
    return out


def expiry(sessile, redis):
    """Keys that nobody reads, beside a million others with a TTL: when are they gone?"""
    out = {}
    for name, command in [("sessile", sessile), ("redis", redis)]:
        if not command:
            continue
        server = Server(command)
        try:
            others = (
                request(b"SET", b"other:%d" % n, b"x" * 50, b"EX", b"%d" % MONTH)
                for n in range(1_000_000)
            )
            part = []
            for one in others:
                part.append(one)
                if len(part) == 10_000:
                    server.pipeline(part, 2_000)
                    part = []
            probes = 20_000
            start = time.time()
            # Deadlines lie a second apart in groups, from two seconds on.
            groups = [start + 4 + i for i in range(10)]
            part = [
                request(b"SET", b"probe:%d" % n, b"x", b"PXAT", b"%d" % int(groups[n % 10] * 1000))
                for n in range(probes)
            ]
            server.pipeline(part, 2_000)
            lags = []
            for i, deadline in enumerate(groups):
                want = 1_000_000 + probes - (i + 1) * (probes // 10)
                gone = None
                while time.time() < deadline + 12:
                    if time.time() >= deadline and server.ask(b"DBSIZE") <= want:
                        gone = time.time()
                        break
                    time.sleep(0.005)
                lags.append(None if gone is None else gone - deadline)
            shown = ", ".join("never in 12 s" if lag is None else f"{lag:.3f} s" for lag in lags)
            print(f"{name}: 2,000 keys each, gone from DBSIZE after their deadline: {shown}")
            if name == "sessile":
                print(f"  longest lag of any key: {server.info('sessile_expiry_lag_max_ms')} ms")
            out[name] = lags
        finally:
            server.stop()
    return out


def cap(sessile, _):
    """A flood of writes under maxmemory 256 MB; resident memory sampled every 50 ms."""
    out = {}
    for policy in ("allkeys-lru", "volatile-ttl", "noeviction"):
        limit = 256 << 20
        extra = ["--maxmemory", str(limit), "--maxmemory-policy", policy]
        server = Server(sessile + extra)
        peak, stop = [0], threading.Event()

        def watch(server=server, peak=peak, stop=stop):
            while not stop.wait(0.05):
                peak[0] = max(peak[0], server.rss())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            rng, errors, sent = random.Random(3), 0, 0
            for start in range(0, 1_500_000, 1_000):
                part = []
                for n in range(start, start + 1_000):
                    value = b"v" * rng.choice((100, 400, 900, 2_000))
                    sent += len(value)
                    part.append(request(b"SET", key_fast(n), value, b"EX", b"%d" % MONTH))
                errors += server.pipeline(part)
            stop.set()
            watcher.join()
            over = (peak[0] - limit) / 2**20
            print(
                f"{policy}: {sent / 2**20:.0f} MiB sent, peak resident {peak[0] / 2**20:.1f} MiB "
                f"({over:+.1f} MiB over the cap), {errors} writes refused, "
                f"{server.ask(b'DBSIZE')} keys, {server.info('evicted_keys')} evicted"
            )
            out[policy] = {"peak": peak[0], "errors": errors}
        finally:
            stop.set()
            server.stop()
    return out


def key_fast(n):
    return b"session:%032x" % ((n * 0x9E3779B97F4A7C15F39CC0605CEDC835) & (2**128 - 1))


PARTS = {f.__name__: f for f in (rewrites, index, growth, expiry, cap)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessile", required=True)
    parser.add_argument("--json")
    parser.add_argument("parts", nargs="+", choices=PARTS)
    options = parser.parse_args()
    binary = str(pathlib.Path(options.sessile).resolve())
    sessile = [binary, "--port", "PORT", "--memcached-port", "0", "--io-threads", "2"]
    sessile += ["--appendonly", "no"]
    redis = shutil.which("redis-server")
    redis = [redis, "--port", "PORT", "--save", ""] if redis else None
    results = {"machine": platform.platform(), "argv": sys.argv[1:]}
    for part in options.parts:
        results[part] = PARTS[part](sessile, redis)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1))


main()
