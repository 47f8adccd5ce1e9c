"""Writes docs/guarantees.md: what each engine promises, each cell with the test that proves it.

    python tools/guarantees.py [--check]

What engines promise is read from the engines themselves (`promises`, the list is
sessile.promises), and the proofs from the tests that pytest finds (`pytest.mark.proves`). What
always holds: a promise that an engine declares and no test proves for it is an error, and so is
a named proof of what an engine doesn't declare; nothing is written then. `--check` writes nothing
and fails if the page isn't what would be written. It runs no tests: `make test-all` does.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/guarantees.md"
TESTS = ROOT / "python/tests"
sys.path[:0] = [str(ROOT / "python/src")]

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
by another way. `memory` lives and dies with its process. The framework's own sessions over a cache
are no engine of ours: sessions-semantics.md says when they are enough.

## The tests

By the numbers in the table, in python/tests, with STORE for the column. Those of `sentinel` and
`cluster` run in `make test-all`, the others in `make test`.

{tests}
"""


class Finder:
    """A plugin of pytest that takes down what the tests say that they prove."""

    def __init__(self) -> None:
        self.proofs: Proofs = {}
        self.named: set[tuple[Promise, str]] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            for mark in item.iter_markers("proves"):
                promise, *stores = mark.args
                if not stores:
                    bench: str = item.callspec.params["bench"]  # type: ignore[attr-defined]
                    stores = [bench.rpartition("-")[0]]
                else:
                    self.named |= {(promise, store) for store in stores}
                for store in stores:
                    test = item.nodeid.rpartition("tests/")[2]
                    self.proofs.setdefault((promise, store), test)


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
    return TEXT.format(table=table, tests=tests)


def main(arguments: list[str]) -> int:
    """Writes the page or checks it; the exit status."""
    text = page({store: declared(store) for store in COLUMNS}, proofs())
    if "--check" not in arguments:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        print("docs/guarantees.md is out of date: make guarantees")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
