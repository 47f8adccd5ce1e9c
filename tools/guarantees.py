"""Writes docs/guarantees.md: what each engine promises, each cell with the test that proves it.

    python tools/guarantees.py [--check | --ran REPORT...]

What engines promise is read from the engines themselves (`promises`, the list is
sessile.promises), and the proofs from the tests that pytest finds (`pytest.mark.proves`). What
always holds: a promise that an engine declares and no test proves for it is an error, and so is
a named proof of what an engine doesn't declare; nothing is written then. `--check` writes nothing
and fails if the page isn't what would be written.

It runs no tests. `--ran` reads what pytest reported of a run (JUnit's XML) and fails unless each
test behind the page ran and passed; those that lose servers only if the report of such a run is
among them. tools/suites.py does so at the end of `make test` and `make test-all`.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import xml.etree.ElementTree as xml
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/guarantees.md"
TESTS = ROOT / "python/tests"
sys.path[:0] = [str(ROOT / "python/src"), str(TESTS)]

from sessile.promises import Promise  # noqa: E402
from sessile.urls import open_async_engine, open_engine  # noqa: E402

COLUMNS = {
    "sessile": "sessile://h",
    "embedded": "embedded:/d",
    "redis": "redis://h",
    "redis_noscript": "redis://h",
    "sentinel": "redis+sentinel://h/group",
    "cluster": "redis+cluster://h",
    "memcached": "memcached://h",
    "file": "file:///f",
    "memory": "memory:",
}
"""Stores of the contract tests (python/tests/stores.py), and a URL of the engine on each."""
AS_REDIS = {Promise.OUTAGE: {"redis_noscript": "redis"}}
"""Stores whose proof is another's: the same server, and what doesn't depend on scripts."""
Proofs = dict[tuple[Promise, str], str]
TEXT = """# What each store guarantees

Made by `make guarantees` from what the engines declare (`promises`, listed in
python/src/sessile/promises.py) and from the tests that prove it. A declared promise without a test
is an error, and a test fails where this page is out of date. In words: sessions-semantics.md.

{table}

A dash: the engine promises nothing of the kind. Where a server is somebody else's to set up
(`sessile`, `redis`, `sentinel`, `cluster`), its settings say whether sessions survive its restart
(durability.md), so the engine promises nothing. `redis_noscript` is Redis for a user who may run no
scripts. Valkey has the same engine as Redis; the tests run on redis-server. `unix://` is `sessile`
by another way. `memory` lives and dies with its process. A store whose settings let it evict (any
`maxmemory-policy` but `noeviction`) signs people out when it's full, and memcached always does:
sessions-semantics.md.

## The tests

By the numbers in the table, in python/tests, with STORE for the column. `make test` runs them and
ends with an error unless each of them ran and passed, but for those in which a primary is lost: of
these the same holds in `make test-all`.

{tests}

## Other engines of sessions

The same questions to unmodified packages as their own documentation sets them up, and to
`sessile.django` on `redis://`. Each answer is what a test finds, which fails if one isn't so any
more, for better or worse: `test_rivals.py::{rivals}`.

{others}

A dash: it makes no sense there, or no test asks. Of `cached_db` the cache is gone in the last row.
Flask-Session changes an id only if the app calls its `regenerate`. Whether overlapping requests
lose updates under real application servers is counted by `make lost-updates`. When the framework's
own sessions are enough: sessions-semantics.md.
"""
OTHERS = "test_what_others_promise"


class Finder:
    """A plugin of pytest that takes down what the tests say that they prove."""

    def __init__(self) -> None:
        self.proofs: Proofs = {}
        self.named: set[tuple[Promise, str]] = set()
        self.every: dict[tuple[Promise, str], set[str]] = {}
        """All tests of a promise, of which the page names one."""
        self.others: set[str] = set()
        """The tests of other engines of sessions."""
        self.fleet: set[str] = set()
        """Tests that lose servers, which only `make test-all` runs."""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            name = item.nodeid.rpartition("tests/")[2]
            if item.get_closest_marker("fleet"):
                self.fleet.add(name)
            if f"::{OTHERS}[" in name:
                self.others.add(name)
            for mark in item.iter_markers("proves"):
                promise, *stores = mark.args
                if not stores:
                    bench: str = item.callspec.params["bench"]  # type: ignore[attr-defined]
                    stores = [bench.rpartition("-")[0]]
                else:
                    self.named |= {(promise, store) for store in stores}
                for store in stores:
                    self.proofs.setdefault((promise, store), name)
                    self.every.setdefault((promise, store), set()).add(name)


def declared(store: str) -> frozenset[Promise]:
    """What the engine of a store promises; both faces have to say the same."""
    url = COLUMNS[store]
    found = open_engine(url).promises
    if found != open_async_engine(url).promises:
        raise SystemExit(f"error: {store}: the synchronous engine and the other differ")
    return frozenset(found)


def proofs() -> Finder:
    """What the tests of the package prove."""
    finder = Finder()
    os.environ.pop("PYTEST_ADDOPTS", None)  # all tests, whatever a run was narrowed to
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        arguments = ["--collect-only", "-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
        status = pytest.main([*arguments, str(TESTS)], plugins=[finder])
    if status:
        raise SystemExit(f"error: the tests can't be collected\n{said.getvalue()[-2000:]}")
    return finder


def page(promises: dict[str, frozenset[Promise]], found: Finder) -> str:
    """The page; SystemExit if a promise has no proof, or a proof no promise."""
    wrong = [
        f"{store} doesn't declare {promise.name}, which a test proves"
        for promise, store in sorted(found.named, key=str)
        if promise not in promises.get(store, frozenset())
    ]
    numbers: dict[str, int] = {}
    rows = [["guarantee", *promises], ["---"] * (1 + len(promises))]
    for promise in Promise:
        row = [promise.value]
        for store, of_store in promises.items():
            by = AS_REDIS.get(promise, {}).get(store, store)
            test = found.proofs.get((promise, by))
            if promise not in of_store:
                row.append("-")
            elif test is None:
                wrong.append(f"{store} declares {promise.name}, and no test proves it")
            else:
                test = test.replace(f"[{by}-", "[STORE-")
                row.append(f"yes ({numbers.setdefault(test, len(numbers) + 1)})")
        rows.append(row)
    if wrong:
        raise SystemExit("error: " + "\nerror: ".join(wrong))
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    tests = "\n".join(f"{number}. `{test}`" for test, number in numbers.items())
    return TEXT.format(table=table, tests=tests, rivals=OTHERS, others=others())


def others() -> str:
    """The table of other engines."""
    from rivals import ANSWERS, RIVALS  # it sets up Django

    lines = [["", *RIVALS], ["---"] * (1 + len(RIVALS))]
    for question, (yes, no) in ANSWERS.items():
        answers = ["yes" if name in yes else "**no**" if name in no else "-" for name in RIVALS]
        lines.append([question.value, *answers])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def outcomes(report: Path) -> dict[str, str]:
    """What became of each test of a run: `passed`, or the word of JUnit for what did."""
    found: dict[str, str] = {}
    for case in xml.parse(report).iter("testcase"):
        test = f"{case.attrib['classname'].rpartition('.')[2]}.py::{case.attrib['name']}"
        bad = [part.tag for part in case if part.tag in ("failure", "error", "skipped")]
        found[test] = bad[0] if bad else found.get(test, "passed")
    return found


def behind(promises: dict[str, frozenset[Promise]], found: Finder) -> set[str]:
    """All tests that the page stands on."""
    tests = set(found.others)
    for store, of_store in promises.items():
        for promise in of_store:
            by = AS_REDIS.get(promise, {}).get(store, store)
            tests |= found.every.get((promise, by), set())
    return tests


def check_run(reports: Sequence[str]) -> int:
    """Says of a run whether it shows what the page says; the exit status."""
    ran: dict[str, str] = {}
    for report in map(Path, reports):
        if not report.exists():
            print(f"docs/guarantees.md isn't shown by this run: there is no {report}")
            return 1
        ran |= outcomes(report)
    found = proofs()
    tests = behind({store: declared(store) for store in COLUMNS}, found)
    wrong = unproven(tests, found.fleet, ran)
    for line in wrong:
        print(f"docs/guarantees.md isn't shown by this run: {line}")
    wanted = tests if found.fleet & ran.keys() else tests - found.fleet
    print(f"{len(wanted) - len(wrong)} of {len(wanted)} tests behind docs/guarantees.md passed")
    return 1 if wrong else 0


def unproven(tests: set[str], fleet: set[str], ran: dict[str, str]) -> list[str]:
    """The tests that didn't pass; those that lose servers only if any of them ran."""
    wanted = tests if fleet & ran.keys() else tests - fleet
    wrong = {test: ran.get(test, "did not run") for test in sorted(wanted)}
    return [f"{test}: {outcome}" for test, outcome in wrong.items() if outcome != "passed"]


def main(arguments: list[str]) -> int:
    """Writes the page, checks it, or checks a run; the exit status."""
    if arguments[:1] == ["--ran"]:
        return check_run(arguments[1:])
    text = page({store: declared(store) for store in COLUMNS}, proofs())
    if "--check" not in arguments:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        print("docs/guarantees.md is out of date: make guarantees")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
