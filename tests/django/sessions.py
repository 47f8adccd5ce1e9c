"""Runs Django's own suites, from its source archive, on `SESSION_ENGINE = "sessile.django"`.

On `redis://` (Debian's redis-server) Django 5.2 with its own SessionMiddleware and with ours, on
`sessile://` (our server, chosen as in tools/servers.py) with ours, and Django 6 with ours where
there is a Python for it (a line says so if not): the contract of session engines
(SessionTestsMixin, sync and async), SessionMiddlewareTests, and the suites of auth, test client,
CSRF, messages and admin, whose every sign-in goes through a session. On every other engine, a
cluster and a primary under sentinels among them, the first two; with `--all`, all of them.
What always holds: a failure that EXCLUDED doesn't name fails the run, and so does a name in
EXCLUDED that passes; too few tests fail it too. Run it with the Python of tests/requirements.txt.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path += [str(ROOT / folder) for folder in ("tools", "python/tests")]

import redis  # noqa: E402
from failures import failed_tests  # noqa: E402

from fleets import QUIET_MS, ClusterFleet, Fleet, Memcached, SentinelFleet  # noqa: E402
from run import BUILD, SECONDS, SKIP, Outcome, source  # noqa: E402
from servers import RIVALS, StartError, Store, server_bin  # noqa: E402

NEWER = HERE / "requirements-newer.txt"
NEWER_PYTHONS = ("python3.14", "python3.13", "python3.12")
LABELS = [
    "sessions_tests.tests.SessionMiddlewareTests",
    "store_contract",
    "auth_tests",
    "test_client",
    "test_client_regress",
    "csrf_tests",
    "messages_tests",
    "message_contract",
    "admin_views",
]
TESTS_AT_LEAST = 1800
CONTRACT = LABELS[:2]
CONTRACT_AT_LEAST = 140
QUERIES = "counts SQL queries, among them the one with which Django's db engine reads the session"
EXCLUDED = {
    "admin_views.tests.AdminCustomQuerysetTest.test_changelist_view_count_queries": QUERIES,
    "admin_views.tests.AdminSearchTest.test_no_total_count": QUERIES,
    "admin_views.tests.AdminSearchTest.test_reset_link": QUERIES,
    "admin_views.tests.GroupAdminTest.test_group_permission_performance": QUERIES,
    "admin_views.tests.UserAdminTest.test_user_permission_performance": QUERIES,
    "sessions_tests.tests.SessionMiddlewareTests.test_empty_session_saved": (
        "reads the session from Django's table of sessions"
    ),
}
EXCLUDED_NEWER = {
    **EXCLUDED,
    "auth_tests.test_middleware.TestLoginRequiredMiddleware"
    ".test_protected_view_logged_in_performance": QUERIES,
}


@dataclass(frozen=True)
class Run:
    """One version of Django, under one Python, with one session middleware."""

    name: str
    python: str
    requirements: Path
    middleware: str
    """`django` or `sessile`."""
    excluded: dict[str, str]
    store: Callable[[], AbstractContextManager[str]]
    """A store of its own, started; its URL."""
    labels: Sequence[str] = tuple(LABELS)
    at_least: int = TESTS_AT_LEAST


@contextmanager
def debians() -> Iterator[str]:
    """Debian's redis-server."""
    with Store(command=RIVALS) as store:
        yield f"redis://{store.host}:{store.port}"


@contextmanager
def ours(scheme: str) -> Iterator[str]:
    """Our server, by its own commands (`sessile`) or by those of Redis."""
    with Store(command=server_bin()) as store:
        yield f"{scheme}://{store.host}:{store.port}"


@contextmanager
def own_socket() -> Iterator[str]:
    """Our server, by its socket."""
    with Store(command=server_bin()) as store:
        yield f"unix://{store.unixsocket}"


@contextmanager
def embedded() -> Iterator[str]:
    """Our server, as the tests start it by themselves."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "sessions"
        yield f"embedded:{home}"
        with redis.Redis(unix_socket_path=str(home / "sock")) as server:
            server.shutdown(nosave=True)


@contextmanager
def without_scripts() -> Iterator[str]:
    """Debian's redis-server, for a user who may run no scripts."""
    with Store(command=RIVALS) as store:
        with redis.Redis(port=store.port) as server:
            rules = ("on", ">pw", "~*", "&*", "+@all", "-@scripting")
            server.execute_command("ACL", "SETUSER", "noscript", *rules)
        yield f"redis://noscript:pw@{store.host}:{store.port}"


@contextmanager
def memcached() -> Iterator[str]:
    """Two of Debian's memcached."""
    servers = [Memcached().start() for _ in range(2)]
    try:
        yield "memcached://" + ",".join(server.place for server in servers)
    finally:
        for server in servers:
            server.stop()


@contextmanager
def file() -> Iterator[str]:
    """A file of SQLite."""
    with tempfile.TemporaryDirectory() as folder:
        yield f"file:{folder}/sessions"


@contextmanager
def fleet(kind: type[Fleet]) -> Iterator[str]:
    """Many redis-servers."""
    servers = kind(QUIET_MS)
    try:
        servers.start()
        yield servers.url
    finally:
        servers.stop()


def runs(whole: bool) -> list[Run]:
    """What there is to run on this machine; `whole` leaves no suite out on any engine."""
    older = HERE / "requirements.txt"

    def usual(
        name: str,
        store: Callable[[], AbstractContextManager[str]],
        middleware: str = "sessile",
        **others: object,
    ) -> Run:
        return Run(f"5.2, {name}", sys.executable, older, middleware, EXCLUDED, store, **others)

    contract = {} if whole else {"labels": CONTRACT, "at_least": CONTRACT_AT_LEAST}
    found = [
        usual("Django's middleware", debians, "django"),
        usual("our middleware", debians),
        usual("memory:", lambda: nullcontext("memory:"), **contract),
        usual("file:", file, **contract),
        usual("sentinel", lambda: fleet(SentinelFleet), **contract),
        usual("cluster", lambda: fleet(ClusterFleet), **contract),
        usual("redis:// without scripts", without_scripts, **contract),
        usual("memcached://", memcached, **contract),
    ]
    if server_bin() != RIVALS:
        found.append(usual("our middleware, sessile://", lambda: ours("sessile")))
        found.append(usual("redis:// on our server", lambda: ours("redis"), **contract))
        found.append(usual("unix://", own_socket, **contract))
        found.append(usual("embedded:", embedded, **contract))
    if python := newer_python():
        found.append(Run("6, our middleware", python, NEWER, "sessile", EXCLUDED_NEWER, debians))
    return found


def newer_python() -> str:
    """A virtual environment of a Python that Django 6 runs on; empty if there is none."""
    homes = [Path.home() / ".pyenv/versions"]
    installed = [str(path) for home in homes for path in home.glob("3.1[2-9]*/bin/python")]
    named = [shutil.which(name) or "" for name in NEWER_PYTHONS]
    there = [*named, *sorted(installed, reverse=True)]
    base = next((path for path in there if runs_at_all(path)), "")
    if not base:
        return ""
    folder = BUILD / "venv-newer"
    python = folder / "bin/python"
    if not (folder / "complete").exists():
        subprocess.run([base, "-m", "venv", "--clear", str(folder)], check=True)
        lines = (ROOT / "demo/requirements.txt").read_text().splitlines()
        wanted = [line for line in lines if line and not line.startswith(("#", "Django="))]
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
        subprocess.run([*pip, "-q", *wanted], check=True)
        (folder / "complete").touch()
    return str(python)


def runs_at_all(path: str) -> bool:
    """Whether this is a Python of 3.12 or later: names alone can be shims that start nothing."""
    if not path:
        return False
    question = [path, "-c", "import sys, venv; sys.exit(sys.version_info < (3, 12))"]
    return subprocess.run(question, capture_output=True, check=False).returncode == 0


def run(what: Run) -> Outcome:
    """All labels."""
    folder = source(what.requirements, what.python)
    places = [folder, folder / "tests", HERE, ROOT / "python/src"]
    with what.store() as url:
        environment = dict(
            os.environ,
            PYTHONPATH=os.pathsep.join(map(str, places)),
            PYTHONDONTWRITEBYTECODE="1",
            SESSILE_URL=url,
            SESSILE_TEST_MIDDLEWARE=what.middleware,
        )
        if server_bin() != RIVALS:
            environment["SESSILE_SERVER_BIN"] = server_bin()
        command = [what.python, "runtests.py", "--settings=session_settings", "--parallel=1"]
        done = subprocess.run(
            [*command, "--verbosity=2", "--noinput", *what.labels],
            cwd=folder / "tests",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=SECONDS,
        )
    return judge(what, done.returncode, done.stdout)


def judge(what: Run, status: int, output: str) -> Outcome:
    """Django's verdict, but for what is excluded."""
    counted = re.search(r"^Ran (\d+) tests? in", output, re.MULTILINE)
    ran = int(counted.group(1)) if counted else 0
    skips = Counter(row[1] for row in re.findall(SKIP, output, re.MULTILINE))
    failed = failed_tests(output)
    problem = ""
    if unexpected := failed - what.excluded.keys():
        problem = f"{len(unexpected)} failed: {', '.join(sorted(unexpected))}"
    elif unused := {name for name in what.excluded if ran_in(name, what)} - failed:
        problem = f"excluded, but passed: {', '.join(sorted(unused))}"
    elif not counted or (status and not failed):
        problem = f"exit status {status}"
    elif ran - skips.total() < what.at_least:
        problem = f"only {ran - skips.total()} tests ran, at least {what.at_least} must"
    return Outcome(what.name, ran, skips, problem, output)


def ran_in(name: str, what: Run) -> bool:
    """Whether a test is among those of a run."""
    return any(f"{name}.".startswith(f"{label}.") for label in what.labels)


def main(arguments: Sequence[str]) -> int:
    """Exit 0 if all that isn't excluded passed, in each run."""
    chosen = runs(whole="--all" in arguments)
    for requirements, python in {one.requirements: one.python for one in chosen}.items():
        source(requirements, python)
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(run, chosen))
    for outcome in outcomes:
        if outcome.problem:
            print(f"==== {outcome.name}: {outcome.problem}\n{outcome.output}")
    for outcome in outcomes:
        ran = outcome.ran - outcome.skips.total()
        print(
            f"Django {outcome.name}: {ran} ran, {outcome.problem or 'all passed but the excluded'}"
        )
    if not any(one.requirements == NEWER for one in chosen):
        print("Django 6: not run, it needs Python 3.12 or later and none was found")
    for name, reason in EXCLUDED_NEWER.items():
        print(f"    excluded: {name}: {reason}")
    failed = [outcome.name for outcome in outcomes if outcome.problem]
    total = sum(outcome.ran - outcome.skips.total() for outcome in outcomes)
    print(f"Django on sessile.django: {total} tests,", f"failed: {failed}" if failed else "passed")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (StartError, subprocess.SubprocessError) as problem:
        sys.exit(f"error: {problem}")
