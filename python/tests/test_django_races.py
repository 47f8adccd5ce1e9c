"""Requests of one browser that overlap, with our middleware and with Django's own.

Each test holds requests at a barrier, between reading the session and answering, so that they
overlap for certain. What always holds afterwards: no update is lost, nobody is signed out who
signed in, nobody is signed in who signed out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from threading import Barrier
from typing import Any

import pytest
from django.test import AsyncClient, Client, override_settings

import django_site
from django_site import DJANGOS, OURS, middleware
from sessile import SessionConflict, SessionUnavailable, session_state
from sessile.django.config import configured

SESSION_COOKIE_AGE = 14 * 86400
"""Django's default."""
pytestmark = pytest.mark.usefixtures("any_site")


class Tabs:
    """Tabs of one browser: they share cookies, and send requests at the same time."""

    def __init__(self, *, own: bool = True) -> None:
        self.own = own
        """Whether the site has our middleware."""
        self.jar: dict[str, str] = {}

    def send(self, path: str, id: str | None = None) -> Any:
        """One request with the cookie as it stands, or with an older one."""
        client = Client(raise_request_exception=False)
        cookie = id or self.jar.get("sessionid")
        if cookie:
            client.cookies["sessionid"] = cookie
        return client.get(path)

    def keep(self, answer: Any) -> Any:
        """Does with an answer's cookie what a browser does."""
        if "sessionid" in answer.cookies:
            value = answer.cookies["sessionid"].value
            if value:
                self.jar["sessionid"] = value
            else:
                self.jar.pop("sessionid", None)
        return answer

    def get(self, path: str) -> Any:
        return self.keep(self.send(path))

    def at_once(self, *paths: str) -> list[Any]:
        """Sends all; none is answered before all have read their session."""
        django_site.gates["tabs"] = Barrier(len(paths))
        joined = [path + ("&" if "?" in path else "?") + "gate=tabs" for path in paths]
        try:
            with ThreadPoolExecutor(len(paths)) as pool:
                return list(pool.map(self.send, joined))
        finally:
            del django_site.gates["tabs"]


@pytest.fixture(params=[OURS, DJANGOS], ids=["ours", "djangos"])
def tabs(request: pytest.FixtureRequest) -> Any:
    with middleware(request.param):
        yield Tabs(own=request.param == OURS)


def user(tabs: Tabs) -> str:
    return str(tabs.get("/read").json()["user"])


def cookies_at_the_end(before: str, answers: list[Any]) -> set[str]:
    """What the browser may have when all have arrived, in each order in which they may."""
    told = [a.cookies["sessionid"].value for a in answers if "sessionid" in a.cookies]
    return {order[-1] for order in permutations(told)} or {before}


def whose(ids: set[str]) -> set[str]:
    """Whom browsers with these cookies are taken for."""
    return {Tabs().send("/read", id).json()["user"] for id in ids}


def test_six_requests_around_a_sign_in_leave_the_browser_signed_in() -> None:
    tabs = Tabs()
    tabs.get("/change")
    before = tabs.jar["sessionid"]
    paths = ["/read", "/change", "/nested?item=pear", "/read", "/say?text=hello"]
    answers = tabs.at_once("/sign_in?name=ada", *paths)
    answers += [tabs.send(path, before) for path in ("/read", "/change", "/nothing")]
    assert answers[0].status_code == 200
    assert {answer.status_code for answer in answers} <= {200, 400, 409}
    ends = cookies_at_the_end(before, answers)
    assert ends == {answers[0].cookies["sessionid"].value}
    assert whose(ends) == {"ada"}


EARLIER = ["/read", "/change", "/nested?item=pear", "/say?text=hello", "/count"]


def test_answers_that_a_sign_in_overtakes_bring_no_old_cookie_back(tabs: Tabs) -> None:
    """Five were answered before the sign-in was, and arrive before or after its answer."""
    tabs.get("/change")
    before = tabs.jar["sessionid"]
    answers = [tabs.send(path) for path in EARLIER]
    answers.append(tabs.send("/sign_in?name=ada"))
    assert {answer.status_code for answer in answers} == {200}
    ends, new = cookies_at_the_end(before, answers), answers[-1].cookies["sessionid"].value
    if tabs.own:
        assert ends == {new}
        assert whose(ends) == {"ada"}
    else:  # what Django's own can't do: it sets the cookie with each save (docs/django.md)
        assert ends == {new, before}
        assert whose({new}) == {"ada"}


def test_six_coroutines_around_a_sign_in_leave_the_browser_signed_in(any_site: Any) -> None:
    async def six() -> tuple[str, list[Any]]:
        first = await AsyncClient().get("/achange")
        before = first.cookies["sessionid"].value

        async def send(path: str) -> Any:
            client = AsyncClient(raise_request_exception=False)
            client.cookies["sessionid"] = before
            return await client.get(path)

        earlier = [await send(path) for path in ("/achange", "/aread", "/achange")]
        paths = ["/asign_in?name=ada&", "/aread?", "/achange?", "/achange?", "/aread?", "/aread?"]
        django_site.meetings["six"] = django_site.Meeting(len(paths))
        try:
            at_once = await asyncio.gather(*[send(f"{path}gate=six") for path in paths])
        finally:
            del django_site.meetings["six"]
        later = [await send(path) for path in ("/aread", "/achange")]
        await configured().async_engine().close()
        return before, [*at_once, *earlier, *later]

    before, answers = asyncio.run(six())
    assert answers[0].status_code == 200
    assert {answer.status_code for answer in answers} <= {200, 400, 409}
    ends = cookies_at_the_end(before, answers)
    assert ends == {answers[0].cookies["sessionid"].value}
    assert whose(ends) == {"ada"}


def test_a_cookie_is_told_again_past_a_tenth_of_its_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """So its end follows the session's; Django's tells it with each save."""
    tabs, now = Tabs(), session_state.now_ms
    tabs.get("/change")
    assert "sessionid" not in tabs.get("/change").cookies
    tenth = SESSION_COOKIE_AGE * 1000 // 10
    for passed in (tenth + 60_000, 2 * tenth + 120_000):
        monkeypatch.setattr(session_state, "now_ms", lambda passed=passed: now() + passed)
        assert "sessionid" not in tabs.get("/read").cookies  # a read writes nothing
        again = tabs.get("/change").cookies["sessionid"]
        assert again["max-age"] == SESSION_COOKIE_AGE
        assert "sessionid" not in tabs.get("/change").cookies


def test_a_lost_renewal_is_told_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the end that the browser still has, and so with one that a failing view answered."""
    tabs, now = Tabs(), session_state.now_ms
    tabs.get("/change")

    def after(part: float) -> None:
        passed = int(SESSION_COOKIE_AGE * 1000 * part)
        monkeypatch.setattr(session_state, "now_ms", lambda: now() + passed)

    after(0.95)
    assert "sessionid" in tabs.send("/change").cookies  # it doesn't arrive
    assert "sessionid" not in tabs.get("/change").cookies
    after(0.96)
    assert "sessionid" in tabs.get("/change").cookies
    after(0.99)
    assert "sessionid" not in tabs.get("/change").cookies


def test_a_failing_view_tells_what_it_saved_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    tabs, now = Tabs(), session_state.now_ms
    tabs.get("/sign_in?name=ada")
    old = tabs.jar["sessionid"]
    assert tabs.get("/save?cycle&status=500").status_code == 500
    assert tabs.jar["sessionid"] != old
    assert tabs.get("/read").json() == {"hits": 1, "user": "ada"}
    assert "sessionid" not in tabs.get("/save?status=500").cookies
    passed = SESSION_COOKIE_AGE * 950
    monkeypatch.setattr(session_state, "now_ms", lambda: now() + passed)
    assert tabs.get("/save?status=500").cookies["sessionid"]["max-age"] == SESSION_COOKIE_AGE
    assert Tabs().get("/save?status=500").cookies["sessionid"].value  # a new one


def test_a_cookie_is_told_again_when_it_ends_otherwise() -> None:
    tabs = Tabs()
    tabs.get("/change")
    for age in (300, 301, 200, 0, 300):
        told = tabs.get(f"/expire?age={age}").cookies["sessionid"]
        assert told["max-age"] == (age or "")
        assert "sessionid" not in tabs.get("/change").cookies
    with override_settings(SESSION_EXPIRE_AT_BROWSER_CLOSE=True):
        tabs = Tabs()
        assert tabs.get("/change").cookies["sessionid"]["max-age"] == ""
        assert "sessionid" not in tabs.get("/change").cookies
    assert tabs.get("/change").cookies["sessionid"]["max-age"] == SESSION_COOKIE_AGE


def test_save_every_request_tells_the_cookie_each_time() -> None:
    """As Django's own contract has it; docs/django.md says what that costs."""
    tabs = Tabs()
    tabs.get("/change")
    with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
        assert "sessionid" in tabs.get("/nothing").cookies


def test_requests_after_a_sign_in_with_the_old_id_change_no_cookie(tabs: Tabs) -> None:
    tabs.get("/change")
    old = tabs.jar["sessionid"]
    tabs.get("/sign_in?name=ada")
    for path in ("/nothing", "/read", "/change", "/nested?item=x", "/say?text=x", "/hear"):
        answer = tabs.send(path, old)
        assert "sessionid" not in answer.cookies, path
        assert "ada" not in answer.content.decode()
    assert user(tabs) == "ada"


def test_a_change_of_what_was_loaded_before_a_sign_in_is_refused(tabs: Tabs) -> None:
    """As docs/django.md has it: 400, and 409 from ours if the session is loaded afterwards."""
    tabs.get("/change")
    old = tabs.jar["sessionid"]
    django_site.gates["late"] = Barrier(2)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(tabs.send, "/change?gate=late")
        tabs_until_read(late, lambda: django_site.gates["late"].n_waiting == 1)
        tabs.get("/sign_in?name=ada")
        django_site.gates["late"].wait(20)
        answer = late.result(20)
    del django_site.gates["late"]
    assert (answer.status_code, "sessionid" in answer.cookies) == (400, False)
    answer = tabs.send("/change", old)
    assert answer.status_code == (409 if tabs.own else 400)
    assert user(tabs) == "ada"


def test_a_double_click_on_sign_in_signs_in(tabs: Tabs) -> None:
    tabs.get("/change")
    for answer in tabs.at_once("/sign_in?name=ada", "/sign_in?name=ada"):
        assert answer.status_code == 200
        tabs.keep(answer)
        assert user(tabs) == "ada"


def test_parallel_changes_all_stay(tabs: Tabs) -> None:
    tabs.get("/nested?item=first")
    fruits = ["apple", "pear", "plum", "fig", "quince"]
    for answer in tabs.at_once(*[f"/nested?item={fruit}" for fruit in fruits]):
        assert answer.status_code == 200
    cart = session(tabs)["cart"]
    assert set(cart) == {"first", *fruits}


def test_parallel_messages_all_stay_and_shown_ones_go(tabs: Tabs) -> None:
    tabs.get("/say?text=one")
    shown, _ = tabs.at_once("/hear", "/say?text=two")
    assert shown.json() == {"heard": ["one"]}
    assert tabs.get("/hear").json() == {"heard": ["two"]}
    assert tabs.get("/hear").json() == {"heard": []}


def test_a_late_save_does_not_undo_a_sign_out(tabs: Tabs) -> None:
    tabs.get("/sign_in?name=ada")
    id = tabs.jar["sessionid"]
    django_site.gates["late"] = Barrier(2)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(tabs.send, "/change?gate=late")
        tabs_until_read(late, lambda: django_site.gates["late"].n_waiting == 1)
        tabs.get("/sign_out")
        django_site.gates["late"].wait(20)
        answer = late.result(20)
    del django_site.gates["late"]
    assert answer.status_code == 400
    assert "sessionid" not in answer.cookies
    assert tabs.send("/read", id).json()["user"] == "AnonymousUser"


REFUSALS = [(SessionConflict("strict"), 409), (SessionUnavailable("down"), 503)]


@pytest.mark.parametrize(("error", "status"), REFUSALS, ids=["conflict", "outage"])
def test_a_refusal_tells_what_was_saved_before(
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    tabs = Tabs()
    tabs.get("/sign_in?name=ada")
    old = tabs.jar["sessionid"]

    def refused(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(configured().engine(), "save", refused)
        answer = tabs.get("/save?cycle&then=more")
        assert answer.status_code == status
        assert answer.cookies["sessionid"]["max-age"] == SESSION_COOKIE_AGE
        assert "sessionid" not in tabs.get("/change").cookies
    assert tabs.jar["sessionid"] != old
    assert tabs.get("/read").json() == {"hits": 1, "user": "ada"}


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_last_save_that_fails_in_another_way_tells_what_was_saved_before(way: str) -> None:
    """What stands in the document then can't be stored: Django's own page, with the cookie."""
    tabs = Tabs()
    tabs.get("/sign_in?name=ada")
    old = tabs.jar["sessionid"]

    async def coroutine(path: str) -> Any:
        client = AsyncClient(raise_request_exception=False)
        client.cookies["sessionid"] = old
        try:
            return await client.get(path)
        finally:
            await configured().async_engine().close()

    send = tabs.send if way == "sync" else lambda path: asyncio.run(coroutine(path))
    answer = send("/save?odd")
    assert (answer.status_code, "sessionid" in answer.cookies) == (500, False)
    answer = tabs.keep(send("/save?cycle&odd"))
    assert (answer.status_code, answer["Cache-Control"]) == (500, "private, no-store")
    assert tabs.jar["sessionid"] != old
    assert tabs.get("/read").json() == {"hits": 2, "user": "ada"}


@pytest.mark.parametrize("status", [200, 500])
def test_an_id_is_told_though_nobody_can_say_how_old_it_gets(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """The view saved a new id without a look at the rest, and then the store was gone."""
    tabs = Tabs()
    tabs.get("/change")
    old = tabs.jar["sessionid"]

    def unreachable(*_: Any, **__: Any) -> None:
        raise SessionUnavailable("down")

    with monkeypatch.context() as patch:
        patch.setattr(configured().engine(), "load", unreachable)
        answer = tabs.get(f"/save?blind&cycle&status={status}")
    assert (answer.status_code, answer.cookies["sessionid"]["max-age"]) == (503, "")
    assert tabs.jar["sessionid"] != old
    assert tabs.get("/read").json()["hits"] == 1


def tabs_until_read(request: Any, there: Callable[[], bool]) -> None:
    """Waits until a request stands at its gate."""
    while not there():
        assert not request.done(), request.result()


def session(tabs: Tabs) -> Any:
    from sessile.django import SessionStore

    return SessionStore(tabs.jar["sessionid"]).load()


def test_an_error_answer_saves_and_rotates_nothing(tabs: Tabs) -> None:
    tabs.get("/change")
    old = dict(tabs.jar)
    assert tabs.get("/change?status=500").status_code == 500
    assert tabs.get("/sign_in?name=ada&status=503").status_code == 503
    assert tabs.jar == old
    assert tabs.get("/read").json() == {"hits": 1, "user": "AnonymousUser"}


def test_grace_lets_requests_in_flight_go_on_without_a_cookie() -> None:
    tabs = Tabs()
    with override_settings(SESSILE_GRACE=10):
        tabs.get("/sign_in?name=ada")
        old = tabs.jar["sessionid"]
        tabs.get("/cycle")
        assert tabs.jar["sessionid"] != old
        late = tabs.send("/change", old)
        assert late.status_code == 200
        assert "sessionid" not in late.cookies
        assert tabs.get("/read").json() == {"hits": 1, "user": "ada"}
        with middleware(DJANGOS):
            assert tabs.send("/read", old).json()["user"] == "ada"
            assert tabs.get("/cycle").status_code == 200
            gone = tabs.send("/change", tabs.jar["sessionid"])
            assert gone.status_code == 200


def test_strict_answers_409() -> None:
    tabs = Tabs()
    with override_settings(SESSILE_STRICT=True):
        tabs.get("/change")
        answers = tabs.at_once("/change", "/nested?item=x")
        assert sorted(answer.status_code for answer in answers) == [200, 409]
