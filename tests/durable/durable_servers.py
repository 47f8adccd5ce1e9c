"""Servers on a folder, ours and Debian's redis-server, and what is put into them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from servers import free_port, server_bin

LOG = ("--appendonly", "yes")
NO_LOG = ("--appendonly", "no")
TRIES = 10
"""A free port may be somebody else's a moment later; thousands of starts meet that."""


class Server:
    """A server on a folder."""

    def __init__(self, command: list[str], folder: Path, port: int) -> None:
        self.port = port
        self.ports = {"resp": port}
        self.log = folder.parent / f"{port}.log"
        # A port comes back at times, and its log is there from before.
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, cwd=folder.parent)
        deadline = time.monotonic() + 30
        while b"Ready to accept" not in self.log.read_bytes():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                self.process.wait()
                raise RuntimeError(self.log.read_text())
            time.sleep(0.005)
        self.client = redis.Redis(port=port, socket_timeout=20)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.client.close()

    def stop(self) -> int:
        self.client.close()
        self.process.terminate()
        return self.process.wait(30)


def command_of(folder: Path, port: int, *options: str) -> list[str]:
    """What starts one of ours; memcached's port is off unless an option names it."""
    command = [server_bin(), "--port", str(port), "--memcached-port", "0", "--dir", str(folder)]
    return [*command, *options]


def ours(folder: Path, *options: str) -> Server:
    port = free_port()
    return Server(command_of(folder, port, *options), folder, port)


def both(folder: Path, *options: str) -> Server:
    """One of ours that speaks memcached's protocols, too."""
    for _ in range(TRIES):
        port = free_port()
        try:
            server = ours(folder, "--memcached-port", str(port), *options)
        except RuntimeError as error:
            if "Address already in use" not in str(error):
                raise
            continue
        server.ports["cache"] = port
        return server
    raise RuntimeError(f"{TRIES} times somebody else took the port first")


def killed_while_starting(folder: Path, seconds: float, *options: str) -> None:
    """Starts one of ours and kills it so much later, wherever it is by then."""
    command = command_of(folder, free_port(), *options)
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, cwd=folder.parent)
    time.sleep(seconds)
    process.kill()
    process.wait()


def theirs(folder: Path, *options: str) -> Server:
    port = free_port()
    command = ["redis-server", "--port", str(port), "--dir", str(folder), "--save", ""]
    return Server([*command, *options], folder, port)


@contextmanager
def running(server: Server):
    try:
        yield server.client
    finally:
        server.stop()


def fill(client):
    """Something of everything that both know; answers what is there."""
    pipe = client.pipeline(transaction=False)
    for n in range(300):
        pipe.set(f"s:{n}", f"{n}" * (n % 7) * n, px=10_000_000 if n % 3 else None)
        pipe.hset(f"h:{n % 40}", f"field:{n}", "v" * n)
    pipe.set("number", -12345)
    pipe.set("bytes", bytes(range(256)) * 40)
    pipe.hset("large", mapping={f"f{n}": f"value {n}" for n in range(3000)})
    pipe.set("gone", 1).delete("gone").rename("s:1", "renamed").append("s:2", "x").incr("count")
    pipe.persist("s:4").expire("h:1", 5000)
    pipe.execute()
    client.select(1)
    client.set("elsewhere", "db 1")
    client.select(0)
    return everything(client)


def everything(client):
    found = {}
    for db in (0, 1):
        client.select(db)
        for key in client.scan_iter(count=1000):
            value = client.get(key) if client.type(key) == b"string" else client.hgetall(key)
            # Two servers, one moment apart.
            found[db, key] = (value, client.ttl(key) > 0)
    client.select(0)
    return found


def check(*arguments):
    """What `--check` says, a line per file, and whether all is whole."""
    command = [server_bin(), "--check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines(), done.returncode == 0


def is_idle(client) -> bool:
    """Whether neither a snapshot nor the log's base is being written."""
    state = client.info("persistence")
    return not (state["rdb_bgsave_in_progress"] or state["aof_rewrite_in_progress"])


def rewritten(client):
    """Waits until the log has a new base."""
    client.bgrewriteaof()
    deadline = time.monotonic() + 30
    while True:
        info = client.info("persistence")
        if not info["aof_rewrite_in_progress"] and not info.get("aof_rewrite_scheduled", 0):
            break
        assert time.monotonic() < deadline, info
        time.sleep(0.01)
    assert info["aof_last_bgrewrite_status"] == "ok"


class Slow:
    """A server that reads its snapshot from a pipe: as slowly as the test gives it."""

    def __init__(self, folder: Path, *options: str) -> None:
        os.mkfifo(folder / "dump.rdb")
        self.ports = free_port(), free_port()
        port, memcached_port = map(str, self.ports)
        command = [server_bin(), "--port", port, "--memcached-port", memcached_port]
        command += ["--dir", str(folder), *NO_LOG, *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder.parent
        )
        self.pipe = (folder / "dump.rdb").open("wb", buffering=0)
        never = Retry(NoBackoff(), 0)
        self.client = redis.Redis(port=self.ports[0], socket_timeout=20, retry=never)

    def told(self, line: bytes) -> bytes:
        """What memcached's port answers."""
        with socket.create_connection(("127.0.0.1", self.ports[1])) as there:
            there.settimeout(20)
            there.sendall(line)
            return there.recv(1000)

    def is_open(self) -> bool:
        """Whether it takes connections in."""
        with socket.socket() as there:
            return there.connect_ex(("127.0.0.1", self.ports[0])) == 0

    def ended(self) -> tuple[int, str]:
        said, _ = self.process.communicate(timeout=30)
        self.client.close()
        return self.process.returncode, said.decode()
