"""Moving in with Flask, Quart and ASGI apps, and back: from Flask-Session on Redis, the package
itself, and from plain Redis keys. Sessions move to redis-server and to our own.

Django's ways stand in test_moving.py. Here, too, somebody signs in with the old app, goes on with
ours under the same cookie, and where records are mirrored goes back.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from frameworks import USER, Answer, Browser, act, browser
from sessile.moving_redis import FlaskSessionKeys, RedisKeys
from stores import World

pytest.importorskip("flask_session")
pytest.importorskip("msgspec")

APPS = ["flask", "quart", "starlette", "fastapi", "litestar"]
PREFIX = {"flask-session": "session:", "keys": "old:"}


def flask_session_app(client: Any) -> Callable[[str, dict[str, str]], Answer]:
    """An app that Flask-Session serves."""
    from flask import Flask, request, session
    from flask_session import Session

    app = Flask("old")
    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=client)
    Session(app)

    @app.get("/<page>")
    def page(page: str) -> Any:
        if page == "sign_out":
            session.clear()
        return act(session, page, request.query_string.decode(), [])

    asking = app.test_client(use_cookies=False)

    def ask(path: str, headers: dict[str, str]) -> Answer:
        found = asking.get(path, headers=headers)
        cookies = found.headers.getlist("Set-Cookie")
        return Answer(found.status_code, found.text.strip(), dict(found.headers), cookies)

    return ask


def keys_app(client: Any) -> Callable[[str, dict[str, str]], Answer]:
    """An app that keeps JSON in Redis by itself."""

    def ask(path: str, headers: dict[str, str]) -> Answer:
        page, _, query = path.removeprefix("/").partition("?")
        id = headers.get("Cookie", "").partition("=")[2] or secrets.token_urlsafe(32)
        session = json.loads(client.get(f"old:{id}") or "{}")
        text = json.dumps(act(session, page, query, []))
        if page == "sign_out":
            client.delete(f"old:{id}")
            return Answer(200, text, {}, ["session=; Max-Age=0"])
        if session:
            client.set(f"old:{id}", json.dumps(session), ex=500)
        return Answer(200, text, {}, [f"session={id}"] if session else [])

    return ask


@dataclass
class Move:
    """An old app, and the same in one of our frameworks."""

    framework: str
    kind: str
    client: Any
    url: str

    def old(self, id: str | None = None) -> Browser:
        """A browser of the old app."""
        app = {"flask-session": flask_session_app, "keys": keys_app}[self.kind](self.client)
        return Browser(app, None, "session", id=id)  # type: ignore[arg-type]

    def ours(self, way: str) -> Any:
        """A browser of the app with our sessions."""
        source: Any = RedisKeys(self.client, "old:")
        if self.kind == "flask-session":
            source = FlaskSessionKeys(self.client)
        if self.framework in ("flask", "quart"):
            if self.kind == "flask-session":
                source = "flask-session"
            config = {"SESSION_REDIS": self.client, "SESSION_TYPE": "redis"}
            config |= {"SESSILE_SOURCE": source, "SESSILE_MOVING": way}
            return browser(self.framework, self.url, config)
        return browser(self.framework, self.url, source=source, moving=way)

    def afterwards(self) -> Any:
        """A browser of the app when it no longer knows of the old one."""
        return browser(self.framework, self.url)

    def record(self, id: str | None) -> bool:
        """Whether the old app has a record."""
        return bool(self.client.exists(f"{PREFIX[self.kind]}{id}"))


@pytest.fixture(params=["redis", "sessile"])
def target(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["flask-session", "keys"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=APPS)
def move(request: pytest.FixtureRequest, kind: str, target: str, world: World) -> Iterator[Move]:
    with redis.Redis(port=world.redis().port, db=7) as client:
        yield Move(request.param, kind, client, world.url(target, "timeout=20"))
        client.flushdb()


def shown(client: Browser) -> dict[str, Any]:
    """What the session holds, without what Flask notes of the cookie."""
    found: dict[str, Any] = json.loads(client.get("read").text)
    return {name: value for name, value in found.items() if name not in ("_permanent", "_sessile")}


def signed_in(move: Move) -> Browser:
    """A browser that the old app knows."""
    old = move.old()
    old.get("change")
    old.get("sign_in?name=ann")
    assert shown(old) == {"hits": 1, USER: "ann"} and move.record(old.id)
    return old


def test_a_session_moves_under_its_id(move: Move) -> None:
    old = signed_in(move)
    with move.ours("move") as new:
        new.id = old.id
        assert shown(new) == {"hits": 1, USER: "ann"}
        assert new.id == old.id and not move.record(old.id)
        assert new.get("change").status == 200
    with move.afterwards() as new:
        new.id = old.id
        assert shown(new) == {"hits": 2, USER: "ann"}


def test_a_session_moves_by_its_first_change(move: Move) -> None:
    old = signed_in(move)
    with move.ours("move") as new:
        new.id = old.id
        assert new.get("change").status == 200 and new.get("cycle").status == 200
        assert shown(new) == {"hits": 2, USER: "ann"} and new.id != old.id
        assert not move.record(old.id) and not move.record(new.id)


def test_old_new_old_and_new_again(move: Move) -> None:
    old = signed_in(move)
    with move.ours("mirror") as new:
        new.id = old.id
        assert new.get("change").status == 200
        assert shown(new) == {"hits": 2, USER: "ann"}
        assert shown(old) == {"hits": 2, USER: "ann"}, "the old app sees it"
        old.get("change")
        assert shown(new) == {"hits": 3, USER: "ann"}, "and its changes are seen here"
        first = new.id
        assert new.get("sign_in?name=eve").status == 200 and new.id != first
        assert not move.record(first) and move.record(new.id)
        assert shown(move.old(new.id)) == {"hits": 3, USER: "eve"}
        back = move.old(new.id)
        back.get("change")
        assert shown(back) == {"hits": 4, USER: "eve"}
        assert shown(new) == {"hits": 4, USER: "eve"}


def test_back_for_good(move: Move) -> None:
    """Whoever came with the new app stays signed in when it's rolled back."""
    with move.ours("mirror") as new:
        new.get("change")
        assert new.get("sign_in?name=ann").status == 200
        id = new.id
    back = move.old(id)
    assert shown(back) == {"hits": 1, USER: "ann"}
    back.get("change")
    assert shown(back) == {"hits": 2, USER: "ann"}


@pytest.mark.parametrize("way", ["move", "mirror"])
def test_signing_out_ends_both(move: Move, way: str) -> None:
    old = signed_in(move)
    id = old.id
    with move.ours(way) as new:
        new.id = id
        assert shown(new) == {"hits": 1, USER: "ann"}
        assert new.get("sign_out").status == 200 and new.id is None
        assert not move.record(id)
        new.id = id
        assert shown(new) == {}
    assert shown(move.old(id)) == {}


def test_signing_out_of_the_old_app_ends_both(move: Move) -> None:
    old = signed_in(move)
    id = old.id
    with move.ours("mirror") as new:
        new.id = id
        assert shown(new) == {"hits": 1, USER: "ann"}
        old.get("sign_out")
        assert not move.record(id)
        assert shown(new) == {}
    with move.afterwards() as new:
        new.id = id
        assert shown(new) == {}
