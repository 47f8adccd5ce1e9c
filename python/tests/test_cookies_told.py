"""What a browser is told of its session when a request doesn't go as it should: the store fails for
one read, the view fails after it has written, an answer is lost, an old worker wrote meanwhile.

One app in Flask, Quart and Starlette: a path names what its view does, step by step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Any

import pytest

from counting import Counting
from sessile import session_state
from sessile import settings as settings_module
from sessile.cookies import COOKIE, is_due, note
from sessile.errors import SessionConflict, SessionUnavailable
from sessile.ids import URL_SAFE
from sessile.moving import Moving, Old
from sessile.plans import run
from sessile.session import Session, session_of
from sessile.settings import Settings, read

AGE = 1000
FRAMEWORKS = ["flask", "quart", "starlette"]
Ask = Callable[[str, dict[str, str]], tuple[int, str, list[str]]]


class Hiccups(Counting):
    """A store that fails to answer its next read, or whose next write ends in an error."""

    fails = False
    refuses: Exception | None = None

    def load(self, *args: Any, **options: Any) -> Any:
        if self.fails:
            self.fails = False
            raise SessionUnavailable("a hiccup")
        return self.engine.load(*args, **options)

    def save(self, *args: Any, **options: Any) -> Any:
        if self.refuses is not None:
            error, self.refuses = self.refuses, None
            raise error
        return self.engine.save(*args, **options)


@dataclass
class Browser:
    """A browser that keeps its cookie while that lasts."""

    ask: Ask
    id: str | None = None

    def get(self, path: str, *, lost: bool = False) -> tuple[int, str, str]:
        """Status, what the view read, and the id that it was told; of a `lost` answer it hears
        nothing."""
        headers = {"Cookie": f"session={self.id}"} if self.id else {}
        status, text, cookies = self.ask(f"/{path}", headers)
        told = [morsel for line in cookies for morsel in SimpleCookie(line).values()]
        assert len(told) <= 1
        for morsel in [] if lost else told:
            self.id = morsel.value or None
        return status, text, told[0].value if told else ""

    def user(self) -> str:
        return self.get("read")[1]


def step(session: Any, name: str) -> None:
    """What a view does with its session, but for saving."""
    if name == "sign_in":
        session["user_id"] = session["_user_id"] = "7"
    elif name == "permanent":
        session["_permanent"] = True
    elif name == "set":
        session["x"] = 1
    elif name == "unset":
        del session["x"]
    elif name in ("rotate", "clear"):
        getattr(session, name)()
    elif name in ERRORS:
        told_store().refuses = ERRORS[name]
    elif name == "raise":
        raise RuntimeError("a bug")
    elif name == "give_up":
        raise SessionConflict("found by the view itself")
    elif name == "end":
        told_store().end(*session.state.keys)


ERRORS = {"conflict": SessionConflict("strict"), "outage": SessionUnavailable("down")}
"""How the next write ends, by the name of a step."""


def told_store() -> Any:
    return settings_module.ENGINES["memory:told"]


def flask(**settings: Any) -> Ask:
    from flask import Flask, current_app, session

    from sessile.flask import Sessile

    app = Flask(__name__)
    app.permanent_session_lifetime = timedelta(seconds=AGE)
    Sessile(app, url="memory:told", **settings)

    @app.get("/<page>")
    def view(page: str) -> Any:
        user = session.get("_user_id", "nobody")
        for name in page.split("-"):
            step(session, name)
            if name in ("save", "try"):  # which Flask has no better way to say
                interface: Any = current_app.session_interface
                interface.save_session(current_app, session, current_app.response_class())
        return user, 500 if "fail" in page else 200

    def ask(path: str, headers: dict[str, str]) -> tuple[int, str, list[str]]:
        found = app.test_client(use_cookies=False).get(path, headers=headers)
        return found.status_code, found.text, found.headers.getlist("Set-Cookie")

    return ask


def quart(**settings: Any) -> Ask:
    from quart import Quart, session

    from sessile.quart import Sessile

    app = Quart(__name__)
    app.permanent_session_lifetime = timedelta(seconds=AGE)
    Sessile(app, url="memory:told", **settings)

    @app.get("/<page>")
    async def view(page: str) -> Any:
        user = session.get("_user_id", "nobody")
        for name in page.split("-"):
            step(session, name)
            if name in ("save", "try"):
                with suppress(*([SessionConflict] if name == "try" else [])):
                    await session.save()
        return user, 500 if "fail" in page else 200

    async def asking(path: str, headers: dict[str, str]) -> tuple[int, str, list[str]]:
        found = await app.test_client(use_cookies=False).get(path, headers=headers)
        return found.status_code, await found.get_data(True), found.headers.getlist("Set-Cookie")

    return lambda path, headers: asyncio.run(asking(path, headers))


def starlette(**settings: Any) -> Ask:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    from sessile.starlette import SessionMiddleware

    async def view(request: Any) -> Any:
        session, page = request.session, request.path_params["page"]
        user = session.get("user_id", "nobody")
        for name in page.split("-"):
            step(session, name)
            if name in ("save", "try"):
                with suppress(*([SessionConflict] if name == "try" else [])):
                    await session.save()
        return PlainTextResponse(user, 500 if "fail" in page else 200)

    options = {"url": "memory:told", "dev": True, "max_age": AGE, **settings}
    app = Starlette(
        routes=[Route("/{page}", view)], middleware=[Middleware(SessionMiddleware, **options)]
    )

    def ask(path: str, headers: dict[str, str]) -> tuple[int, str, list[str]]:
        found = TestClient(app, raise_server_exceptions=False).get(path, headers=headers)
        return found.status_code, found.text, found.headers.get_list("set-cookie")

    return ask


APPS = {one.__name__: one for one in (flask, quart, starlette)}


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Hiccups:
    store = Hiccups()
    monkeypatch.setattr("sessile.settings.ENGINES", {"memory:told": store})
    monkeypatch.setattr("sessile.settings.ASYNC_ENGINES", {})
    return store


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Makes it so many seconds after the beginning."""
    start = session_state.now_ms()

    def passes(seconds: float) -> None:
        moment = start + int(seconds * 1000)
        monkeypatch.setattr(session_state, "now_ms", lambda: moment)

    passes(0)
    return passes


# what a request does that couldn't read its session


def test_one_read_that_fails_ends_no_session(framework: str, store: Hiccups) -> None:
    browser = Browser(APPS[framework](read_outage="anonymous"))
    browser.get("sign_in")
    for page in ("permanent", "set-unset", "permanent-set-unset"):
        store.fails = True
        assert browser.get(page) == (200, "nobody", "")
        assert browser.user() == "7"
    store.fails = True
    assert browser.get("rotate")[0] == 503, "it can't be written, and isn't dropped in silence"
    assert browser.user() == "7"


def test_who_signs_out_in_an_outage_is_signed_out_or_hears_of_it(
    framework: str, store: Hiccups
) -> None:
    browser = Browser(APPS[framework](read_outage="anonymous"))
    browser.get("sign_in")
    before = browser.id
    store.fails = True
    assert browser.get("permanent-clear")[0] == 200
    assert browser.id is None
    browser.id = before
    assert browser.user() == "nobody"


# a view that fails


def test_a_failing_view_tells_no_id_that_was_only_picked(
    framework: str, store: Hiccups, passes: Callable[[float], None]
) -> None:
    browser = Browser(APPS[framework]())
    browser.get("sign_in-permanent")
    for now in (0, AGE * 0.9):  # then a cookie is due, too
        passes(now)
        assert browser.get("rotate-fail") == (500, "7", "")
        assert browser.get("fail") == (500, "7", "")
        assert browser.user() == "7"


@pytest.mark.parametrize("framework", ["quart", "starlette"])
def test_a_failing_view_tells_what_it_has_written(framework: str, store: Hiccups) -> None:
    browser = Browser(APPS[framework]())
    for page in ("sign_in-save-fail", "rotate-save-fail", "rotate-save-set-rotate-fail"):
        before = browser.id
        assert browser.get(page)[0] == 500
        assert browser.id not in (before, None)
        assert browser.user() == "7"


@pytest.mark.parametrize(("step", "status"), [("conflict", 409), ("outage", 503)])
def test_a_refusal_tells_what_was_written_before(
    framework: str, store: Hiccups, step: str, status: int
) -> None:
    browser = Browser(APPS[framework]())
    for page in ("sign_in-save-set", "rotate-save-set", "rotate-save-set-rotate-save-unset"):
        before = browser.id
        assert browser.get(f"{page}-{step}")[0] == status
        assert browser.id not in (before, None), page
        assert browser.user() == "7"
    assert not browser.get(f"permanent-{step}")[2], "nothing was written"
    assert browser.user() == "7"


@pytest.mark.parametrize(
    ("rest", "status"), [("set", 409), ("set-try-fail", 500), ("set-try-raise", 500)]
)
def test_an_id_whose_session_has_ended_is_not_told(
    framework: str, store: Hiccups, rest: str, status: int
) -> None:
    """Whichever save finds out: the last one, or the view's own."""
    browser = Browser(APPS[framework]())
    browser.get("sign_in-permanent")
    found = browser.get(f"rotate-save-end-{rest}")
    assert (found[0], found[2]) == (status, "")


@pytest.mark.parametrize(("step", "status"), [("raise", 500), ("give_up", 409)])
def test_a_view_that_raises_tells_what_it_has_written(
    framework: str, store: Hiccups, step: str, status: int
) -> None:
    browser = Browser(APPS[framework]())
    for page in ("sign_in-save", "rotate-save", "set-rotate-save-unset"):
        before = browser.id
        assert browser.get(f"{page}-{step}")[0] == status
        assert browser.id not in (before, None), page
        assert browser.user() == "7"
    assert not browser.get("rotate-raise")[2], "nothing was written"
    assert browser.user() == "7"


@pytest.mark.parametrize("within", [True, False])
def test_what_a_view_raises_reaches_whoever_stands_outside(
    store: Hiccups, passes: Callable[[float], None], within: bool
) -> None:
    """The app's own page of errors goes out with the cookie only where it passes through ours."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    from sessile.starlette import SessionMiddleware

    raised: list[Exception] = []

    async def view(request: Any) -> Any:
        if request.path_params["page"] == "save":
            request.session["user_id"] = "7"
            request.session.incr("x")
            await request.session.save()
        raise RuntimeError("a bug")

    async def page(request: Any, error: Exception) -> Any:
        raised.append(error)
        return PlainTextResponse("sorry", 500)

    options: dict[str, Any] = {"url": "memory:told", "dev": True, "max_age": AGE}
    ours = [Middleware(SessionMiddleware, **options)] if within else []
    routes, handlers = [Route("/{page}", view)], {Exception: page}
    app: Any = Starlette(routes=routes, middleware=ours, exception_handlers=handlers)
    app = app if within else SessionMiddleware(app, **options)
    for path, text in (("/save", "Internal Server Error" if within else "sorry"), ("/x", "sorry")):
        with pytest.raises(RuntimeError, match="a bug"):
            TestClient(app).get(path)
        found = TestClient(app, raise_server_exceptions=False).get(path)
        assert (found.status_code, found.text) == (500, text)
        assert ("session" in found.cookies) == (path == "/save")
    assert len(raised) == 4, "its handler is called in any case"
    client = TestClient(app, raise_server_exceptions=False)
    client.get("/save")
    for now in (AGE * 0.3, AGE * 0.4):  # the same id, whose cookie's end moves
        passes(now)
        assert client.get("/save").text == "sorry"


# answers that are lost


def test_a_lost_renewal_is_told_once_more_before_the_cookie_ends(
    framework: str, store: Hiccups, passes: Callable[[float], None]
) -> None:
    browser = Browser(APPS[framework]())
    browser.get("sign_in-permanent")
    passes(AGE * 0.95)
    assert browser.get("permanent-set", lost=True)[2]
    assert not browser.get("set-unset")[2], "not at once"
    passes(AGE * 0.96)
    assert browser.get("set")[2]
    passes(AGE * 0.99)
    assert not browser.get("unset")[2], "nor more than once"


def test_when_a_cookie_is_told_again() -> None:
    """The end that was noted, and what may be left of the one before."""
    noted = note(b"", 100, 1000)[COOKIE]
    assert (is_due(noted, 100, 1010), is_due(noted, 100, 1011)) == (False, True)
    late = note(noted, 100, 1060)[COOKIE]  # 40 of the earlier end are left
    assert [is_due(late, 100, now) for now in (1060, 1064, 1065)] == [False, False, True]
    again = note(late, 100, 1065)[COOKIE]
    assert [is_due(again, 100, now) for now in (1065, 1075, 1076)] == [False, False, True]
    for plain in (
        note(noted, 100, 1100),  # the earlier one has ended
        note(noted, 100, 1060, fresh=True),  # another id's
        note(b"0", 100, 1060),
    ):
        assert plain[COOKIE].isdigit()
    assert note(late, 0, 1061)[COOKIE] == b"0"
    assert is_due(late, 0, 1061) and not is_due(b"0", 0, 1061)
    # A date stays where it is: told anew it has moved nowhere.
    assert note(late, 99, 1061)[COOKIE] == b"1160"


# an old worker that wrote meanwhile


class Records:
    """An old engine in a dict."""

    carries = False

    def __init__(self) -> None:
        self.there: dict[str, Old] = {}

    def read(self, id: str) -> Old | None:
        return self.there.get(id)

    def write(self, id: str, document: dict[Any, Any], seconds: int, new: bool) -> bool:
        self.there[id] = Old(dict(document))
        return True

    def remove(self, id: str) -> None:
        self.there.pop(id, None)


def mirrored(records: Records, way: Any = "mirror") -> Settings:
    return read(
        {"SESSILE_URL": "memory:told"}.get,
        idle=AGE,
        cookie_age=lambda _: AGE,
        shape=URL_SAFE,
        user_of=lambda document: document.get("user_id", ""),
        moving=Moving(records, way),
    )


@pytest.mark.parametrize("way", ["mirror", "move"])
def test_what_an_old_worker_wrote_takes_no_renewal_away(
    way: str, store: Hiccups, passes: Callable[[float], None]
) -> None:
    records = Records()
    settings = mirrored(records)
    made = session_of(settings)
    made.data["n"] = 1
    run(store, made.finish())
    assert made.id
    old = records.there[made.id]
    records.there[made.id] = old._replace(document={**old.document, "old": 1})
    passes(AGE * 0.95)
    request = session_of(replace(settings, moving=Moving(records, way)), made.id)
    run(store, request.load())
    assert request.data == {"n": 1, "old": 1}
    request.data["n"] = 2
    run(store, request.finish())
    assert request.tells_cookie
    again = Session(settings, made.id)
    run(store, again.load())
    assert again.data == {"n": 2, "old": 1}
    assert not again.cookie_is_due
