"""`embedded:`: one server on a folder, whatever happens to it and whoever comes.

ROUNDS says how often 32 processes start at once (3), SESSIONS how many there are when a server is
killed under load (3,000).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from servers import server_bin
from sessile import __version__, embedded
from sessile.contract import Changes, Life
from sessile.errors import ConfigurationError, SessionUnavailable
from sessile.promises import Promise
from sessile.settings import at_home
from sessile.urls import open_async_engine, open_engine
from stores import FIELDS, end_embedded, facing, together
from traffic import Stalls

ROUNDS = int(os.environ.get("ROUNDS", 3))
PROCESSES = 32
SESSIONS = int(os.environ.get("SESSIONS", 3_000))
WRITERS = 8


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder whose server is gone after the test."""
    monkeypatch.setenv("SESSILE_SERVER_BIN", server_bin())
    folder = tmp_path / "sessions"
    yield folder
    if (folder / "server.log").exists():
        end_embedded(folder)


def pids(folder: Path) -> list[int]:
    """The servers that were started, the last one last."""
    return [int(pid) for pid in re.findall("PID: ([0-9]+)", (folder / "server.log").read_text())]


def key() -> bytes:
    return f"t:{secrets.token_hex(32)}".encode()


def wait_for(what, seconds=30):
    ends = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < ends, "it didn't come to pass"
        time.sleep(0.01)
    return found


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "Z"


def test_the_folder_is_its_owners_alone(home):
    engine = open_engine(f"embedded:{home}")
    assert not home.exists(), "nothing happens before the first operation"
    engine.ping()
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "sock").stat().st_mode & 0o777 == 0o600
    assert (home / "lock").stat().st_mode & 0o077 == 0
    engine.close()


def test_a_folder_that_others_may_enter_is_refused(home):
    home.mkdir(mode=0o755)
    with pytest.raises(ConfigurationError, match="others may enter"):
        open_engine(f"embedded:{home}").ping()
    assert not (home / "lock").exists()


def test_somebody_elses_folder_is_refused(home, monkeypatch):
    home.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(ConfigurationError, match="another user"):
        open_engine(f"embedded:{home}").ping()


@pytest.mark.parametrize("url", ["embedded:", "embedded:data", "embedded://host/data"])
def test_a_folder_has_to_be_named_whole(url):
    with pytest.raises(ConfigurationError, match="whole path"):
        open_engine(url)


def test_apps_have_a_folder_of_their_own(tmp_path):
    assert at_home("embedded:", tmp_path, debug=False) == f"embedded:{tmp_path}/.sessile"
    assert at_home("embedded:", tmp_path, debug=True).endswith("?idle=900")
    assert at_home("embedded:?idle=5", tmp_path, debug=True).endswith("/.sessile?idle=5")
    assert at_home("embedded:/elsewhere", tmp_path, debug=True) == "embedded:/elsewhere"
    assert at_home("redis://host", tmp_path, debug=True) == "redis://host"


def test_no_program_is_an_error_that_names_the_places(home, monkeypatch, tmp_path):
    monkeypatch.delenv("SESSILE_SERVER_BIN")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(embedded.sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ConfigurationError, match="pip install"):
        open_engine(f"embedded:{home}").ping()


@pytest.mark.parametrize("kind", ["absent", "a folder", "not executable", "no program"])
def test_a_wrong_program_is_an_error_that_names_it(home, monkeypatch, tmp_path, kind):
    wrong = tmp_path / "not-sessile"
    if kind == "a folder":
        wrong.mkdir()
    elif kind != "absent":
        wrong.write_bytes(b"\0\1\2 neither a script nor a program")
        wrong.chmod(0o755 if kind == "no program" else 0o644)
    monkeypatch.setenv("SESSILE_SERVER_BIN", str(wrong))
    with pytest.raises(ConfigurationError, match="not-sessile"):
        open_engine(f"embedded:{home}").ping()


def test_a_program_is_found_from_wherever_it_was_named(home, monkeypatch):
    program = Path(server_bin())
    monkeypatch.chdir(program.parent)
    monkeypatch.setenv("SESSILE_SERVER_BIN", f"./{program.name}")
    engine = open_engine(f"embedded:{home}")
    engine.ping()
    engine.close()


def test_lists_of_processes_show_the_program(home):
    engine = open_engine(f"embedded:{home}")
    engine.ping()
    engine.close()
    (pid,) = pids(home)
    assert Path(f"/proc/{pid}/comm").read_text() == "sessile\n"
    assert Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].endswith(b"/sessile")


def test_a_long_log_is_put_aside_by_the_next_start(home):
    engine = open_engine(f"embedded:{home}")
    engine.ping()
    log, aside = home / "server.log", home / "server.log.1"
    for size, moves in ((embedded.LOG_MAX // 2, False), (embedded.LOG_MAX, True)):
        pid = pids(home)[-1]
        with log.open("a") as text:
            text.write("x" * size + "\n")
        os.kill(pid, signal.SIGKILL)
        engine.ping()
        assert aside.exists() == moves
    assert "x" * 80 in aside.read_text() and "x" * 80 not in log.read_text()
    assert len(pids(home)) == 1
    engine.close()


@pytest.mark.proves(Promise.RESTART, "embedded")
def test_a_server_that_was_killed_is_started_again_and_has_everything(home):
    engine = open_engine(f"embedded:{home}")
    keys = [key() for _ in range(200)]
    for one in keys:
        assert engine.create(one, FIELDS, Life(idle=1000), user="app:ann")
    assert engine.end(keys[0]) == 1
    for _ in range(2):
        os.kill(pids(home)[-1], signal.SIGKILL)
        assert engine.load(keys[0]) is None
        assert all(engine.load(one).fields == FIELDS for one in keys[1:])
        assert len(engine.sessions_of("app:ann")) == 199
    assert len(pids(home)) == 3
    engine.close()


class Writer:
    """Numbers what it writes to its own sessions, ends some, and knows what was confirmed."""

    def __init__(self, engine, keys):
        self.engine, self.keys = engine, keys
        self.confirmed = dict.fromkeys(keys, 0)
        self.issued = dict.fromkeys(keys, 0)
        self.ended, self.doubtful = set(), set()
        self.done = 0
        self.answered = []
        """When each call that was answered began, and when it was."""

    def run(self, until):
        for number in itertools.cycle(range(len(self.keys))):
            if until.is_set():
                return
            key = self.keys[number]
            if key in self.ended or key in self.doubtful:
                continue
            began = time.monotonic()
            try:
                self.end(key) if self.done % 10 == 9 else self.save(key)
            except SessionUnavailable:
                time.sleep(0.01)
            else:
                self.done += 1
                self.answered = [*self.answered[-2000:], (began, time.monotonic())]

    def save(self, key):
        self.issued[key] += 1
        changes = Changes(set={b"n": b"%d" % self.issued[key]})
        assert self.engine.save(key, changes, Life()) is not None
        self.confirmed[key] = self.issued[key]

    def end(self, key):
        self.doubtful.add(key)
        self.engine.end(key)
        self.ended.add(key)

    def check(self):
        for key in self.keys:
            loaded = self.engine.load(key)
            if key in self.ended:
                assert loaded is None, "it was ended"
            elif key not in self.doubtful or loaded is not None:
                assert self.confirmed[key] <= int(loaded.fields[b"n"]) <= self.issued[key]


def test_a_kill_under_load_loses_nothing_that_was_confirmed(home, record_testsuite_property):
    """`make starts` does it with 100,000 sessions."""
    engine = open_engine(f"embedded:{home}")
    parts = [[key() for _ in range(SESSIONS // WRITERS)] for _ in range(WRITERS)]
    together(
        WRITERS, lambda n: [engine.create(k, {**FIELDS, b"n": b"0"}, Life()) for k in parts[n]]
    )
    writers = [Writer(engine, part) for part in parts]
    until = threading.Event()
    threads = [threading.Thread(target=writer.run, args=(until,)) for writer in writers]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: all(writer.done > 100 for writer in writers), 60)
        with Stalls() as stalls:
            os.kill(pids(home)[-1], signal.SIGKILL)
            killed = time.monotonic()
            seen = [writer.done for writer in writers]
            back = wait_for(lambda: first_answer(writers, killed), 60)
        for writer, before in zip(writers, seen, strict=True):
            wait_for(lambda w=writer, before=before: w.done > before + 20, 60)
    finally:
        until.set()
        for thread in threads:
            thread.join()
    line = f"{SESSIONS} sessions: back {back:.2f} s after the kill, stalled {stalls.seconds:.2f} s"
    print(line)
    record_testsuite_property("kill_under_load", line)
    for writer in writers:
        writer.check()
    assert all(writer.ended for writer in writers)
    assert len(pids(home)) == 2
    engine.close()


def first_answer(writers, killed):
    """Seconds from the kill to the first answer to a call that began after it; 0 if there is none.

    A call that was under way may have its answer from the server before it died.
    """
    ends = [end for writer in writers for begin, end in writer.answered if begin > killed]
    return min(ends) - killed if ends else 0


def test_asyncio_finds_a_server_that_was_killed(home):
    async def work():
        engine = open_async_engine(f"embedded:{home}")
        one = key()
        assert await engine.create(one, FIELDS, Life())
        os.kill(pids(home)[-1], signal.SIGKILL)
        assert (await engine.load(one)).fields == FIELDS
        await engine.close()

    asyncio.run(work())


@pytest.mark.proves(Promise.OUTAGE, "embedded")
def test_too_many_starts_are_an_error_that_quotes_the_log(home):
    engine = open_engine(f"embedded:{home}")
    engine.ping()
    (home / "lock").write_text(json.dumps([time.time()] * 5))
    os.kill(pids(home)[-1], signal.SIGKILL)
    with pytest.raises(SessionUnavailable, match="Ready to accept connections"):
        engine.ping()
    (home / "lock").write_text(json.dumps([time.time() - 61] * 5))
    time_left = wait_for(lambda: works(engine))
    assert time_left
    engine.close()


def works(engine) -> bool:
    try:
        engine.ping()
    except SessionUnavailable:
        return False
    return True


def test_a_damaged_log_is_said_and_nothing_is_lost(home):
    engine = open_engine(f"embedded:{home}")
    keys = [key() for _ in range(50)]
    for one in keys:
        engine.create(one, FIELDS, Life())
    # What is ended is on the disk by then, and what comes next says so.
    engine.end(keys.pop())
    engine.create(key(), FIELDS, Life())
    os.kill(pids(home)[-1], signal.SIGKILL)
    wait_for(lambda: ended(pids(home)[-1]))
    engine.close()
    (log,) = (home / "data/appendonlydir").glob("*.incr.aof")
    whole = log.read_bytes()
    log.write_bytes(whole[:300] + b"?" + whole[301:])
    with pytest.raises(SessionUnavailable, match=r"appendonly.*incr\.aof"):
        open_engine(f"embedded:{home}").ping()
    assert log.read_bytes() == whole[:300] + b"?" + whole[301:]


def test_a_server_without_clients_ends_and_comes_back(home):
    engine = open_engine(f"embedded:{home}?idle=5")
    one = key()
    engine.create(one, FIELDS, Life())
    engine.close()
    (first,) = pids(home)
    wait_for(lambda: ended(first))
    wait_for(lambda: not (home / "sock").exists())
    assert engine.load(one).fields == FIELDS
    assert len(pids(home)) == 2
    engine.close()


def test_a_long_path_goes_through_the_runtime_directory(home, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    deep = home / ("long" * 30)
    engine = open_engine(f"embedded:{deep}")
    engine.ping()
    assert not (deep / "sock").exists()
    engine.close()
    end_embedded(deep)


def test_a_link_in_a_shared_folder_is_refused(home, monkeypatch, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(shared))
    (shared / f"sessile-{os.geteuid()}").symlink_to(mine)
    with pytest.raises(ConfigurationError, match="is a link"):
        open_engine(f"embedded:{home / ('long' * 30)}").ping()
    assert not list(mine.iterdir())


def test_a_link_is_followed_if_it_is_ours_or_roots(home, monkeypatch):
    home.mkdir(mode=0o700)
    link = home.with_name("link")
    link.symlink_to(home)
    embedded.private(link)
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    os.chown(link, 1234, -1, follow_symlinks=False) if os.getuid() == 0 else None
    with pytest.raises(ConfigurationError, match=r"is a link|another user"):
        embedded.private(link)


def test_a_child_never_keeps_a_lock(home, monkeypatch):
    """A fork in the moment between opening the lock and noting it waits until it's noted."""
    home.mkdir(mode=0o700)
    opened, forking = threading.Event(), threading.Event()
    real = os.open

    def slow(path, *arguments):
        descriptor = real(path, *arguments)
        if str(path).endswith("/lock"):
            opened.set()
            forking.wait(10)
            time.sleep(0.2)  # as long as a fork would take that didn't wait
        return descriptor

    place = embedded.Home(home)
    monkeypatch.setattr(place, "_note_start", lambda lock: None)
    monkeypatch.setattr(place, "_start", lambda lock: None)
    monkeypatch.setattr(os, "open", slow)
    opener = threading.Thread(target=place.start_if_free)
    opener.start()
    assert opened.wait(10)
    forking.set()
    child = os.fork()
    if child == 0:
        os._exit(1 if holds(home / "lock") else 0)
    opener.join()
    assert os.waitpid(child, 0)[1] == 0
    assert not holds(home / "lock") and not embedded.held


def holds(file: Path) -> bool:
    """Whether this process has a file open."""
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            if descriptor.readlink() == file:
                return True
        except FileNotFoundError:  # that by which they are listed
            pass
    return False


def test_children_of_a_fork_share_the_server(home):
    engine = open_engine(f"embedded:{home}")
    one = key()
    engine.create(one, FIELDS, Life())
    child = os.fork()
    if child == 0:
        os._exit(0 if engine.load(one) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert engine.load(one).fields == FIELDS
    assert len(pids(home)) == 1
    engine.close()


# versions


@pytest.fixture
def later(tmp_path):
    """A server of a later version: ours, with another number in its bytes. And that number."""
    version = re.sub(r"[0-9]+", "9", __version__)
    whole = Path(server_bin()).read_bytes()
    assert len(version) == len(__version__) and __version__.encode() in whole
    program = tmp_path / "later"
    program.write_bytes(whole.replace(__version__.encode(), version.encode()))
    program.chmod(0o755)
    assert embedded.version_of(str(program)) == version
    return program, version


@pytest.mark.parametrize(
    ("one", "other", "talk"),
    [
        ("1.4.0", "1.4.9", True),
        ("1.4.0", "1.5.2", True),
        ("1.4.0rc1", "1.3", True),
        ("1.4.0", "1.6.0", False),
        ("1.10.0", "1.1.0", False),
        ("2.4.0", "1.4.0", False),
        ("", "1.4.0", False),
        ("", "", False),
    ],
)
def test_versions_talk_with_their_neighbours(one, other, talk):
    assert embedded.neighbours(one, other) == embedded.neighbours(other, one) == talk


@pytest.mark.parametrize("face", ["sync", "async"])
def test_an_older_server_makes_place_for_the_program_that_is_there_now(
    home, monkeypatch, later, face
):
    older = open_engine(f"embedded:{home}")
    keys = [key() for _ in range(20)]
    for one in keys:
        assert older.create(one, FIELDS, Life())
    program, version = later
    monkeypatch.setattr(embedded, "ours", version)
    monkeypatch.setenv("SESSILE_SERVER_BIN", str(program))
    opener = open_engine if face == "sync" else open_async_engine
    with facing(opener(f"embedded:{home}"), face) as engine:
        assert all(engine.load(one).fields == FIELDS for one in keys)
        first, second = pids(home)
        assert ended(first) and not ended(second)
        # An app that wasn't restarted: its package is too old now, and harms nothing.
        monkeypatch.setattr(embedded, "ours", __version__)
        with pytest.raises(ConfigurationError) as told:
            older.load(keys[0])
        assert __version__ in str(told.value) and version in str(told.value)
        assert pids(home) == [first, second] and not ended(second)
        assert engine.load(keys[0]).fields == FIELDS
    older.close()


def test_processes_that_hand_over_at_once_get_one_server(home, monkeypatch, later):
    engine = open_engine(f"embedded:{home}")
    one = key()
    assert engine.create(one, FIELDS, Life())
    engine.close()
    program, version = later
    monkeypatch.setattr(embedded, "ours", version)
    monkeypatch.setenv("SESSILE_SERVER_BIN", str(program))
    engines = [open_engine(f"embedded:{home}") for _ in range(8)]
    assert all(together(8, lambda n: engines[n].load(one)))
    assert len(pids(home)) == 2
    for engine in engines:
        engine.close()


def test_a_server_is_left_alone_by_a_package_that_has_none_better(home, monkeypatch, later):
    engine = open_engine(f"embedded:{home}")
    engine.ping()
    monkeypatch.setattr(embedded, "ours", later[1])
    other = open_engine(f"embedded:{home}")
    with pytest.raises(ConfigurationError) as told:
        other.ping()
    assert f"is Sessile {__version__}" in str(told.value)
    assert f"install sessile-server {later[1]}" in str(told.value)
    engine.ping()
    (pid,) = pids(home)
    assert not ended(pid)
    engine.close()


def test_a_server_that_refuses_to_end_is_named_with_its_log(home, monkeypatch, later):
    """As one does whose disk is full: what it hasn't written would be lost."""
    home.mkdir(mode=0o700)
    log = home / "server.log"
    log.write_text("no space left on device\n")
    info = f"# Server\r\nsessile_version:{__version__}\r\n"
    replies = {
        b"PING": "+PONG\r\n",
        b"INFO": f"${len(info)}\r\n{info}\r\n",
        b"SHUTDOWN": "-ERR Errors trying to SHUTDOWN. Check logs.\r\n",
    }
    asked = []

    def serve(plug):
        with plug:
            while data := plug.recv(4096):
                words = re.findall(rb"PING|INFO|SHUTDOWN", data)
                asked.extend(words)
                plug.sendall("".join(replies[word] for word in words).encode())

    def listen():
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(door.accept()[0],), daemon=True).start()

    program, version = later
    monkeypatch.setattr(embedded, "ours", version)
    monkeypatch.setenv("SESSILE_SERVER_BIN", str(program))
    engine = open_engine(f"embedded:{home}")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(home / "sock"))
        (home / "sock").chmod(0o600)
        door.listen()
        threading.Thread(target=listen, daemon=True).start()
        with pytest.raises(SessionUnavailable) as told:
            engine.ping()
        door.shutdown(socket.SHUT_RDWR)
    log.unlink()  # no server was started
    assert b"SHUTDOWN" in asked
    for said in (str(home), __version__, "Errors trying to SHUTDOWN", "no space left on device"):
        assert said in str(told.value)
    engine.close()


def test_nothing_is_asked_but_when_connecting(home):
    """Each connection asks for the version once."""
    engine = open_engine(f"embedded:{home}")
    engine.ping()
    for _ in range(5):
        engine.load(key())
    with socket.socket(socket.AF_UNIX) as plug:
        plug.connect(str(home / "sock"))
        plug.sendall(b"INFO commandstats\r\n")
        said = plug.recv(65536).decode()
    assert "cmdstat_info:calls=1," in said
    assert "cmdstat_session.load:calls=5," in said
    engine.close()


CHILD = """
import sys
from sessile.urls import open_engine
from sessile.contract import Life
from sessile import embedded
embedded.PATIENCE = 60
sys.stdin.read()
engine = open_engine(sys.argv[1])
print(engine.create(sys.argv[2].encode(), {b"a": b"1"}, Life()))
"""


@pytest.mark.timeout(200 * ROUNDS)
def test_processes_that_start_at_once_get_one_server(tmp_path, monkeypatch):
    monkeypatch.setenv("SESSILE_SERVER_BIN", server_bin())
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        names = [f"t:{n:064x}" for n in range(PROCESSES)]
        command = [sys.executable, "-c", CHILD, f"embedded:{folder}?timeout=60"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        pipes["env"] = {**os.environ, "PYTHONPATH": str(Path(embedded.__file__).parents[1])}
        children = [subprocess.Popen([*command, name], **pipes) for name in names]
        gate = threading.Barrier(PROCESSES)
        said = [""] * PROCESSES

        def talk(n, children=children, gate=gate, said=said):
            gate.wait(60)
            said[n] = children[n].communicate()[0]

        threads = [threading.Thread(target=talk, args=(n,)) for n in range(PROCESSES)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        engine = open_engine(f"embedded:{folder}")
        try:
            assert all(int(one) > 0 for one in said)
            assert all(engine.load(name.encode()) for name in names)
            assert len(pids(folder)) == 1
        finally:
            engine.close()
            end_embedded(folder)
