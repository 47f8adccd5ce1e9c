"""Starts and ends the store that tests and the demo talk to.

`Store` is one address pair (RESP and memcached) and the processes behind it. By default that is our
own binary, which serves both; with SESSILE_SERVER_BIN=redis+memcached it is Debian's redis-server
and memcached side by side, so that the same tests can be run against the real rivals.

What always holds: servers listen on loopback only, on ports that were free a moment before, with a
temporary directory of their own; `start` returns only when every address answers; `stop` leaves no
process and no directory behind. Not for production supervision. Standard library only.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RIVALS = "redis+memcached"
READY = "Ready to accept connections"
START_SECONDS = 30.0
STOP_SECONDS = 10.0
ATTEMPTS = 3


class StartError(RuntimeError):
    """The store did not come up; the message says which program, and what it last printed."""


def target_dir() -> Path:
    """Where cargo puts its output: CARGO_TARGET_DIR, or target/ in the repository."""
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target")


def server_bin() -> str:
    """The server to test: SESSILE_SERVER_BIN, or the newest binary that cargo built here."""
    chosen = os.environ.get("SESSILE_SERVER_BIN")
    if chosen == RIVALS:
        return chosen
    if chosen:
        return str((ROOT / chosen).resolve())
    built = [target_dir() / profile / "sessile" for profile in ("release", "quick", "debug")]
    built = [path for path in built if path.exists()]
    if not built:
        raise StartError(
            "no sessile binary: run `cargo build --release`, or set SESSILE_SERVER_BIN"
        )
    return str(max(built, key=lambda path: path.stat().st_mtime))


def free_port() -> int:
    """A TCP port on loopback that nothing listens on at this moment."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def port_is_free(port: int) -> bool:
    """Whether a server could bind this loopback port now."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@dataclass
class Store:
    """A running store. Ports are TCP ports on `host`; `unixsocket` speaks RESP."""

    command: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    memcached_port: int = 0
    extra: list[str] = field(default_factory=list)
    folder: Path | None = None
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def ours(self) -> bool:
        """True when our own server is under test: then no feature may be skipped."""
        return self.command != RIVALS

    @property
    def unixsocket(self) -> str:
        """Path of the RESP socket."""
        return str(self._folder() / "resp.sock")

    @property
    def memcached_unixsocket(self) -> str:
        """Path of the memcached socket (ours only: memcached has either sockets or ports)."""
        return str(self._folder() / "memcached.sock")

    @property
    def redis_url(self) -> str:
        """URL of database 0, as redis-py and Django take it."""
        return f"redis://{self.host}:{self.port}/0"

    @property
    def sessions_url(self) -> str:
        """What `sessile.django` is told: the SESSION commands where the server has them."""
        return f"sessile://{self.host}:{self.port}" if self.ours else self.redis_url

    @property
    def memcached(self) -> str:
        """`host:port` of the memcached side."""
        return f"{self.host}:{self.memcached_port}"

    def start(self) -> Store:
        """Starts the processes and waits until all addresses answer; raises StartError."""
        self.command = self.command or server_bin()
        fixed = bool(self.port or self.memcached_port)
        for attempt in range(1, ATTEMPTS + 1):
            self.folder = Path(tempfile.mkdtemp(prefix="sessile-"))
            self.port = self.port or free_port()
            self.memcached_port = self.memcached_port or free_port()
            try:
                self._launch()
                self._wait()
                return self
            except StartError:
                self.stop()
                if fixed or attempt == ATTEMPTS:
                    raise
                self.port = self.memcached_port = 0
            except BaseException:
                self.stop()
                raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def stop(self) -> None:
        """Ends all processes (SIGTERM, then SIGKILL after a wait) and removes the directory."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    def alive(self) -> bool:
        """Whether every process still runs."""
        return bool(self.processes) and all(p.poll() is None for p in self.processes)

    def log(self) -> str:
        """Everything that the processes have printed so far."""
        logs = sorted(self._folder().glob("*.log"))
        return "\n".join(path.read_text(errors="replace") for path in logs)

    def __enter__(self) -> Store:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _folder(self) -> Path:
        if self.folder is None:
            raise StartError("the store is not running")
        return self.folder

    def _launch(self) -> None:
        folder = str(self._folder())
        resp = ["--port", str(self.port), "--dir", folder, "--unixsocket", self.unixsocket]
        if self.ours:
            extra = shlex.split(os.environ.get("SESSILE_SERVER_ARGS", "")) + self.extra
            text = ["--memcached-port", str(self.memcached_port)]
            text += ["--memcached-unixsocket", self.memcached_unixsocket]
            self._spawn("sessile", [self.command, *resp, *text, *extra])
            return
        pure_cache = ["--save", "", "--appendonly", "no", "--enable-debug-command", "yes"]
        self._spawn("redis", ["redis-server", "--bind", self.host, *resp, *pure_cache])
        user = ["-u", "root"] if os.getuid() == 0 else []
        where = ["-l", self.host, "-p", str(self.memcached_port), "-U", "0"]
        self._spawn("memcached", ["memcached", *user, *where])

    def _spawn(self, name: str, command: list[str]) -> None:
        with (self._folder() / f"{name}.log").open("wb") as log:
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise StartError(f"cannot start {command[0]}: {error.strerror}") from error
        self.processes.append(process)

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if not self.alive() or time.monotonic() > deadline:
                tail = "\n".join(self.log().splitlines()[-8:])
                raise StartError(f"{self.command} did not become ready; it printed:\n{tail}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        if not re.search(READY, self.log()):
            return False
        return all(can_connect(self.host, port) for port in (self.port, self.memcached_port))


def can_connect(host: str, port: int) -> bool:
    """Whether something accepts TCP connections at this address."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
