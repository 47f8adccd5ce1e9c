"""The engine without a server to set up: `embedded:/path/of/a/folder`.

The first process that needs the store starts a server of its own in that folder; all processes
that name the folder share it. What always holds: nothing is started before the first operation;
one server at most runs on a folder, by a lock that it holds for life; folder and socket are their
owner's alone, and the process at the other end of the socket is run by the same user; a server that
died is started again, at most STARTS_MAX times within a minute; everything written is in its log;
a server of another version than this package is spoken to only if it's the one before or after it:
an older one makes place for the program that is installed now, a newer one is left alone.
Not for several machines: a folder and its lock belong to one.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from sessile import __version__ as ours
from sessile.busy import busy_poll_of
from sessile.errors import ConfigurationError, SessionUnavailable
from sessile.pool import AsyncLink, AsyncPool, Link, Pool, Target
from sessile.promises import Promise
from sessile.sessile import PROMISES as SERVER
from sessile.sessile import AsyncSessileEngine, SessileEngine
from sessile.sessile_plan import plain
from sessile.urls import Address
from sessile.wire import Refused, pack

__all__ = ["Home", "open_async_engine", "open_engine"]

PROMISES = SERVER | {Promise.RESTART}
OPTIONS = {
    "timeout": "seconds to get a reply (5)",
    "pool": "connections of one process or event loop, at most (64)",
    "pool_wait": "seconds to wait for a free connection (0.5)",
    "busy_poll": "microseconds to wait for a reply without going to sleep; 0: none (100)",
    "idle": "seconds without any client after which the server ends; 0: never (0)",
    "http": "port of the server's admin page, on loopback; 0: none (0)",
}
PATIENCE = 5.0
"""Seconds to wait for a server that starts, or that ends."""
PAUSE = 0.02
STARTS_MAX = 5
"""Starts of a server within a minute."""
PATH_MAX = 103
"""Bytes of a socket's path; the server adds four while it begins to listen."""
AWAY = (FileNotFoundError, ConnectionError)
"""What a connection attempt says if no server runs, or one that is just ending."""

LOG_MAX = 1024 * 1024
"""Bytes of the server's log above which a start puts it aside, in the place of the one before."""
NEVER = {errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.EISDIR}
"""What the system says of a file that is no program."""

READY, INFO, SHUTDOWN = pack([b"PING"]), pack([b"INFO", b"server"]), pack([b"SHUTDOWN"])
"""What is said to a server: the first two on each new connection."""

held: set[int] = set()
"""Descriptors of locks that this process is just handing to a server."""
gate = threading.RLock()
"""Held by whoever changes `held`, and by whoever forks: no child finds a lock that isn't there."""


class StillLoading(ConnectionError):
    """The server is there, and reads its files."""


class Outdated(ConnectionError):
    """The server there is too old for this package."""

    def __init__(self, version: str) -> None:
        super().__init__(version)
        self.version = version


def forget_locks() -> None:
    """A child that was forked meanwhile must not keep the lock of a server that it didn't start."""
    while held:
        os.close(held.pop())
    gate.release()


os.register_at_fork(before=gate.acquire, after_in_parent=gate.release, after_in_child=forget_locks)


class Home:
    """The folder of a server, and how one is started there."""

    def __init__(self, folder: Path, idle: int = 0, http: int = 0) -> None:
        self.folder = folder
        self.idle = idle
        self.http = http
        self.socket = socket_of(folder)
        self.log = folder / "server.log"

    def start_if_free(self) -> None:
        """Starts a server unless one runs, or somebody is about to start one.

        Raises SessionUnavailable if it can't be started, ConfigurationError if it never could.
        """
        self._prepare()
        with gate:
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            held.add(lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # whoever has it is a server, or starts one
        else:
            self._note_start(lock)
            self._start(lock)
        finally:
            with gate:
                held.discard(lock)
                os.close(lock)

    def welcome(self, reply: Any) -> None:
        """Looks at the reply to a greeting: whether the server is ready, and of which version.

        Raises StillLoading, Outdated, or ConfigurationError if the server is too new.
        """
        if type(reply) is Refused and reply.code == "LOADING":
            raise StillLoading(reply.text)
        said = plain(reply)
        if type(said) is not bytes:
            return
        version = version_in(said, b"sessile_version:")
        if neighbours(version, ours):
            return
        if parts(version) < parts(ours):
            raise Outdated(version)
        raise ConfigurationError(
            f"the server in {self.folder} is Sessile {version}, and this process runs the package "
            f"sessile {ours}: run this app with a package sessile {version}, or, if the older one "
            f"shall go on with what it can read, install sessile-server {ours}, too, and end the "
            "server (SIGTERM)"
        )

    def hand_over(self, target: Target, found: Outdated) -> None:
        """Ends a server that is too old; all that it confirmed is in its log, and the next start
        is that of the program that is there now.

        Raises ConfigurationError, with the server left as it is, if that one fits no better, and
        SessionUnavailable if the server refuses to end.
        """
        program = binary()
        version = version_of(program)
        if not neighbours(version, ours):
            raise ConfigurationError(
                f"the server in {self.folder} is Sessile {found.version}, and this process runs "
                f"the package sessile {ours}, but the program {program} is {version} and fits no "
                f"better: install sessile-server {ours}"
            )

        refused: list[str] = []

        def still(reply: Any) -> None:
            # The version is looked at again on the connection that says SHUTDOWN: by now another
            # process may have ended the old one, and this be its successor.
            if type(reply) is bytes and version_in(reply, b"sessile_version:") != found.version:
                raise StillLoading("another process was faster")
            if type(reply) is Refused:
                if reply.code == "LOADING":
                    raise StillLoading(reply.text)
                refused.append(reply.text)

        # The server doesn't answer SHUTDOWN, it closes the connection.
        with suppress(*AWAY):
            Link(replace(target, greeting=(INFO, SHUTDOWN), welcome=still)).close()
        if refused:
            raise SessionUnavailable(
                f"the server in {self.folder} is Sessile {found.version}, too old for the package "
                f"sessile {ours}, and refuses to end ({refused[-1]}); {self.log} ends with: "
                f"{self.told()}"
            )

    def told(self) -> str:
        """The last lines of the server's log."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return "it has no log"
        return "; ".join(lines[-5:]) or "its log is empty"

    def _prepare(self) -> None:
        """Makes the folder, or sees to it that it's ours alone."""
        private(self.folder)
        if self.socket.parent != self.folder:
            private(self.socket.parent, may_be_link=False)
        note = self.folder / ".gitignore"
        if not note.exists():
            note.write_text("*\n")

    def _note_start(self, lock: int) -> None:
        """Remembers a start in the lock file. Raises SessionUnavailable if there were too many."""
        now = time.time()
        try:
            starts = [at for at in json.loads(os.read(lock, 4096) or b"[]") if now - 60 < at <= now]
        except (ValueError, TypeError):
            starts = []
        if len(starts) >= STARTS_MAX:
            raise SessionUnavailable(
                f"the server in {self.folder} was started {len(starts)} times within a minute; "
                f"{self.log} ends with: {self.told()}"
            )
        os.lseek(lock, 0, os.SEEK_SET)
        os.truncate(lock, 0)
        os.write(lock, json.dumps([*starts, now]).encode())

    def _start(self, lock: int) -> None:
        """Starts the server, which inherits the lock."""
        options = {
            "port": 0,
            "memcached-port": 0,
            "unixsocket": self.socket,
            "unixsocketperm": 600,
            "dir": self.folder / "data",
            "appendonly": "yes",
            "logfile": self.log,
            "exit-when-idle": self.idle,
            "http-port": self.http,
            "daemonize": "yes",
        }
        self._put_log_aside()
        command = [binary()]
        for name, value in options.items():
            command += (f"--{name}", str(value))
        try:
            done = subprocess.run(
                command,
                check=False,
                pass_fds=[lock],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=PATIENCE,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            if isinstance(error, OSError) and error.errno in NEVER:
                raise ConfigurationError(f"{command[0]} is no program: {error}") from error
            raise SessionUnavailable(f"{command[0]} can't be started: {error}") from error
        if done.returncode:
            said = done.stdout.decode(errors="replace").strip()
            raise SessionUnavailable(f"{command[0]} doesn't start: {said[-500:]}")

    def _put_log_aside(self) -> None:
        """Begins a new log if there is much in it. A server that runs has no lock to give us."""
        with suppress(FileNotFoundError):
            if self.log.stat().st_size > LOG_MAX:
                self.log.replace(self.log.with_name("server.log.1"))

    def unreachable(self) -> SessionUnavailable:
        return SessionUnavailable(
            f"no server answers in {self.folder}; {self.log} ends with: {self.told()}"
        )


class EmbeddedPool(Pool):
    """Connections to a server that is started if there is none."""

    def __init__(self, target: Target, home: Home) -> None:
        self._home = home
        super().__init__(target)

    def _connect(self) -> Link:
        ends = time.monotonic() + PATIENCE
        while True:
            try:
                return Link(self.target)
            except Outdated as found:
                self._home.hand_over(self.target, found)
            except AWAY:
                self._home.start_if_free()
            if time.monotonic() > ends:
                raise self._home.unreachable()
            time.sleep(PAUSE)


class AsyncEmbeddedPool(AsyncPool):
    """The same for asyncio."""

    def __init__(self, target: Target, home: Home) -> None:
        self._home = home
        super().__init__(target)

    async def _connect(self) -> AsyncLink:
        ends = time.monotonic() + PATIENCE
        while True:
            try:
                return await super()._connect()
            except Outdated as found:
                await asyncio.to_thread(self._home.hand_over, self.target, found)
            except AWAY:
                await asyncio.to_thread(self._home.start_if_free)
            if time.monotonic() > ends:
                raise self._home.unreachable()
            await asyncio.sleep(PAUSE)


def socket_of(folder: Path) -> Path:
    """Where its server listens: there, or, if that's too long a path, in the runtime directory."""
    usual = folder / "sock"
    if len(os.fsencode(usual)) <= PATH_MAX:
        return usual
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    base = Path(runtime) if runtime else Path(tempfile.gettempdir())
    return base / f"sessile-{os.geteuid()}" / f"{name}.sock"


def private(folder: Path, *, may_be_link: bool = True) -> None:
    """Makes a folder that nobody else may enter. Raises ConfigurationError if others may.

    Where everybody may make files, a link in its place could be anybody's.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        named, found = folder.lstat(), folder.stat()
    except OSError as error:
        raise ConfigurationError(f"embedded URL: {folder} can't be used: {error}") from None
    if stat.S_ISLNK(named.st_mode) and not (may_be_link and named.st_uid in (0, os.geteuid())):
        raise ConfigurationError(f"embedded URL: {folder} is a link, and must be a folder")
    if found.st_uid != os.geteuid():
        raise ConfigurationError(f"embedded URL: {folder} belongs to another user")
    if found.st_mode & 0o077:
        raise ConfigurationError(
            f"embedded URL: others may enter {folder}; it must be its owner's alone (chmod 700)"
        )


def binary() -> str:
    """The server's program. Raises ConfigurationError, which says where it was looked for."""
    chosen = os.environ.get("SESSILE_SERVER_BIN")
    if chosen:
        program = shutil.which(chosen)
        if program is None:
            raise ConfigurationError(f"SESSILE_SERVER_BIN: {chosen} is no program")
        return str(Path(program).absolute())
    places = [Path(sysconfig.get_path("scripts")), Path(sys.executable).parent]
    for place in places:
        if os.access(place / "sessile", os.X_OK):
            return str(place / "sessile")
    found = shutil.which("sessile")
    if found is None:
        raise ConfigurationError(
            "embedded URL: there is no program 'sessile' beside Python, in PATH or in "
            "SESSILE_SERVER_BIN: pip install sessile-server, or name a store in SESSILE_URL"
        )
    return found


def version_of(program: str) -> str:
    """What a program says of itself; empty if nothing that can be read."""
    try:
        done = subprocess.run(
            [program, "--version"], check=False, capture_output=True, timeout=PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return version_in(done.stdout, b"sessile ")


def version_in(text: bytes, name: bytes) -> str:
    """The word behind a name; empty if there is none."""
    found = re.search(rb"^" + re.escape(name) + rb"([^\s]+)", text, re.MULTILINE)
    return found.group(1).decode(errors="replace") if found else ""


def parts(version: str) -> tuple[int, int]:
    """The two numbers of a version that say what it understands; (-1, -1) of what is none."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found.group(1)), int(found.group(2))) if found else (-1, -1)


def neighbours(one: str, other: str) -> bool:
    """Whether two versions are the same, or next to each other."""
    (major, minor), (others_major, others_minor) = parts(one), parts(other)
    return major == others_major >= 0 and abs(minor - others_minor) <= 1


def parts_of(address: Address) -> tuple[Target, Home]:
    """What a URL says. Raises ConfigurationError."""
    address.only(*OPTIONS)
    if address.netloc or not Path(address.path).is_absolute():
        raise ConfigurationError(
            "embedded URL: needs the whole path of a folder, as in embedded:/srv/app/sessions"
        )
    numbers = (int(address.number(name, 0)) for name in ("idle", "http"))
    home = Home(Path(address.path), *numbers)
    target = Target(
        path=str(home.socket),
        timeout=address.number("timeout", 5, least=0.01),
        pool=int(address.number("pool", 64, least=1)),
        pool_wait=address.number("pool_wait", 0.5),
        busy_poll=busy_poll_of(address),
        greeting=(READY, INFO),
        welcome=home.welcome,
        owner=os.geteuid(),
    )
    return target, home


def open_engine(address: Address) -> Any:
    """The engine at `embedded:...`; no I/O."""
    return SessileEngine(EmbeddedPool(*parts_of(address)), PROMISES)


def open_async_engine(address: Address) -> Any:
    """The engine at `embedded:...` for asyncio; no I/O."""
    return AsyncSessileEngine(AsyncEmbeddedPool(*parts_of(address)), PROMISES)
