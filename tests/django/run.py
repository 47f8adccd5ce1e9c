"""Runs Django's own session and cache tests, from its source archive, against the store.

For each of RedisCache, PyMemcacheCache and PyLibMCCache: all of `sessions_tests` with that cache
as the default, and that backend's class of cache tests. What always holds: the archive is the
one whose hash stands in requirements.txt; any failure, error or unexpectedly small number of
tests fails the run; tests that Django skips are printed with Django's reasons. Each backend has
a store of its own. The server is chosen as in tools/servers.py. Run it with the Python that has
tests/requirements.txt.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from servers import StartError, Store  # noqa: E402

BUILD = ROOT / "build/django"
SECONDS = 60 * 60
TESTS_AT_LEAST = 690
CACHE_TESTS = {"redis": "RedisCacheTests", "pymemcache": "PyMemcacheCacheTests"}
CACHE_TESTS["pylibmc"] = "PyLibMCCacheTests"
SKIP = r"""\.\.\. skipped (["'])(.*)\1$"""


@dataclass(frozen=True)
class Outcome:
    """One run of Django's runner."""

    name: str
    ran: int
    skips: Counter[str]
    problem: str
    output: str


def source(requirements: Path = HERE / "requirements.txt", python: str = sys.executable) -> Path:
    """The unpacked archive; downloads it where it isn't there yet.

    pip verifies the hash. It must be the pip of a Python that this Django runs on.
    """
    requirement = requirements.read_text()
    version = re.search(r"^Django==(\S+)", requirement, re.MULTILINE).group(1)
    folder = BUILD / f"django-{version}"
    if (folder / "tests/runtests.py").exists():
        return folder
    BUILD.mkdir(parents=True, exist_ok=True)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    kind = ["--no-binary", "Django", "--no-deps", "--require-hashes"]
    where = ["-d", str(BUILD), "-r", str(requirements)]
    subprocess.run([*pip, "download", "-q", *kind, *where], check=True)
    (archive,) = BUILD.glob(f"[dD]jango-{version}.tar.gz")
    with tarfile.open(archive) as tar:
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(BUILD, **safe)
    return folder


def run(name: str, labels: list[str]) -> Outcome:
    """Runs Django's tests of these labels with the named backend as the default cache."""
    folder = source()
    with Store() as store:
        environment = dict(
            os.environ,
            PYTHONPATH=os.pathsep.join([str(folder), str(folder / "tests"), str(HERE)]),
            PYTHONDONTWRITEBYTECODE="1",
            SESSILE_TEST_HOST=store.host,
            SESSILE_TEST_PORT=str(store.port),
            SESSILE_TEST_MEMCACHED_PORT=str(store.memcached_port),
            SESSILE_TEST_DEFAULT=name,
        )
        command = [sys.executable, "runtests.py", "--settings=settings", "--parallel=1"]
        command += ["--verbosity=2", "--noinput", *labels]
        done = subprocess.run(
            command,
            cwd=folder / "tests",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=SECONDS,
        )
        alive = store.alive()
    return judge(name, done.returncode, done.stdout, alive)


def judge(name: str, status: int, output: str, alive: bool) -> Outcome:
    """Reads Django's verdict, and doubts it when too few tests ran."""
    counted = re.search(r"^Ran (\d+) tests? in", output, re.MULTILINE)
    ran = int(counted.group(1)) if counted else 0
    skips = Counter(row[1] for row in re.findall(SKIP, output, re.MULTILINE))
    problem = ""
    if status:
        verdict = re.search(r"^FAILED \(.*\)$", output, re.MULTILINE)
        problem = verdict.group(0) if verdict else f"exit status {status}"
    elif not alive:
        problem = "the server died"
    elif ran - skips.total() < TESTS_AT_LEAST:
        problem = f"only {ran - skips.total()} tests ran, at least {TESTS_AT_LEAST} must"
    return Outcome(name, ran, skips, problem, output)


def backend(name: str) -> Outcome:
    """Sessions and cache tests of one backend."""
    labels = ["sessions_tests", f"cache.tests.{CACHE_TESTS[name]}"]
    return run(name, labels)


def main() -> int:
    """Exit 0 if every test that Django ran passed, for every backend."""
    source()
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(backend, CACHE_TESTS))
    for outcome in outcomes:
        if outcome.problem:
            print(f"==== {outcome.name}: {outcome.problem}\n{outcome.output}")
    for outcome in outcomes:
        ran = outcome.ran - outcome.skips.total()
        print(f"{outcome.name}: {ran} ran, {outcome.problem or 'all passed'}")
        for reason, count in sorted(outcome.skips.items()):
            print(f"    {count} skipped by Django: {reason}")
    failed = [outcome.name for outcome in outcomes if outcome.problem]
    total = sum(outcome.ran - outcome.skips.total() for outcome in outcomes)
    print(f"Django's own suites: {total} tests", f"failed with {failed}" if failed else "passed")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (StartError, subprocess.SubprocessError) as problem:
        sys.exit(f"error: {problem}")
