"""Debian's redis-server for tests: one, a primary with replicas under sentinels, and a cluster."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import redis

from servers import can_connect, port_is_free

__all__ = [
    "QUIET_MS",
    "ClusterFleet",
    "Fleet",
    "Memcached",
    "RedisServer",
    "SentinelFleet",
    "certificate",
    "wait_until",
]

NODE_TIMEOUT_MS = 1_000
"""After how long a silent node is taken for dead, by sentinels and by the cluster, where tests wait
for that."""
QUIET_MS = 120_000
"""The same where no server is lost: a machine that stalls must not have one taken for dead."""


PORTS = range(20_000, 32_768)
"""Below those that the system gives to clients: between choosing a port and listening on it, none
of the connections that tests make by the hundred can take it."""
_given: set[int] = set()


def own_port() -> int:
    """A free port that this process hasn't been given before."""
    for _ in range(len(PORTS)):
        port = random.choice(PORTS)
        if port not in _given and port_is_free(port):
            _given.add(port)
            return port
    raise AssertionError("no port is free")


class Fleet(Protocol):
    """Servers that belong together."""

    url: str

    def __init__(self, node_timeout_ms: int = ...) -> None: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


class RedisServer:
    """One redis-server on a free port, with a folder of its own and nothing on disk."""

    program: tuple[str, ...] = ("redis-server",)
    memory_only: tuple[str, ...] = ("--save", "", "--appendonly", "no")

    def __init__(self, *arguments: str) -> None:
        self.port = own_port()
        self.arguments = arguments
        self.folder = Path(tempfile.mkdtemp(prefix="sessile-redis-"))
        self.process: subprocess.Popen[bytes] | None = None
        self.halted = False

    @property
    def answers(self) -> bool:
        """Whether it was neither killed nor halted."""
        return self.process is not None and not self.halted

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        command = [*self.program, "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self.folder), *self.memory_only]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.arguments], stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self._up)

    def _up(self) -> bool:
        """Whether it can be reached; fails with its log if it has ended."""
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        return can_connect("127.0.0.1", self.port)

    def kill(self) -> None:
        """Ends it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def halt(self) -> None:
        """Has it answer nothing more, as if its machine hung."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)
            self.halted = True

    def resume(self) -> None:
        """Has it go on."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.halted = False

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, *words: str | bytes | int) -> Any:
        """Runs one command over a connection of its own."""
        with redis.Redis(port=self.port) as client:
            return client.execute_command(*words)


def wait_until(done: Callable[[], object], seconds: float = 30) -> None:
    """Waits until a condition holds; fails if it doesn't in time."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


class SentinelFleet:
    """A primary, two replicas, and three sentinels that watch them."""

    group = "shop"

    def __init__(self, node_timeout_ms: int = NODE_TIMEOUT_MS) -> None:
        self.node_timeout_ms = node_timeout_ms
        self.primary = RedisServer()
        self.replicas: list[RedisServer] = []
        self.sentinels: list[RedisServer] = []
        self.url = ""

    def start(self) -> None:
        self.primary.start()
        origin = ("--replicaof", "127.0.0.1", str(self.primary.port))
        self.replicas = [RedisServer(*origin, "--repl-diskless-sync-delay", "0") for _ in range(2)]
        for replica in self.replicas:
            replica.start()
        for replica in self.replicas:
            wait_until(
                lambda one=replica: one.command("INFO", "replication")["master_link_status"] == "up"
            )
        self.sentinels = [self._sentinel() for _ in range(3)]
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        self.url = f"redis+sentinel://{hosts}/{self.group}"
        for sentinel in self.sentinels:
            wait_until(lambda one=sentinel: self._knows_all(one))

    def stop(self) -> None:
        for server in (*self.sentinels, *self.replicas, self.primary):
            server.stop()

    def promoted(self) -> RedisServer | None:
        """The replica that is a primary now."""
        for replica in self.replicas:
            if replica.command("ROLE")[0] == b"master":
                return replica
        return None

    def told(self) -> bool:
        """Whether a sentinel names that one."""
        named = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.group)
        ports = {int(one.command(*named)[1]) for one in self.sentinels if one.answers}
        return ports != {self.primary.port}

    def _sentinel(self) -> RedisServer:
        server = RedisServer()
        settings = server.folder / "sentinel.conf"
        settings.write_text(
            f"sentinel monitor {self.group} 127.0.0.1 {self.primary.port} 2\n"
            f"sentinel down-after-milliseconds {self.group} {self.node_timeout_ms}\n"
            f"sentinel failover-timeout {self.group} 5000\n"
        )
        server.program = ("redis-server", str(settings), "--sentinel")
        server.memory_only = ()
        server.start()
        return server

    def _knows_all(self, sentinel: RedisServer) -> bool:
        others = sentinel.command("SENTINEL", "SENTINELS", self.group)
        replicas = sentinel.command("SENTINEL", "REPLICAS", self.group)
        return len(others) == 2 and len(replicas) == 2


class ClusterFleet:
    """Three primaries with a replica each."""

    def __init__(self, node_timeout_ms: int = NODE_TIMEOUT_MS) -> None:
        self.node_timeout_ms = node_timeout_ms
        self.nodes: list[RedisServer] = []
        self.url = ""

    def start(self) -> None:
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", str(self.node_timeout_ms)]
        # Otherwise Redis itself stops all shards when one has nobody to serve it.
        options += ["--cluster-require-full-coverage", "no"]
        self.nodes = [RedisServer(*options, "--cluster-port", str(own_port())) for _ in range(6)]
        for node in self.nodes:
            node.start()
        addresses = [f"127.0.0.1:{node.port}" for node in self.nodes]
        self.url = "redis+cluster://" + ",".join(addresses[:2])
        create = ["redis-cli", "--cluster", "create", *addresses, "--cluster-replicas", "1"]
        made = subprocess.run(
            [*create, "--cluster-yes"], capture_output=True, text=True, check=False
        )
        assert made.returncode == 0, made.stdout + made.stderr
        for node in self.nodes:
            wait_until(lambda one=node: self._settled(one))

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def primary_of(self, slot: int) -> RedisServer:
        """The node that serves a slot now, as one that lives tells."""
        teller = next(node for node in self.nodes if node.answers)
        for first, last, primary, *_ in teller.command("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == primary[1])
        raise AssertionError("nobody serves the slot")

    def _settled(self, node: RedisServer) -> bool:
        told = node.command("CLUSTER", "INFO")
        links = node.command("INFO", "replication")
        linked = links["role"] == "master" or links["master_link_status"] == "up"
        return b"cluster_state:ok" in told and b"cluster_known_nodes:6" in told and linked


class Memcached:
    """One of Debian's memcached on a free port."""

    def __init__(self, *arguments: str) -> None:
        self.port = own_port()
        self.arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def place(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> Memcached:
        """Starts it, and waits until it can be reached."""
        user = ["-u", "root"] if os.getuid() == 0 else []
        where = ["-l", "127.0.0.1", "-p", str(self.port), "-U", "0"]
        self._process = subprocess.Popen(["memcached", *user, *where, *self.arguments])
        wait_until(lambda: can_connect("127.0.0.1", self.port))
        return self

    def stop(self) -> None:
        """Ends it, and with it all that it held."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def certificate(folder: Path, name: str) -> Path:
    """A key and a certificate for localhost that it signed itself."""
    base = folder / name
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", f"{base}.key", "-out", f"{base}.pem"]
    subprocess.run(command, check=True, capture_output=True)
    return base
