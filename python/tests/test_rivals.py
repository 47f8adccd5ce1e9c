"""What other engines of sessions promise, asked of the unmodified packages: see rivals.py.

An engine that does better than docs/guarantees.md says fails here just as one that does worse.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis
from django.core.management import call_command
from django.test import override_settings

import django_site
from rivals import ANSWERS, RIVALS, Question, Rival, rival_at
from servers import Store, free_port

DATABASE = 9
Check = Callable[[Rival], bool]
CASES = [
    (question, name)
    for question, both in ANSWERS.items()
    for name in RIVALS
    if name in set.union(*both)
]


@pytest.fixture
def server(redis_server: Store) -> Iterator[redis.Redis[bytes]]:
    """A database of its own on the redis-server, and tables for sessions."""
    django_site.users()
    with override_settings(INSTALLED_APPS=["django.contrib.sessions"]):
        call_command("migrate", "sessions", verbosity=0)
        with redis.Redis(port=redis_server.port, db=DATABASE) as server:
            server.flushdb()
            yield server


def begun(rival: Rival) -> str:
    """The cookie of a session that holds something."""
    session = rival.open()
    session["cart"] = {"apple": 1}
    cookie = rival.close(session)
    assert cookie
    assert rival.open(cookie).get("cart") == {"apple": 1}
    return cookie


def merge(rival: Rival) -> bool:
    cookie: str | None = begun(rival)
    one, other = rival.open(cookie), rival.open(cookie)
    one["left"], other["right"] = one.get("left", 1), other.get("right", 2)
    for session in (one, other):
        cookie = rival.close(session)
    after = rival.open(cookie)
    return (after.get("left"), after.get("right")) == (1, 2)


def nested(rival: Rival) -> bool:
    session = rival.open(begun(rival))
    session["cart"]["pear"] = 2
    return rival.open(rival.close(session)).get("cart") == {"apple": 1, "pear": 2}


def revival(rival: Rival) -> bool:
    cookie = begun(rival)
    late, leaving = rival.open(cookie), rival.open(cookie)
    late["late"] = late.get("late", 1)
    rival.sign_out(leaving)
    rival.close(leaving)
    rival.close(late)
    return rival.open(cookie).get("cart") is None


def race(rival: Rival) -> bool:
    cookie = begun(rival)
    late = rival.open(cookie)
    late["late"] = late.get("late", 1)

    def sign_out() -> None:
        leaving = rival.open(cookie)
        rival.sign_out(leaving)
        rival.close(leaving)

    done: list[None] = []
    with rival.before_write(lambda: done.append(sign_out())):
        rival.close(late)
    if not done:
        # It writes in one step: before that step it hasn't looked, so this is all that is left.
        return revival(rival)
    return rival.open(cookie).get("cart") is None


def sign_out(rival: Rival) -> bool:
    cookie = begun(rival)
    session = rival.open(cookie)
    rival.sign_out(session)
    rival.close(session)
    return rival.open(cookie).get("cart") is None


def fixation(rival: Rival) -> bool:
    cookie = begun(rival)
    session = rival.open(cookie)
    rival.sign_in(session)
    after = rival.close(session)
    assert rival.open(after).get("user") == "ada"
    return rival.open(cookie).get("user") is None


def adoption(rival: Rival) -> bool:
    chosen = "a" * 32
    session = rival.open(chosen)
    session["cart"] = {"apple": 1}
    cookie = rival.close(session)
    assert rival.open(cookie).get("cart")
    return cookie != chosen and rival.open(chosen).get("cart") is None


def idle(rival: Rival) -> bool:
    session = rival.open()
    session["cart"] = {"apple": 1}
    cookie, until = rival.close(session), time.monotonic() + 20
    while rival.open(cookie).get("cart") is not None:
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def ids(rival: Rival) -> bool:
    cookie = begun(rival)
    stored = rival.stored()
    assert stored
    return cookie.encode() not in stored


def values(rival: Rival, flag: Path) -> bool:
    cookie = begun(rival)
    rival.plant(flag)
    with suppress(Exception):
        rival.open(cookie).get("cart")
    return not flag.exists()


def outage(rival: Rival, cookie: str) -> bool:
    try:
        return rival.open(cookie).get("cart") is not None
    except Exception:
        return True


CHECKS: dict[Question, Check] = {
    Question.MERGE: merge,
    Question.NESTED: nested,
    Question.REVIVAL: revival,
    Question.RACE: race,
    Question.SIGN_OUT: sign_out,
    Question.FIXATION: fixation,
    Question.ADOPTION: adoption,
    Question.IDLE: idle,
    Question.IDS: ids,
}


@pytest.mark.parametrize(("question", "name"), CASES, ids=lambda it: getattr(it, "name", it))
def test_what_others_promise(
    server: redis.Redis[bytes], question: Question, name: str, tmp_path: Path
) -> None:
    with rival_at(name, server, age=1 if question is Question.IDLE else 3600) as rival:
        if question is Question.VALUES:
            found = values(rival, tmp_path / "executed")
        elif question is Question.OUTAGE:
            cookie = begun(rival)
            with (
                redis.Redis(port=free_port(), db=DATABASE) as nobody,
                rival_at(name, nobody) as gone,
            ):
                found = outage(gone, cookie)
        else:
            found = CHECKS[question](rival)
    yes, no = ANSWERS[question]
    assert (name in yes, name in no) == (found, not found)
