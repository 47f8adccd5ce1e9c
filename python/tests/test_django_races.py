"""Requests of one browser that overlap, with our middleware and with Django's own.

Each test holds requests at a barrier, between reading the session and answering, so that they
overlap for certain. What always holds afterwards: no update is lost, nobody is signed out who
signed in, nobody is signed in who signed out.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.test import Client, override_settings

import django_site
from django_site import DJANGOS, OURS, middleware

pytestmark = pytest.mark.usefixtures("any_site")


class Tabs:
    """Tabs of one browser: they share cookies, and send requests at the same time."""

    def __init__(self) -> None:
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
        yield Tabs()


def user(tabs: Tabs) -> str:
    return str(tabs.get("/read").json()["user"])


def orders(answers: list[Any]) -> list[list[Any]]:
    """Orders in which the answers may arrive: each one first, and each one last."""
    whole = [answers, answers[::-1]]
    return whole + [answers[at:] + answers[:at] for at in range(1, len(answers))]


def test_six_requests_around_a_sign_in_leave_the_browser_signed_in(tabs: Tabs) -> None:
    tabs.get("/change")
    before = dict(tabs.jar)
    paths = ["/read", "/change", "/nested?item=pear", "/read", "/say?text=hello"]
    answers = tabs.at_once("/sign_in?name=ada", *paths)
    answers += [tabs.send(path, before["sessionid"]) for path in ("/read", "/change", "/nothing")]
    assert answers[0].status_code == 200
    assert {answer.status_code for answer in answers} <= {200, 400, 409}
    for order in orders(answers):
        tabs.jar = dict(before)
        for answer in order:
            tabs.keep(answer)
        # What was set by requests that ended before the sign-in is older than its cookie.
        assert user(tabs) == "ada" or tabs.jar["sessionid"] == before["sessionid"]
    changed = [a.cookies["sessionid"].value for a in answers if "sessionid" in a.cookies]
    assert set(changed) <= {before["sessionid"], answers[0].cookies["sessionid"].value}


def test_requests_after_a_sign_in_with_the_old_id_change_no_cookie(tabs: Tabs) -> None:
    tabs.get("/change")
    old = tabs.jar["sessionid"]
    tabs.get("/sign_in?name=ada")
    for path in ("/nothing", "/read", "/change", "/nested?item=x", "/say?text=x", "/hear"):
        answer = tabs.send(path, old)
        assert "sessionid" not in answer.cookies, path
        assert "ada" not in answer.content.decode()
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
