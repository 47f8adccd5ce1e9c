"""The security checklist (see checklist.py) where browsers, caches and outages are concerned.

Names of tests begin with the ids of the requirements.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frameworks import LOOKS, browser
from sessile import SessionUnavailable, memcached, redis_url, session_state, urls
from sessile import sessile as sessile_module
from sessile.plans import run
from sessile.session import Session
from sites import FRAMEWORKS, PLACES, Place, Site, place_of, site_of
from stores import World, together
from test_django_security import WAYS

STORES_PAGE = Path(__file__).parents[2] / "docs/sessions-stores.md"
HOUR = 3600


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, world: World) -> Iterator[Place]:
    """Each kind of store behind a proxy."""
    with place_of(request.param, world) as found:
        yield found


@pytest.fixture(params=FRAMEWORKS)
def site(request: pytest.FixtureRequest, place: Place) -> Iterator[Site]:
    """Each framework on each kind of store."""
    with site_of(request.param, place) as found:
        yield found


# The cookies of each framework as they come, and as a careful project has them. Django, Flask and
# Quart obey the framework's settings, of whose defaults `check --deploy` and `doctor` speak.
USUAL = {
    "django": "sessionid=ID; expires=DATE; HttpOnly; Max-Age=1209600; Path=/; SameSite=Lax",
    "flask": "session=ID; HttpOnly; Path=/",
    "quart": "session=ID; HttpOnly; Path=/",
    "starlette": "__Host-session=ID; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=1209600",
}
CAREFUL = {
    "django": "__Host-id=ID; expires=DATE; HttpOnly; Max-Age=1209600; Path=/; SameSite=Lax; Secure",
    "flask": "__Host-id=ID; Secure; HttpOnly; Path=/; SameSite=Lax",
    "quart": "__Host-id=ID; Secure; HttpOnly; Path=/; SameSite=Lax",
    "starlette": "__Host-session=ID; Path=/; HttpOnly; SameSite=Strict; Secure; Max-Age=1209600",
}
SETTINGS = {
    "SESSION_COOKIE_NAME": "__Host-id",
    "SESSION_COOKIE_SECURE": True,
    "SESSION_COOKIE_SAMESITE": "Lax",
}


def cookies_of(framework: str, *, careful: bool) -> list[str]:
    """The cookie that a first change sets, and the one that a sign-out leaves; ids and dates
    stand as ID and DATE."""
    from django.test import override_settings

    config = SETTINGS if careful and framework in ("flask", "quart") else {}
    options: dict[str, Any] = {"dev": False} if framework == "starlette" else {}
    if options and careful:
        options["same_site"] = "strict"
    with (
        override_settings(**(SETTINGS if careful else {})),
        browser(framework, "memory:cookies", config, **options) as found,
    ):
        set_cookie = found.ask("/change", {}).cookie
        name, _, value = set_cookie.partition(";")[0].partition("=")
        # Django's client is given the cookie by its name.
        if framework == "django" and careful:
            return [plain(set_cookie)]
        left = found.ask("/sign_out", {"Cookie": f"{name}={value}"}).cookie
        return [plain(set_cookie), plain(left)]


def plain(cookie: str) -> str:
    cookie = re.sub(r"=[A-Za-z0-9_-]{32,43};", "=ID;", cookie, count=1)
    return re.sub(r"(?i)(expires)=[^;]+ GMT", r"\1=DATE", cookie)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_asvs_3_3_1_asvs_3_3_2_asvs_3_3_3_asvs_3_3_4_the_cookie_as_it_comes(framework: str) -> None:
    made, left = cookies_of(framework, careful=False)
    assert made == USUAL[framework]
    assert "Max-Age=0" in left


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_asvs_3_3_1_asvs_3_3_2_asvs_3_3_3_asvs_3_3_4_the_cookie_of_a_careful_project(
    framework: str,
) -> None:
    made, *left = cookies_of(framework, careful=True)
    assert made == CAREFUL[framework]
    for cookie in (made, *left):  # browsers refuse a __Host- cookie that lacks any of these
        assert cookie.startswith("__Host-")
        assert "Secure" in cookie
        assert "Path=/" in cookie
        assert "Domain" not in cookie


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_asvs_3_3_5_only_the_id_travels(framework: str) -> None:
    with browser(framework, "memory:large") as found:
        assert len(found.get("change").cookie) < 300
        session = Session(found.settings, found.id)
        run(found.settings.engine(), session.load())
        session.data["large"] = "x" * 100_000
        run(found.settings.engine(), session.finish())
        for path in ("sign_in?name=ada", "cycle"):
            cookie = found.get(path).cookie
            assert found.id in cookie
            assert len(cookie) < 300


MATRIX = [("django", way) for way in WAYS]
MATRIX += [(framework, way) for framework in FRAMEWORKS[1:] for way in LOOKS]


@pytest.mark.parametrize("user", ["signed in", "nobody"])
@pytest.mark.parametrize(("framework", "way"), MATRIX)
def test_asvs_14_3_2_cs_caching_caches_are_told_of_every_look(
    framework: str, way: str, user: str
) -> None:
    with browser(framework, "memory:looks") as found:
        answer = found.get("change")
        assert cacheable(answer) == ("Cookie", "private, no-store")
        if user == "signed in":
            assert cacheable(found.get("sign_in?name=ada")) == ("Cookie", "private, no-store")
        answer = found.get(f"look?way={way}")
        assert answer.status == 200, answer.text
        kept = "private, no-store" if user == "signed in" else None
        assert cacheable(answer) == ("Cookie", kept)
        assert answer.cookies == []


def cacheable(answer: Any) -> tuple[str | None, str | None]:
    """What an answer says to caches: on what it depends, and whether it may be kept."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return headers.get("vary"), headers.get("cache-control")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_asvs_14_3_2_cs_caching_caches_are_told_of_every_renewed_cookie(
    framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever keeps an answer with a cookie in it, gives somebody's session away."""
    options = {} if framework in ("flask", "quart") else {"slide": True}
    with browser(framework, "memory:renewed", **options) as found:
        found.get("change")
        if not options:
            found.get("permanent")
        # Nobody is signed in: the cookie alone is the reason.
        now = session_state.now_ms
        monkeypatch.setattr(session_state, "now_ms", lambda: now() + 100 * HOUR * 1000)
        untouched, read = found.get("nothing"), found.get("read")
        renewed = [answer for answer in (untouched, read) if answer.cookies]
        assert renewed, "the cookie is due"
        for answer in renewed:
            assert cacheable(answer) == ("Cookie", "private, no-store")
        assert cacheable(read)[0] == "Cookie"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_asvs_14_3_2_a_page_that_looks_at_no_session_may_be_kept(framework: str) -> None:
    with browser(framework, "memory:untouched") as found:
        found.get("change")
        # ASGI loads before the app is called and can't tell: always Vary (ARCHITECTURE.md).
        always = "Cookie" if framework == "starlette" else None
        assert cacheable(found.get("nothing")) == (always, None)


def test_asvs_16_5_2_without_its_store_the_app_goes_on_and_recovers(site: Site) -> None:
    id = site.id_after("sign_in?name=ada")
    site.place.leave()
    untouched = site.ask("nothing", id)
    # ASGI loads before the app is called.
    assert untouched.status == (503 if site.framework == "starlette" else 200)
    assert site.ask("nothing", None).status == 200
    assert site.ask("read", id).status == 503
    site.place.proxy.refuse = False
    ends = time.monotonic() + 30
    while site.ask("read", id).status == 503 and time.monotonic() < ends:
        time.sleep(0.05)
    assert site.whose(id) == "ada"


def test_asvs_16_5_3_without_its_store_nobody_is_let_in_or_signed_out(site: Site) -> None:
    id = site.id_after("sign_in?name=ada")
    site.place.leave()
    for path in ("read", "change", "sign_in?name=grace", "sign_out", "cycle"):
        answer = site.ask(path, id)
        assert answer.status == 503, path
        assert answer.cookies == []
        assert "ada" not in answer.text


def test_asvs_16_5_3_reads_go_on_as_nobody_if_asked_for_and_writes_fail(place: Place) -> None:
    for framework in FRAMEWORKS:
        with site_of(framework, place, read_outage="anonymous") as site:
            id = site.id_after("sign_in?name=ada")
            place.leave()
            assert site.whose(id) == ""
            assert site.ask("read", id).cookies == []
            for path in ("change", "sign_in?name=grace", "sign_out"):
                answer = site.ask(path, id)
                assert answer.status == 503, (framework, path)
                assert answer.cookies == []
            place.proxy.refuse = False


@pytest.fixture
def mute() -> Iterator[int]:
    """A port on which connections are accepted and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


def test_asvs_13_1_2_who_finds_no_free_connection_is_told_so_in_time(place: Place) -> None:
    """One connection, which a request holds while its reply is late, and four that want it."""
    held, free = threading.Event(), threading.Event()
    engine = urls.open_engine(place.url("pool=1&pool_wait=0.05&timeout=30"))
    engine.ping()
    pump = place.proxy._parser

    class Slow:
        def __init__(self) -> None:
            self.parser = pump()

        def feed(self, data: bytes) -> list[str]:
            held.set()
            free.wait(60)
            return self.parser.feed(data)

    place.proxy._parser = Slow
    place.proxy.cut()
    errors: list[str] = []

    def ask(number: int) -> None:
        try:
            engine.exists(b"sessile:app:" + b"0" * 64)
        except SessionUnavailable as error:
            errors.append(str(error))

    first = threading.Thread(target=ask, args=(0,))
    first.start()
    try:
        assert held.wait(30)
        together(4, lambda number: ask(number + 1))
        assert len(errors) == 4
        assert all("connections" in error for error in errors)
    finally:
        free.set()
        first.join()
        engine.close()
    assert len(errors) == 4  # the one that had it was served


@pytest.mark.parametrize("kind", PLACES)
def test_asvs_13_2_6_a_store_that_says_nothing_is_given_up_in_time(kind: str, mute: int) -> None:
    engine = urls.open_engine(f"{kind}://127.0.0.1:{mute}?timeout=0.2&pool_wait=0.2")
    began = time.monotonic()
    for _ in range(5):
        with pytest.raises(SessionUnavailable):
            engine.exists(b"sessile:app:" + b"0" * 64)
    assert time.monotonic() - began < 20  # without timeouts: for ever
    engine.close()


@pytest.mark.parametrize("module", [sessile_module, redis_url, memcached])
def test_asvs_13_1_2_asvs_13_2_6_limits_and_timeouts_are_documented(module: Any) -> None:
    page = STORES_PAGE.read_text() + STORES_PAGE.with_name("redis.md").read_text()
    for name in ("timeout", "pool", "pool_wait"):
        assert name in module.OPTIONS
        assert f"`{name}`" in page
    assert module.OPTIONS["timeout"].endswith("(0.5)")
    assert module.OPTIONS["pool"].endswith("(64)")
    assert module.OPTIONS["pool_wait"].endswith("(0.5)")
    assert "| `timeout` | seconds to connect, and again to get a reply (0.5) |" in page
    assert "(64), seconds to wait for a free one (0.5) |" in page
