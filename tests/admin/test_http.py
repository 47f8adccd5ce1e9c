"""The admin page over real sockets: what it tells, whom it tells, and whom it doesn't heed.

Counters are compared with what the test itself did; the metrics are read by Prometheus' own
parser. Hostile requests are followed by a good one, which has to be answered as ever.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from servers import Store, free_port, server_bin
from traffic import Stalls

HOST = b"Host: localhost\r\n"
SECONDS = 30.0


@dataclass(frozen=True)
class Answer:
    """A status, headers in lower case, a body."""

    status: int
    headers: dict[str, str]
    body: str


class Admin:
    """A store with its admin page."""

    def __init__(self, *options: str) -> None:
        self.http = free_port()
        self.store = Store(extra=["--http-port", str(self.http), *options])

    def __enter__(self) -> Admin:
        self.store.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.store.stop()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.http), SECONDS)

    def send(self, request: bytes) -> Answer | None:
        """The answer to these bytes; None if the server hangs up without one."""
        with self.connect() as wire:
            # A server that has answered already heeds no more.
            with suppress(ConnectionError):
                wire.sendall(request)
            return read(wire)

    def get(self, path: str, host: str = "localhost") -> Answer:
        answer = self.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert answer
        return answer

    def fresh(self) -> Answer:
        """What /api/stats tells of now: it may be 200 ms old, and /metrics is of the same age."""
        begun = time.time() * 1000
        deadline = time.monotonic() + SECONDS
        while json.loads((answer := self.get("/api/stats")).body)["now_ms"] <= begun:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return answer

    def metrics(self) -> dict[str, float]:
        """Each sample by its name and labels, as of now."""
        self.fresh()
        answer = self.get("/metrics")
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        samples = {}
        for family in text_string_to_metric_families(answer.body):
            assert family.documentation
            assert family.type != "unknown", family.name
            for sample in family.samples:
                labels = ",".join(f"{name}={text}" for name, text in sorted(sample.labels.items()))
                samples[f"{sample.name}[{labels}]" if labels else sample.name] = sample.value
        return samples


def read(wire: socket.socket) -> Answer | None:
    text = b""
    with suppress(ConnectionResetError):
        while piece := wire.recv(1 << 16):
            text += piece
    if not text:
        return None
    head, _, body = text.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return Answer(int(first.split()[1]), headers, body.decode())


@pytest.fixture(scope="module")
def running() -> Iterator[Admin]:
    with Admin("--slowlog-log-slower-than", "0", "--http-hosts", "store.example") as admin:
        yield admin
        assert admin.store.alive(), admin.store.log()


@pytest.fixture
def admin(running: Admin) -> Iterator[Admin]:
    yield running
    assert running.get("/healthz").status == 200


def test_metrics_count_what_was_done(admin: Admin) -> None:
    before = admin.metrics()
    with Stalls() as stalls, redis.Redis(port=admin.store.port) as client:
        for number in range(300):
            client.set(f"key:{number}", "x" * 100, px=1 if number < 100 else 600_000)
        client.execute_command("SESSION.CREATE", "session", "IDLE", "1000")
        with pytest.raises(redis.ResponseError):
            client.execute_command("INCR", "key:200")
        deadline = time.monotonic() + SECONDS
        while (after := admin.metrics())["sessile_expired_keys_total"] < 100:
            assert time.monotonic() < deadline
        info = client.info()
    with socket.create_connection(("127.0.0.1", admin.store.memcached_port), SECONDS) as wire:
        wire.sendall(b"set mc 0 0 1\r\nx\r\nget mc\r\n")
        while not wire.recv(4096).endswith(b"END\r\n"):
            pass
    deadline = time.monotonic() + SECONDS
    while (last := admin.metrics())["sessile_clients"] > 0:
        assert time.monotonic() < deadline
    grown = {name: last[name] - before.get(name, 0) for name in last}
    assert grown["sessile_commands_total[command=set]"] == 300
    assert grown["sessile_requests_total[protocol=resp]"] >= 302
    assert grown["sessile_requests_total[protocol=memcached]"] == 2
    assert grown["sessile_sessions"] == 1
    assert grown["sessile_keys"] == 202
    assert grown["sessile_keys_with_deadline"] == 201
    assert grown["sessile_expiry_lag_seconds_count"] == 100
    assert 0 <= last["sessile_expiry_lag_max_seconds"] <= 1 + stalls.seconds
    assert grown["sessile_commands_failed_total[command=incr]"] == 1
    # redis-py asks for something that we refuse when it connects.
    assert grown["sessile_errors_total[code=ERR]"] >= 1
    assert after["sessile_clients"] == 1
    used = sum(value for name, value in after.items() if name.startswith("sessile_memory_bytes["))
    assert used == pytest.approx(info["used_memory"], abs=1 << 20)
    counters = [name for name in before if "_total" in name or "_bucket" in name]
    assert all(last[name] >= before[name] for name in counters)
    with redis.Redis(port=admin.store.port) as client:
        client.config_resetstat()
    assert all(admin.metrics()[name] >= last[name] for name in counters)


def test_buckets_grow_and_end_with_the_count(admin: Admin) -> None:
    name = "sessile_command_duration_seconds"
    text = admin.get("/metrics").body
    family = next(one for one in text_string_to_metric_families(text) if one.name == name)
    buckets = [one for one in family.samples if one.name == f"{name}_bucket"]
    bounds = [float(one.labels["le"]) for one in buckets]
    assert bounds == sorted(bounds)
    assert bounds[-1] == float("inf")
    counts = [one.value for one in buckets]
    assert counts == sorted(counts)
    assert counts[-1] == next(one.value for one in family.samples if one.name == f"{name}_count")


def test_the_slow_log_tells_no_secret(admin: Admin) -> None:
    with redis.Redis(port=admin.store.port) as client:
        # The slow log has no commands that never take long, such as GET and SET.
        client.copy("session:0123456789abcdef", "the secret value")
        client.hgetall("fedcba9876543210")
        with pytest.raises(redis.RedisError):
            client.execute_command("AUTH", "the secret password")
    body = admin.fresh().body
    for secret in ("0123456789abcdef", "fedcba9876543210", "secret"):
        assert secret not in body
    slow = [(entry["command"], entry["key"]) for entry in json.loads(body)["slow"]]
    assert any(name == "copy" and key.startswith("session:#") for name, key in slow)
    assert any(name == "hgetall" and key.startswith("#") and len(key) == 7 for name, key in slow)


def test_every_answer_is_strict(admin: Admin) -> None:
    for path in ("/", "/metrics", "/healthz", "/api/stats", "/missing"):
        answer = admin.get(path)
        assert answer.status == (404 if path == "/missing" else 200)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers
        assert len(answer.body.encode()) == int(answer.headers["content-length"])
        head = admin.send(f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert head
        assert (head.status, head.body) == (answer.status, "")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1:9", 200),
        ("[::1]", 200),
        ("STORE.example", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("", 421),
    ],
)
def test_only_names_that_are_ours_are_answered(admin: Admin, host: str, status: int) -> None:
    assert admin.get("/metrics", host).status == status


HOSTILE = {
    "post": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc", 405),
    "put": (b"PUT /metrics HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "delete": (b"DELETE / HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "connect": (b"CONNECT localhost:1 HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "trace": (b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
    "whole url": (b"GET http://evil.example/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "body": (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\nx", 400),
    "chunked": (b"GET / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: localhost\n\n", 400),
    "folded": (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n c\r\n\r\n", 400),
    "zeros": (b"GET / HTTP/1.1\r\n" + HOST + b"A: \0\r\n\r\n", 400),
    "not ascii": (b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "http/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "http/0.9": (b"GET /\r\n", 400),
    "resp": (b"*1\r\n$4\r\nPING\r\n", 400),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), 400),
    "up": (b"GET /../../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "long target": (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
    "long header": (b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"a" * 100_000 + b"\r\n\r\n", 431),
    "many headers": (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 1000 + b"\r\n", 431),
    "endless line": (b"G" * 1_000_000, 431),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_requests(admin: Admin, name: str) -> None:
    request, status = HOSTILE[name]
    answer = admin.send(request)
    # What still came after a refusal may cut the answer off on its way.
    if answer is None:
        assert len(request) > 1 << 13
    else:
        assert answer.status == status
        assert answer.headers["connection"] == "close"


def test_requests_after_the_first_are_not_heeded(admin: Admin) -> None:
    with admin.connect() as wire:
        wire.sendall((b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n") * 3)
        answer = read(wire)
    assert answer
    assert answer.body == '{"status":"serving"}\n'


def test_slow_clients_are_ended_and_shut_nobody_out(admin: Admin) -> None:
    slow = [admin.connect() for _ in range(64)]
    try:
        for wire in slow:
            wire.sendall(b"GET /healthz HTTP/1.1\r\nHo")
        assert admin.get("/healthz").status == 200
        # A byte now and then buys no time: head and all must have come within five seconds.
        began = time.monotonic()
        ended = False
        while not ended and time.monotonic() < began + SECONDS:
            try:
                slow[-1].sendall(b"s")
                slow[-1].settimeout(0.2)
                ended = slow[-1].recv(1) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                ended = True
        assert ended
    finally:
        for wire in slow:
            wire.close()


def test_a_flood_of_requests_disturbs_no_client(admin: Admin) -> None:
    with redis.Redis(port=admin.store.port) as client:
        for number in range(200):
            assert admin.get("/api/stats").status == 200
            assert client.set("flood", number)


def test_health_says_when_writes_are_refused() -> None:
    with Admin("--maxmemory", "16mb") as admin, redis.Redis(port=admin.store.port) as client:
        assert admin.get("/healthz").status == 200
        with pytest.raises(redis.ResponseError, match="maxmemory"):
            for number in range(1000):
                client.set(f"key:{number}", "x" * 50_000)
        full = admin.get("/healthz")
        assert (full.status, full.body) == (503, '{"status":"memory_full"}\n')
        assert admin.metrics()["sessile_up"] == 0
        client.flushall()
        deadline = time.monotonic() + SECONDS
        while admin.get("/healthz").status != 200:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_other_machines_only_by_leave(tmp_path) -> None:
    command = [server_bin(), "--port", str(free_port()), "--memcached-port", "0"]
    command += ["--dir", str(tmp_path), "--http-port", str(free_port()), "--http-bind", "0.0.0.0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "http-allow-remote" in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_page_unless_asked_for() -> None:
    with Store() as store:
        assert "Admin page" not in store.log()
        tasks = Path(f"/proc/{store.processes[0].pid}/task").iterdir()
        names = {(task / "comm").read_text().strip() for task in tasks}
        assert "worker-0" in names
        assert "http" not in names
