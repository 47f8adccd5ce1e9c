"""Runs the suites behind `make test` and `make lint`, and says at the end what each one said.

`suites.py test`, or the name of another of GROUPS, runs all of a group, `suites.py test clients
django` only those suites. What always holds: a suite that is named but can't run is a failure,
never a silent skip; the exit status is 0 only if every suite passed; the closing table has one line
per suite with the last line that its own runner printed. Cargo's suites run first and alone (they
use every core), the others two at a time with servers of their own, their output kept until they
end. A suite that judges what others reported comes last, and never judges an older report.

The server under test is SESSILE_SERVER_BIN, or else the `quick` profile, built here first.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

if sys.version_info < (3, 10):
    sys.exit("error: Python 3.10 or newer is needed: make test PYTHON=python3.x")

import native
from servers import RIVALS, ROOT, target_dir
from setup_venv import SetupError, ensure, say

LOGS = ROOT / "build/logs"
SECONDS = 90 * 60
AT_ONCE = 2
PY = "{python}"
NATIVE = ("--manifest-path", "python/Cargo.toml")
PYTEST = (PY, "-m", "pytest", "-q")
MYPY = (PY, "-m", "mypy", "--config-file", "python/pyproject.toml", "--cache-dir", "build/mypy")
REPORT = "--junitxml=build/logs/{}.xml"


@dataclass(frozen=True)
class Suite:
    """One command. `alone` streams its output and shares the machine with nobody; one with
    `after` runs when those suites have ended, which run whenever it does."""

    name: str
    command: tuple[str, ...]
    alone: bool = False
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """How a suite ended: exit status, seconds, and its runner's closing line."""

    suite: Suite
    status: int
    seconds: float
    closing: str


def guarantees(*of: str) -> Suite:
    """Whether the tests behind docs/guarantees.md passed in these suites."""
    reports = [f"build/logs/{name}.xml" for name in of]
    return Suite("guarantees", (PY, "tools/guarantees.py", "--ran", *reports), after=of)


TESTS = [
    Suite("cargo", ("cargo", "test", "--workspace", "--locked"), alone=True),
    Suite("edges", (PY, "tools/house.py", "--only", "edges")),
    Suite("tools", (*PYTEST, "tools/tests")),
    Suite("python", (*PYTEST, "-m", "not fleet", REPORT.format("python"), "python/tests")),
    Suite("clients", (*PYTEST, "tests/clients")),
    Suite("django", (PY, "tests/django/run.py")),
    Suite("django-sessions", (PY, "tests/django/sessions.py")),
    Suite("shop", (*PYTEST, "demo/tests")),
    Suite("transcripts", (PY, "tests/transcripts/run.py")),
    Suite("hostile", (PY, "tests/hostile/run.py")),
    Suite("durable", (*PYTEST, "tests/durable")),
    Suite("admin", (*PYTEST, "tests/admin", "tests/bench")),
    Suite("pythons", (PY, "tests/pythons/run.py", "--ends")),
    Suite("archives", (*PYTEST, "--timeout=600", "-m", "not builds", "tests/archives")),
]
TEST = [*TESTS, guarantees("python")]
ALL = [
    *(suite for suite in TESTS if suite.name not in ("pythons", "django-sessions")),
    Suite("django-sessions", (PY, "tests/django/sessions.py", "--all")),
    Suite("python-fleet", (*PYTEST, "-m", "fleet", REPORT.format("python-fleet"), "python/tests")),
    Suite("pythons", (PY, "tests/pythons/run.py")),
    Suite("archives-builds", (*PYTEST, "--timeout=0", "-m", "builds", "tests/archives")),
    guarantees("python", "python-fleet"),
]
LINT = [
    Suite("house", (PY, "tools/house.py")),
    Suite("ruff", (PY, "-m", "ruff", "check", "-q", ".")),
    Suite("ruff-format", (PY, "-m", "ruff", "format", "--check", ".")),
    Suite("mypy", (*MYPY, "python/src")),
    Suite("rustfmt", ("cargo", "fmt", "--all", "--check"), alone=True),
    Suite(
        "clippy",
        ("cargo", "clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"),
        alone=True,
    ),
    Suite("rustfmt-native", ("cargo", "fmt", *NATIVE, "--check"), alone=True),
    Suite(
        "clippy-native",
        ("cargo", "clippy", *NATIVE, "--locked", "--", "-D", "warnings"),
        alone=True,
    ),
]
CRASH = [Suite("crash", (PY, "tests/durable/crash.py"), alone=True)]
POWERLOSS = [Suite("powerloss", (PY, "tests/durable/power.py"), alone=True)]
STARTS = [
    Suite(
        "python-starts",
        (
            *PYTEST,
            "--timeout=0",
            "-rP",
            "-k",
            "start_at_once or under_load",
            "python/tests/test_embedded.py",
        ),
    ),
]
CANCELLATIONS = [
    Suite(
        "python-cancellations",
        (
            *PYTEST,
            "--timeout=0",
            "python/tests/test_cancellation.py",
            "python/tests/test_cancellation_points.py",
        ),
    ),
]
ROLLING = [
    Suite("python-rolling", (*PYTEST, "-s", "--timeout=0", "python/tests/test_rolling.py")),
]
GROUPS = {
    "test": TEST,
    "test-all": ALL,
    "crash": CRASH,
    "powerloss": POWERLOSS,
    "starts": STARTS,
    "cancellations": CANCELLATIONS,
    "rolling": ROLLING,
    "lint": LINT,
}


def run_group(group: str, only: Sequence[str]) -> bool:
    """Runs the suites of a group; True if all passed."""
    known = {suite.name: suite for suite in GROUPS[group]}
    unknown = [name for name in only if name not in known]
    if unknown:
        raise SetupError(f"no suite {unknown[0]!r}; there are {', '.join(known)}")
    wanted = {*only, *(name for asked in only for name in known[asked].after)}
    suites = [suite for name, suite in known.items() if not only or name in wanted]
    environment, python = prepare(group, suites)
    LOGS.mkdir(parents=True, exist_ok=True)

    def one(suite: Suite) -> Result:
        return run(suite, python, environment)

    results = [one(suite) for suite in suites if suite.alone]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results += pool.map(one, [suite for suite in suites if not (suite.alone or suite.after)])
    results += [one(suite) for suite in suites if suite.after]
    report(group, results)
    return all(result.status == 0 for result in results)


def prepare(group: str, suites: Sequence[Suite]) -> tuple[dict[str, str], str]:
    """The environment of the suites and the interpreter they use; builds what they need."""
    python = ensure("demo", "tests", "python")
    environment = dict(os.environ, PYTHONUNBUFFERED="1", PYTHONDONTWRITEBYTECODE="1")
    needs_server = group != "lint" and any(suite.command[0] != "cargo" for suite in suites)
    if needs_server and "SESSILE_SERVER_BIN" not in environment:
        build = ["cargo", "build", "--profile", "quick", "--locked", "-p", "sessile-server"]
        if subprocess.run(build, cwd=ROOT, check=False).returncode:
            raise SetupError("the server does not build, see above")
        environment["SESSILE_SERVER_BIN"] = str(target_dir() / "quick" / "sessile")
    if any(suite.name.startswith("python") for suite in suites):
        if not native.build():
            raise SetupError("the native module of the Python package does not build, see above")
        environment["SESSILE_NATIVE"] = "1"
    if needs_server and environment["SESSILE_SERVER_BIN"] == RIVALS:
        say("testing redis-server and memcached instead of our own server")
    return environment, python


def run(suite: Suite, python: str, environment: dict[str, str]) -> Result:
    """Runs one suite, keeps its output in build/logs, shows it when it ran alone or failed."""
    command = [part.replace(PY, python) for part in suite.command]
    say(f"{suite.name}: {' '.join(suite.command).replace(PY, 'python')}")
    log = LOGS / f"{suite.name}.log"
    log.with_suffix(".xml").unlink(missing_ok=True)
    began = time.monotonic()
    status = missing(command)
    if status:
        log.write_text(f"cannot run: {status}\n")
        code = 127
    else:
        code = execute(command, log, environment, show=suite.alone)
    text = log.read_text(errors="replace")
    if code and not suite.alone:
        print(
            f"\n==== {suite.name} failed ====\n{text}\n==== end of {suite.name} ====\n", flush=True
        )
    return Result(suite, code, time.monotonic() - began, closing_line(suite, text))


def missing(command: Sequence[str]) -> str:
    """Names what the command needs and the machine or checkout has not."""
    if not shutil.which(command[0]):
        return f"{command[0]} is not installed"
    for part in command[1:]:
        if part.endswith(".py") and not (ROOT / part).exists():
            return f"{part} does not exist"
    return ""


def execute(command: list[str], log: Path, environment: dict[str, str], show: bool) -> int:
    """Exit status of the command; its output goes to the log, and to the terminal if `show`."""
    with (
        log.open("wb") as sink,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if show else sink,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
                sink.write(line)
            return process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            sink.write(f"\nended after {SECONDS} seconds\n".encode())
            stop(process)
            return 1
        except BaseException:
            stop(process)
            raise


def stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupts a suite, so that it can end the servers it started; kills it when it won't."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()


def closing_line(suite: Suite, text: str) -> str:
    """What the suite's own runner said last; for cargo test, the sum over its binaries."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if suite.name == "cargo":
        results = [line for line in lines if line.startswith("test result:")]
        passed = sum(int(line.split(" passed")[0].split()[-1]) for line in results)
        failed = sum(int(line.split(" failed")[0].split()[-1]) for line in results)
        ignored = sum(int(line.split(" ignored")[0].split()[-1]) for line in results)
        return f"{passed} passed, {failed} failed, {ignored} ignored in {len(results)} binaries"
    return lines[-1] if lines else "(no output)"


def report(group: str, results: Sequence[Result]) -> None:
    """The closing table."""
    print(f"\nmake {group}:")
    for result in results:
        mark = "ok  " if result.status == 0 else "FAIL"
        name, seconds = result.suite.name, result.seconds
        print(f"  {mark} {name:<15} {seconds:6.1f} s  {result.closing[:110]}")
    failed = [result.suite.name for result in results if result.status]
    print(f"{len(results) - len(failed)} of {len(results)} suites passed", end="")
    print(f"; failed: {', '.join(failed)}" if failed else "", flush=True)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if not arguments or arguments[0] not in GROUPS:
        sys.exit(f"usage: suites.py {'|'.join(GROUPS)} [SUITE ...]")
    try:
        sys.exit(0 if run_group(arguments[0], arguments[1:]) else 1)
    except SetupError as problem:
        sys.exit(f"error: {problem}")
    except KeyboardInterrupt:
        sys.exit("\nerror: stopped")
