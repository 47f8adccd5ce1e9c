"""`make run` and `make server`: from a fresh checkout to something to look at, in one command.

`run.py demo` builds the release binary, prepares .venv and starts the shop, whose sessions are
kept by a server that it starts by itself (`embedded:`), in a folder that is gone afterwards. It
waits until the shop answers and says what to open. It ends when told to (Ctrl-C, SIGTERM, SIGHUP)
or when the shop dies, and leaves no process behind. `run.py
server [ARGS]` builds and becomes the server itself. Every problem is one line that starts with
`error:`.

Environment: WEB_PORT and HTTP_PORT (the store's admin page) wish for ports (a taken one is
replaced, and that is said);
SESSILE_SERVER_BIN runs another binary and builds nothing. Standard library only.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

if sys.version_info < (3, 10):
    sys.exit("error: Python 3.10 or newer is needed: make run PYTHON=python3.x")

from servers import ROOT, STOP_SECONDS, StartError, port_is_free, target_dir
from setup_venv import SetupError, ensure, say

WEB_START_SECONDS = 60.0
WEB_PORT_TRIES = 50


class Stop(Exception):
    """Someone asked us to end."""


def server_binary() -> str:
    """The server, built first; SESSILE_SERVER_BIN names another and skips the build."""
    return os.environ.get("SESSILE_SERVER_BIN") or str(build("sessile-server") / "sessile")


def build(*packages: str) -> Path:
    """Builds packages for release and returns where their programs are."""
    cargo = shutil.which("cargo") or shutil.which("cargo", path=str(Path.home() / ".cargo/bin"))
    if not cargo:
        raise SetupError("no cargo: install Rust 1.95 or newer (https://rustup.rs), then try again")
    if not shutil.which("cc"):
        raise SetupError("no C compiler (cc), which Rust links with: install gcc or clang")
    place = target_dir() / "release"
    if not place.exists():
        say("building (the first time takes a minute or two)")
    command = [cargo, "build", "--release", "--locked", "--quiet"]
    command += [word for package in packages for word in ("-p", package)]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise SetupError("the build failed, see above")
    return place


def demo() -> None:
    """Runs the shop until told to stop."""
    python = ensure("demo")
    binary = str((ROOT / server_binary()).resolve())
    web_port = pick("WEB_PORT", 8000, lambda: next_free(8001))
    http_port = pick("HTTP_PORT", 8090, lambda: next_free(8091))
    with tempfile.TemporaryDirectory(prefix="sessile-") as folder, tempfile.TemporaryFile() as log:
        home = Path(folder) / "sessions"
        url = f"embedded:{home}?http={http_port}"
        shop = start_shop(python, binary, url, web_port, log)
        try:
            wait_for_shop(shop, web_port, log)
            wake_store(python, binary, url)
            print(greeting(home, web_port, http_port), flush=True)
            if shop.wait() != 0:
                raise StartError(f"the shop ended by itself; it printed:\n{tail(log)}")
        finally:
            end(shop)
            end_server(home)


def pick(variable: str, default: int, other) -> int:
    """The wished-for port, or `other()` with a line that says so when it is taken."""
    try:
        wished = int(os.environ.get(variable, default))
    except ValueError:
        raise SetupError(f"{variable} must be a port number") from None
    if port_is_free(wished):
        return wished
    taken = other()
    say(f"port {wished} is busy, taking {taken} ({variable}=... chooses another)")
    return taken


def next_free(start: int) -> int:
    """The first free port from `start` on."""
    for port in range(start, start + WEB_PORT_TRIES):
        if port_is_free(port):
            return port
    raise SetupError(f"no free port between {start} and {start + WEB_PORT_TRIES - 1}")


def start_shop(python: str, binary: str, url: str, port: int, log) -> subprocess.Popen[bytes]:
    """Starts Django's own little web server, out of the reach of the terminal's Ctrl-C."""
    environment = dict(
        os.environ,
        SESSILE_URL=url,
        SESSILE_SERVER_BIN=binary,
        SHOP_SECRET_KEY=secrets.token_urlsafe(32),
        PYTHONUNBUFFERED="1",
    )
    manage = [python, str(ROOT / "demo/manage.py"), "runserver", "--noreload", "--insecure"]
    return subprocess.Popen(
        [*manage, f"127.0.0.1:{port}"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def wait_for_shop(shop: subprocess.Popen[bytes], port: int, log) -> None:
    """Returns once the front page answers 200."""
    deadline = time.monotonic() + WEB_START_SECONDS
    while time.monotonic() < deadline and shop.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                if answer.status == 200:
                    return
        except urllib.error.HTTPError as error:
            raise StartError(f"the shop answers {error.code}:\n{tail(log)}") from error
        except OSError:
            time.sleep(0.05)
    raise StartError(f"the shop did not start; it printed:\n{tail(log)}")


def wake_store(python: str, binary: str, url: str) -> None:
    """Has the store started now, not at the first sign-in: its own page is to answer."""
    environment = dict(os.environ, SESSILE_SERVER_BIN=binary, PYTHONPATH=str(ROOT / "python/src"))
    code = "import sys; from sessile.urls import open_engine; open_engine(sys.argv[1]).ping()"
    done = subprocess.run(
        [python, "-c", code, url], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise StartError(f"the store did not start; it said:\n{done.stderr.strip()[-500:]}")


def tail(log) -> str:
    """The last lines of a child's output."""
    log.seek(0)
    return "\n".join(log.read().decode(errors="replace").splitlines()[-12:])


def greeting(home: Path, port: int, http_port: int) -> str:
    """What to open and what to try."""
    return f"""
  The shop is open:  http://127.0.0.1:{port}
  sign in as ada / ada or grace / grace, fill the cart, then look at "My sessions".

  The store's own page, with live plots:  http://127.0.0.1:{http_port}

  Its sessions are kept by a server that the shop started by itself, for itself:
    redis-cli -s {home}/sock --scan
  Sign in from a second browser, and end the first session from there. In the cart, let ten tabs
  add at once: none is lost. Kill the server (its log is {home}/server.log):
  the next click starts it again, and everybody is still signed in.

  Ctrl-C ends both.
"""


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL for whoever doesn't listen."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_server(home: Path) -> None:
    """Ends the server that the shop started, if it did; its folder is nobody's then."""
    # An error says that there is none, or that it's gone by now.
    with suppress(OSError), socket.socket(socket.AF_UNIX) as plug:
        plug.settimeout(STOP_SECONDS)
        plug.connect(str(home / "sock"))
        plug.sendall(b"SHUTDOWN NOSAVE\r\n")
        plug.recv(1)
    lock = home / "lock"
    if not lock.exists():
        return
    # It holds the lock for life, and has files to close after it hung up.
    deadline = time.monotonic() + STOP_SECONDS
    with lock.open() as held:
        while time.monotonic() < deadline:
            with suppress(BlockingIOError):
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(0.01)


def server(arguments: list[str]) -> None:
    """Becomes the server: same terminal, same process id, so that signals reach it directly."""
    binary = str((ROOT / server_binary()).resolve())
    os.execv(binary, [binary, *arguments])


def on_signal(*_: object) -> None:
    """Any ending signal unwinds the stack once; later ones must not interrupt the clean-up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise Stop


def main() -> int:
    """Exit 0 when asked to stop, 1 on a problem, 2 on bad usage."""
    mode, arguments = (sys.argv[1:2] or [""])[0], sys.argv[2:]
    if mode == "server":
        server(arguments)
    if mode != "demo" or arguments:
        print("usage: run.py demo | run.py server [ARGUMENTS]", file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    try:
        demo()
    except Stop:
        print("\n-- stopped", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (SetupError, StartError) as problem:
        sys.exit(f"error: {problem}")
