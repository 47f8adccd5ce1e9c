"""What a browser sees of its session, the same in each framework, on redis-server and on our own.

One table of behaviours over Flask, Quart, Starlette, FastAPI and Litestar; Django has contracts and
suites of its own. What only one framework does stands in its own file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import redis

from counted import Counted, counted
from frameworks import USER, Browser, browser
from sessile.contract import ROTATED, Changes, Life
from sessile.urls import open_engine
from stores import World

APPS = ["flask", "quart", "starlette", "fastapi", "litestar"]
LAZY = ("flask", "quart")
"""Those that need the store only where the session is looked at."""
DEAD = "x" * 43
"""An id that could be one, and isn't."""


@dataclass
class Site:
    """An app, its store behind a proxy, and a way to look into the store beside it."""

    framework: str
    store: Counted
    engine: Any
    port: int

    def browse(self, config: dict[str, Any] | None = None, **settings: Any) -> Any:
        return browser(self.framework, self.store.url, config, **settings)

    def refuse(self, is_down: bool = True) -> None:
        """Takes the store away from the app, or gives it back."""
        for proxy in self.store.proxies:
            proxy.refuse = is_down
            proxy.cut()

    def ends(self, client: Browser) -> int:
        """The moment at which a browser's session ends unused, in milliseconds."""
        with redis.Redis(port=self.port) as beside:
            return int(beside.execute_command("PEXPIRETIME", client.key()))


@pytest.fixture(params=["redis", "sessile"])
def store(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=APPS)
def site(request: pytest.FixtureRequest, store: str, world: World) -> Iterator[Site]:
    with counted(store, world) as there:
        beside = open_engine(world.url(store, "timeout=20"))
        port = world.redis().port if store == "redis" else world.sessile().port
        yield Site(request.param, there, beside, port)
        beside.close()


@pytest.fixture
def client(site: Site) -> Iterator[Browser]:
    with site.browse() as found:
        yield found


def shown(client: Browser) -> dict[str, Any]:
    """What the session holds, without what Flask keeps in it for itself."""
    answer = client.get("read")
    assert answer.status == 200
    return {name: value for name, value in json.loads(answer.text).items() if name[:2] != "_p"}


# cookies


def test_a_visitor_who_only_looks_gets_no_cookie_and_costs_nothing(
    site: Site, client: Browser
) -> None:
    answer = client.get("read")
    assert (answer.status, answer.text, answer.cookies) == (200, "{}", [])
    assert "cookie" in {k.lower(): v for k, v in answer.headers.items()}["vary"].lower()
    assert client.get("nothing").cookies == [] and site.store.take() == []


def test_the_first_change_brings_a_cookie_that_scripts_can_not_read(client: Browser) -> None:
    cookie = client.get("change").cookie
    assert client.id and len(client.id) == 43
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "path=/"} <= parts
    assert client.get("read").cookies == [] and client.get("change").cookies == []
    assert shown(client) == {"hits": 2}


def test_cookies_are_as_the_app_wants_them(site: Site) -> None:
    if site.framework in LAZY:
        config = {"SESSION_COOKIE_SAMESITE": "Strict", "SESSION_COOKIE_PATH": "/shop"}
        config |= {"SESSION_COOKIE_DOMAIN": "example.org", "SESSION_COOKIE_SECURE": True}
        settings = {}
    else:
        config = {}
        settings = {"same_site": "strict", "path": "/shop", "domain": "example.org", "dev": False}
        settings |= {"max_age": 3600}
    with site.browse(config, **settings) as client:
        cookie = client.get("change").cookie
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    wanted = {"samesite=strict", "path=/shop", "domain=example.org", "secure", "httponly"}
    assert wanted <= parts
    ages = {part for part in parts if part.startswith(("max-age", "expires"))}
    assert ages == (set() if site.framework in LAZY else {"max-age=3600"})


def test_a_session_lives_as_long_as_the_app_says(site: Site) -> None:
    lazy = site.framework in LAZY
    config = {"PERMANENT_SESSION_LIFETIME": timedelta(hours=1)} if lazy else {}
    with site.browse(config, **({} if lazy else {"max_age": 3600})) as client:
        client.get("change")
        left = site.engine.load(client.key()).idle_left
        assert 3_500_000 < left <= 3_600_000


def test_a_permanent_session_has_a_cookie_with_an_age(site: Site) -> None:
    if site.framework not in LAZY:
        pytest.skip("in ASGI apps max_age says so for all sessions")
    with site.browse({"PERMANENT_SESSION_LIFETIME": timedelta(hours=1)}) as client:
        assert "max-age" not in client.get("change").cookie.lower()
        assert "max-age=3600" in client.get("permanent").cookie.lower()
        assert shown(client) == {"hits": 1}


@pytest.mark.parametrize("slides", [True, False])
def test_reads_count_as_use_where_the_app_wants_that(site: Site, slides: bool) -> None:
    config: dict[str, Any] = {"SESSION_REFRESH_EACH_REQUEST": slides}
    lazy = site.framework in LAZY
    with site.browse(config, **({} if lazy else {"slide": slides})) as client:
        client.get("change")
        site.engine.save(client.key(), Changes(), Life(idle=100_000))
        ends = site.ends(client)
        while site.engine.load(client.key()).idle_left > 99_999_995:
            pass  # so that what is set anew now can be told from what was there
        assert shown(client) == {"hits": 1}
        assert (site.ends(client) > ends) is slides


# ids


@pytest.mark.parametrize("sent", [DEAD, "short", "a" * 42 + ".", "ab" * 2000])
def test_an_id_that_was_not_issued_is_never_adopted(site: Site, client: Browser, sent: str) -> None:
    client.id = sent
    answer = client.get("change")
    assert answer.status == 200 and client.id not in (None, sent) and sent not in answer.cookie
    # Only what could be an id is asked for.
    assert len(site.store.take()) == (2 if sent == DEAD else 1)
    assert shown(client) == {"hits": 1}
    client.id = sent
    assert shown(client) == {}


def test_a_useless_cookie_is_taken_away(client: Browser) -> None:
    client.id = DEAD
    answer = client.get("read")
    assert answer.text == "{}" and "max-age=0" in answer.cookie.lower()
    assert client.id is None


def test_a_sign_in_changes_the_id_and_the_old_one_opens_nothing(
    site: Site, client: Browser
) -> None:
    client.get("change")
    old, old_key = client.id, client.key()
    assert client.get("sign_in?name=ann").status == 200
    new = client.id
    assert new not in (None, old) and shown(client) == {"hits": 1, USER: "ann"}
    assert site.engine.load(old_key) is ROTATED
    client.id = old
    answer = client.get("read")
    assert (answer.status, answer.text, answer.cookies) == (200, "{}", [])
    late = client.get("change")
    assert (late.status, late.cookies) == (409, [])
    client.id = new
    assert shown(client) == {"hits": 1, USER: "ann"}
    headers = {k.lower(): v for k, v in client.get("read").headers.items()}
    assert headers["cache-control"] == "private, no-store"


def test_a_new_id_by_wish_keeps_the_session(site: Site, client: Browser) -> None:
    client.get("change")
    old, old_key = client.id, client.key()
    assert client.get("cycle").status == 200 and client.id != old
    assert shown(client) == {"hits": 1}
    assert site.engine.load(old_key) is ROTATED


def test_a_sign_out_ends_the_session_everywhere(site: Site, client: Browser) -> None:
    client.get("sign_in?name=ann")
    old, key = client.id, client.key()
    answer = client.get("sign_out")
    assert "max-age=0" in answer.cookie.lower() and client.id is None
    assert site.engine.load(key) is None
    client.id = old
    assert shown(client) == {}


# what happens meanwhile


def test_a_session_that_ended_meanwhile_is_a_conflict_and_stays_ended(
    site: Site, client: Browser
) -> None:
    client.get("sign_in?name=ann")
    key = client.key()
    client.meanwhile(lambda: site.engine.end(key))
    answer = client.get("meanwhile")
    assert (answer.status, answer.cookies) == (409, [])
    assert {k.lower(): v for k, v in answer.headers.items()}["cache-control"] == "no-store"
    assert site.engine.load(key) is None and shown(client) == {}


@pytest.mark.parametrize("strict", [False, True])
def test_what_others_write_meanwhile_stays(site: Site, strict: bool) -> None:
    with site.browse(strict=strict) as client:
        client.get("change")
        pear = Changes(set={b"cart.pear": b"1 9"})
        client.meanwhile(lambda: site.engine.save(client.key(), pear, Life()))
        answer = client.get("meanwhile")
        assert (answer.status, answer.cookies) == (409 if strict else 200, [])
        assert shown(client) == {"hits": 1 if strict else 2, "cart": {"pear": 1}}


def test_a_view_that_fails_writes_nothing(site: Site, client: Browser) -> None:
    client.get("change")
    answer = client.get("fail")
    assert (answer.status, answer.cookies) == (500, [])
    assert shown(client) == {"hits": 1}
    client.id = None
    site.store.take()
    assert client.get("fail").cookies == [] and site.store.take() == []


def test_changes_inside_are_found_and_sums_add_up(client: Browser) -> None:
    for path in ("nested?pear", "nested?plum", "count", "count"):
        assert client.get(path).status == 200
    assert shown(client) == {"cart": {"pear": 1, "plum": 1}, "hits": 2}


def test_a_view_can_write_before_its_answer(site: Site, client: Browser) -> None:
    if site.framework == "flask":
        pytest.skip("it has no streams that wait")
    assert client.get("save").cookie and shown(client) == {"hits": 1}
    assert client.get("save").cookies == [] and shown(client) == {"hits": 2}


# the store is away


def test_an_outage_is_503_and_no_cookie_is_set_or_deleted(site: Site, client: Browser) -> None:
    client.get("sign_in?name=ann")
    id = client.id
    site.refuse()
    for page in ("read", "change", "sign_in?name=eve", "cycle", "sign_out"):
        answer = client.get(page)
        headers = {k.lower(): v for k, v in answer.headers.items()}
        assert (page, answer.status, answer.cookies) == (page, 503, [])
        assert (headers["retry-after"], headers["cache-control"]) == ("1", "no-store")
    assert client.get("nothing").status == (200 if site.framework in LAZY else 503)
    client.id = None
    first = client.get("change")
    assert (first.status, first.cookies) == (503, [])
    site.refuse(False)
    client.id = id
    answers = until(lambda: client.get("read"), lambda answer: answer.status == 200)
    assert json.loads(answers.text) == {USER: "ann"}


def test_a_store_that_goes_away_meanwhile_is_503_as_well(site: Site, client: Browser) -> None:
    client.get("change")
    client.meanwhile(site.refuse)
    answer = client.get("meanwhile")
    assert (answer.status, answer.cookies) == (503, [])
    site.refuse(False)
    found = until(lambda: client.get("read"), lambda answer: answer.status == 200)
    assert json.loads(found.text) == {"hits": 1}


def test_reads_as_nobody_in_an_outage_touch_no_cookie(site: Site) -> None:
    with site.browse(read_outage="anonymous") as client:
        client.get("sign_in?name=ann")
        site.refuse()
        answer = client.get("read")
        assert (answer.status, answer.cookies) == (200, [])
        assert json.loads(answer.text) == {}
        late = client.get("change")
        assert (late.status, late.cookies) == (503, [])
        site.refuse(False)
        found = until(lambda: client.get("read"), lambda answer: answer.text != "{}")
        assert json.loads(found.text) == {USER: "ann"}


def until(ask: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
    """Asks until the answer is good: a store that was away isn't asked for a moment."""
    while not good(answer := ask()):
        pass
    return answer
