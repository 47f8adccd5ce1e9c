"""Runs the codec's and the contract's tests under every other Python of this machine.

`run.py` takes each version from 3.10 on that it finds, but for the one that runs it, whose turn is
all other suites; `run.py --ends` only the oldest and the newest of them, and leaves out the
properties of random documents, which take most of the time. Each has a virtual
environment in build/pythons, with what those tests need, at the versions that all tests have. The
native module is one for all (abi3): the one that tools/native.py built.
What always holds: of a version that several installations have, the newest is taken; what fails or
can't be prepared fails the run; versions that were looked for and not found are named.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build/pythons"
REQUIREMENTS = [
    ROOT / f"{folder}/{name}"
    for folder, name in (
        ("demo", "requirements.txt"),
        ("tests", "requirements.txt"),
        ("python", "requirements-test.txt"),
    )
]
PACKAGES = {
    *("pytest", "pytest-timeout", "iniconfig", "packaging", "pluggy", "pygments"),
    *("exceptiongroup", "tomli", "typing_extensions", "async-timeout"),  # pytest's and redis', 3.10
    *("redis", "hiredis", "hypothesis", "sortedcontainers", "markupsafe", "msgspec"),
    *("cryptography", "cffi", "pycparser"),
}
LOOKED_FOR = [(3, minor) for minor in range(10, 15)]
ENGINES = ["memory", "redis", "sessile"]
FILES = ["document", "document_properties", "native", "wire", "contract", "contract_users"]
CHOSEN = ["test_document", "test_native", "test_wire"]
CHOSEN += [f"[{engine}-{face}]" for engine in ENGINES for face in ("sync", "async")]
TESTS_AT_LEAST = 550
SECONDS = 30 * 60


@dataclass(frozen=True)
class Outcome:
    """What came of one Python."""

    version: str
    closing: str
    problem: str
    output: str


def installed() -> dict[tuple[int, int], str]:
    """The Pythons of this machine, by version; the newest of each."""
    names = [shutil.which(f"python3.{minor}") or "" for _, minor in LOOKED_FOR]
    places = [Path("/usr/bin"), Path("/usr/local/bin")]
    names += [str(path) for place in places for path in place.glob("python3.[0-9]*")]
    versions = (Path.home() / ".pyenv/versions").glob("3.*/bin/python")
    found = sorted(
        {(exact, path) for path in (*names, *map(str, versions)) if (exact := ask(path))}
    )
    return {exact[:2]: path for exact, path in found if exact[:2] >= LOOKED_FOR[0]}


def ask(path: str) -> tuple[int, ...]:
    """Its version; nothing if it isn't one that can be used: names alone can be shims."""
    if not path or not re.fullmatch(r"python(3\.\d+)?", Path(path).name):
        return ()
    question = "import ensurepip, sys, venv; print(*sys.version_info[:3])"
    done = subprocess.run([path, "-c", question], capture_output=True, text=True, check=False)
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 else ()


def test(version: tuple[int, int], base: str, marks: Sequence[str]) -> Outcome:
    """Runs the tests under one Python."""
    name = ".".join(map(str, version))
    try:
        return asked(name, prepared(name, base), marks)
    except subprocess.TimeoutExpired as error:
        return Outcome(name, "", f"no end after {SECONDS} seconds", str(error.output))
    except subprocess.CalledProcessError as error:
        return Outcome(name, "", "its environment can't be made", f"{error}\n{error.stderr}")


def asked(name: str, python: str, marks: Sequence[str]) -> Outcome:
    """What pytest says of the chosen tests."""
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", " or ".join(CHOSEN)]
    done = subprocess.run(
        [*command, *marks, *(f"python/tests/test_{file}.py" for file in FILES)],
        cwd=ROOT,
        env=dict(os.environ, SESSILE_NATIVE="1", PYTHONDONTWRITEBYTECODE="1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=SECONDS,
        check=False,
    )
    return judged(name, done.returncode, done.stdout)


def judged(name: str, status: int, output: str) -> Outcome:
    """pytest's verdict; too few tests are none."""
    closing = output.strip().rpartition("\n")[2]
    passed = re.search(r"(\d+) passed", closing)
    ran = int(passed[1]) if passed else 0
    problem = f"exit status {status}" if status else ""
    if not status and ran < TESTS_AT_LEAST:
        problem = f"only {ran} tests passed, at least {TESTS_AT_LEAST} must"
    return Outcome(name, closing, problem, output)


def prepared(name: str, base: str) -> str:
    """The Python of its virtual environment, made where it isn't there or isn't in step."""
    folder = BUILD / name
    python, stamp = folder / "bin/python", folder / "stamp"
    wanted = requirements()
    mark = hashlib.sha256("\n".join([base, *wanted]).encode()).hexdigest()
    if not (stamp.exists() and stamp.read_text() == mark):
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "-q"]
        for command in ([base, "-m", "venv", "--clear", str(folder)], [*pip, "install", *wanted]):
            subprocess.run(command, check=True, capture_output=True, text=True)
        stamp.write_text(mark)
    return str(python)


def requirements() -> list[str]:
    """The lines of the pinned requirements that are about PACKAGES."""
    lines = [line for path in REQUIREMENTS for line in path.read_text().splitlines()]
    found = {line: re.match(r"[\w.-]*", line)[0].lower() for line in lines}
    return sorted(line for line, name in found.items() if name in PACKAGES)


def main(arguments: list[str]) -> int:
    """Exit 0 if all passed."""
    found = installed()
    others = {version: path for version, path in found.items() if version != sys.version_info[:2]}
    marks = ["-m", "not hypothesis"] if arguments else []
    if arguments:
        others = (
            {version: others[version] for version in {min(others), max(others)}} if others else {}
        )
    BUILD.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda one: test(*one, marks), others.items()))
    for outcome in outcomes:
        if outcome.problem:
            print(f"==== Python {outcome.version}: {outcome.problem}\n{outcome.output}")
    for outcome in outcomes:
        print(f"Python {outcome.version}: {outcome.problem or outcome.closing}")
    print(closing_line(outcomes, found))
    return 1 if any(outcome.problem for outcome in outcomes) else 0


def closing_line(outcomes: list[Outcome], found: dict[tuple[int, int], str]) -> str:
    """What was found, what came of it, and what wasn't found."""
    here = sys.version_info[:2]
    said = [f"{one.version} {'FAILED' if one.problem else 'passed'}" for one in outcomes]
    said.append(f"{named([here])} is this one")
    ran = {one.version for one in outcomes}
    left = [version for version in found if version != here and named([version]) not in ran]
    missing = [version for version in LOOKED_FOR if version not in {*found, here}]
    said += [f"there, but not asked: {named(left)}"] if left else []
    said += [f"not found: {named(missing)}"] if missing else []
    return f"Python {'; '.join(said)}"


def named(versions: list[tuple[int, ...]]) -> str:
    return ", ".join(".".join(map(str, version)) for version in versions)


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--ends"]):
        sys.exit("usage: run.py [--ends]")
    sys.exit(main(sys.argv[1:]))
