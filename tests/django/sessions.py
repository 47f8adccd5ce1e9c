"""Runs Django's own suites, from its source archive, on `SESSION_ENGINE = "sessile.django"`.

On a redis-server of its own, once with Django's SessionMiddleware and once with ours: the
contract of session engines (SessionTestsMixin, sync and async), SessionMiddlewareTests, and the
suites of auth, test client, CSRF, messages and admin, whose every sign-in goes through a session.
What always holds: a failure that EXCLUDED doesn't name fails the run, and so does a name in
EXCLUDED that passes; too few tests fail it too. Run it with the Python of tests/requirements.txt.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.append(str(ROOT / "tools"))

from run import SECONDS, SKIP, Outcome, source  # noqa: E402
from servers import RIVALS, StartError, Store  # noqa: E402

LABELS = [
    "store_contract",
    "message_contract",
    "sessions_tests.tests.SessionMiddlewareTests",
    "auth_tests",
    "test_client",
    "test_client_regress",
    "csrf_tests",
    "messages_tests",
    "admin_views",
]
TESTS_AT_LEAST = 1800
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
FAILED = re.compile(r"^(?:ERROR|FAIL): \S+ \((\S+)\)", re.MULTILINE)


def run(middleware: str) -> Outcome:
    """All labels, with the middleware of `django` or `sessile`."""
    folder = source()
    places = [folder, folder / "tests", HERE, ROOT / "python/src"]
    with Store(command=RIVALS) as store:
        environment = dict(
            os.environ,
            PYTHONPATH=os.pathsep.join(map(str, places)),
            PYTHONDONTWRITEBYTECODE="1",
            SESSILE_URL=store.redis_url,
            SESSILE_TEST_MIDDLEWARE=middleware,
        )
        command = [sys.executable, "runtests.py", "--settings=session_settings", "--parallel=1"]
        done = subprocess.run(
            [*command, "--verbosity=2", "--noinput", *LABELS],
            cwd=folder / "tests",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=SECONDS,
        )
    return judge(middleware, done.returncode, done.stdout)


def judge(middleware: str, status: int, output: str) -> Outcome:
    """Django's verdict, but for what is excluded."""
    counted = re.search(r"^Ran (\d+) tests? in", output, re.MULTILINE)
    ran = int(counted.group(1)) if counted else 0
    skips = Counter(row[1] for row in re.findall(SKIP, output, re.MULTILINE))
    failed = set(FAILED.findall(output))
    problem = ""
    if unexpected := failed - EXCLUDED.keys():
        problem = f"{len(unexpected)} failed: {', '.join(sorted(unexpected))}"
    elif unused := EXCLUDED.keys() - failed:
        problem = f"excluded, but passed: {', '.join(sorted(unused))}"
    elif not counted or (status and not failed):
        problem = f"exit status {status}"
    elif ran - skips.total() < TESTS_AT_LEAST:
        problem = f"only {ran - skips.total()} tests ran, at least {TESTS_AT_LEAST} must"
    return Outcome(f"{middleware}'s middleware", ran, skips, problem, output)


def main() -> int:
    """Exit 0 if all that isn't excluded passed, with both middlewares."""
    source()
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(run, ["django", "sessile"]))
    for outcome in outcomes:
        if outcome.problem:
            print(f"==== {outcome.name}: {outcome.problem}\n{outcome.output}")
    for outcome in outcomes:
        ran = outcome.ran - outcome.skips.total()
        print(f"{outcome.name}: {ran} ran, {outcome.problem or 'all passed but the excluded'}")
    for name, reason in EXCLUDED.items():
        print(f"    excluded: {name}: {reason}")
    failed = [outcome.name for outcome in outcomes if outcome.problem]
    total = sum(outcome.ran - outcome.skips.total() for outcome in outcomes)
    print(f"Django on sessile.django: {total} tests,", f"failed: {failed}" if failed else "passed")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (StartError, subprocess.SubprocessError) as problem:
        sys.exit(f"error: {problem}")
