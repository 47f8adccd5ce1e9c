"""Moving in from each of Django's engines and from Flask-Session's keys, and back.

Old engines are Django's own, on Debian's redis-server, on memcached and on SQLite; sessions move to
redis-server, to our own, and to memcached. Each test signs in with the old engine, goes on with
ours, and where records are mirrored goes back.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.test import AsyncClient, override_settings
from flask import Flask
from flask import session as flask_session

import django_site
from moves import BACKENDS, ENGINES, TARGETS, Client, Move, moving, signed_in, url_of, user_of
from sessile.django import SessionStore
from sessile.django.config import configured
from sessile.django.moving import OldEngine
from sessile.errors import ConfigurationError, DocumentError
from sessile.flask import Sessile
from sessile.moving import MARK, Moving
from sessile.moving_redis import FlaskSessionKeys, RedisKeys
from stores import World

WAYS = [(engine, target) for target in (*TARGETS, "encrypted") for engine in ENGINES]
"""Old engines, and where sessions move to."""


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest, world: World) -> Any:
    """The URL of a store that sessions move to, which the site has."""
    django_site.users()
    url = url_of(request.param, world)
    with override_settings(SESSILE_URL=url):
        yield url


@pytest.fixture(params=WAYS, ids="-to-".join)
def move(request: pytest.FixtureRequest, world: World) -> Iterator[Move]:
    name, target = request.param
    with moving(name, target, world) as move:
        yield move


def test_a_session_moves_under_its_id(move: Move) -> None:
    client = signed_in(move)
    before = client.cookies["sessionid"].value
    with move.ours("move"):
        assert client.get("/read").json() == {"hits": 1, "user": "ada"}
        assert not move.records(client)
        client.get("/change")
        assert client.get("/read").json() == {"hits": 2, "user": "ada"}
        assert client.cookies["sessionid"].value == before
    # Having moved, nothing of the old engine is needed.
    assert user_of(client) == "ada"


def test_a_session_moves_by_its_first_change_and_its_first_rotation(move: Move) -> None:
    for path in ("/count", "/cycle"):
        client = signed_in(move)
        with move.ours("move"):
            client.get(path)
            assert user_of(client) == "ada"


def test_signing_out_ends_both(move: Move) -> None:
    for way in ("move", "mirror", "shadow"):
        client = signed_in(move)
        cookie = client.cookies["sessionid"].value
        with move.ours(way):
            client.get("/sign_out")
            client.cookies["sessionid"] = cookie
            assert user_of(client) == "AnonymousUser"
        with move.old():
            client.cookies["sessionid"] = cookie
            assert user_of(client) == "AnonymousUser"


def test_old_new_old_and_new_again(move: Move) -> None:
    client = signed_in(move)
    with move.ours("mirror"):
        client.get("/change")
        assert client.get("/read").json() == {"hits": 2, "user": "ada"}
    with move.old():
        client.get("/change")
        assert client.get("/read").json() == {"hits": 3, "user": "ada"}
    with move.ours("mirror"):
        assert client.get("/read").json() == {"hits": 3, "user": "ada"}
        client.get("/cycle")
        client.get("/change")
    with move.old():
        assert client.get("/read").json() == {"hits": 4, "user": "ada"}
        client.get("/cycle")
    with move.ours("mirror"):
        assert client.get("/read").json() == {"hits": 4, "user": "ada"}
    with move.old():
        cookie = client.cookies["sessionid"].value
        client.get("/sign_out")
    with move.ours("mirror"):
        client.cookies["sessionid"] = cookie
        assert user_of(client) == "AnonymousUser"


def test_a_mirrored_sign_in_is_one_in_the_old_engine(move: Move) -> None:
    client = Client()
    with move.ours("mirror"):
        client.get("/change")
        client.get("/sign_in?name=grace")
    with move.old():
        assert client.get("/read").json() == {"hits": 1, "user": "grace"}


def test_ended_from_elsewhere_an_old_record_does_not_bring_it_back(move: Move) -> None:
    client = signed_in(move)
    with move.ours("mirror"):
        assert user_of(client) == "ada"
        ours = configured()
        key = SessionStore(client.cookies["sessionid"].value).store_key
        assert key and move.records(client)
        assert ours.engine().end(key.encode()) == 1
        assert user_of(client) == "AnonymousUser"
        assert not move.records(client)


def test_asynchronous_requests_move_too(move: Move) -> None:
    client = signed_in(move)
    cookie = client.cookies["sessionid"].value

    async def visit() -> Any:
        browser = AsyncClient()
        browser.cookies["sessionid"] = cookie
        seen = (await browser.get("/aread")).json()
        await configured().async_engine().close()
        return seen

    with move.ours("move"):
        assert asyncio.run(visit()) == {"hits": 1, "user": "ada"}
    assert user_of(client) == "ada"


def test_signed_cookies_become_sessions(target: str) -> None:
    client, engine = Client(), BACKENDS + "signed_cookies"
    with override_settings(SESSION_ENGINE=engine):
        client.get("/sign_in?name=ada")
        assert user_of(client) == "ada"
    with override_settings(SESSILE_SOURCE=engine):
        assert user_of(client) == "ada"
        assert len(client.cookies["sessionid"].value) == 32
    assert user_of(client) == "ada"
    with pytest.raises(ConfigurationError, match="only moved"):
        Moving(OldEngine(engine), "mirror")


def test_a_sign_out_between_reading_and_creating_is_not_undone(target: str, world: World) -> None:
    client = redis.Redis(port=world.redis().port)

    class SignedOutMeanwhile(RedisKeys):
        def read(self, id: str) -> Any:
            found = super().read(id)
            self.remove(id)
            return found

    source = SignedOutMeanwhile(client, "old:")
    browser = Client()
    browser.cookies["sessionid"] = "a" * 32
    client.set("old:" + "a" * 32, json.dumps({"hits": 5}))
    with override_settings(SESSILE_SOURCE=source):
        assert browser.get("/read").json()["hits"] is None
    browser.cookies["sessionid"] = "a" * 32
    assert browser.get("/read").json()["hits"] is None


def test_flask_sessions_move_and_are_mirrored(target: str, world: World) -> None:
    msgpack = pytest.importorskip("msgspec").msgpack
    server = world.redis()
    client = redis.Redis(port=server.port)
    for way in ("move", "mirror"):
        app = Flask(way)
        app.config.update(SESSION_REDIS=client, SESSILE_SOURCE="flask-session", SESSILE_MOVING=way)
        app.config["SESSILE_URL"] = target
        Sessile(app)

        @app.get("/")
        def hits() -> str:
            flask_session["hits"] = flask_session.get("hits", 0) + 1
            return str(flask_session["hits"])

        id = way[0] * 43
        client.set("session:" + id, msgpack.encode({"hits": 4, "_permanent": True}), ex=500)
        browser = app.test_client()
        browser.set_cookie("session", id)
        assert browser.get("/").text == "5"
        left = client.get("session:" + id)
        assert (left is None) == (way == "move")
        if left is not None:
            record = msgpack.decode(left)
            assert record.pop(MARK) and record == {"hits": 5, "_permanent": True}


def test_pickle_is_read_only_if_asked_for(world: World) -> None:
    pytest.importorskip("msgspec")
    import pickle

    client = redis.Redis(port=world.redis().port)
    client.set("session:p", pickle.dumps({"a": (1, 2)}))
    with pytest.raises(DocumentError, match="pickle is off"):
        FlaskSessionKeys(client).read("p")
    found = FlaskSessionKeys(client, pickle=True).read("p")
    assert found is not None and found.document == {"a": (1, 2)}


FENCES = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGE = FENCES.findall((Path(__file__).resolve().parents[2] / "docs/moving-in.md").read_text())


@pytest.mark.parametrize(
    "move", [("cached_db", target) for target in TARGETS], indirect=True, ids=TARGETS
)
def test_the_steps_of_the_page_keep_everybody_signed_in(move: Move) -> None:
    steps = [text for info, text in PAGE if info == "python settings"]
    assert len(steps) == 4
    client = signed_in(move)
    shadow, mirror, finally_move, back = [named(text) for text in steps]
    hits = 1
    for step in (shadow, mirror, back, mirror, finally_move):
        with override_settings(CACHES=move.cache, **step):
            client.get("/change")
            hits += 1
            assert client.get("/read").json() == {"hits": hits, "user": "ada"}
    client.get("/change")
    assert client.get("/read").json() == {"hits": hits + 1, "user": "ada"}


def named(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(text, names)
    return {name: value for name, value in names.items() if name.isupper()}


def test_the_page_has_no_snippet_that_nobody_runs(world: World) -> None:
    pytest.importorskip("msgspec")
    assert {info for info, _ in PAGE} == {"python settings", "python flask"}
    app = Flask("page")
    app.config.update(SESSION_REDIS=redis.Redis(port=world.redis().port))
    for info, text in PAGE:
        if info == "python flask":
            exec(text, {"app": app, "Sessile": Sessile})
    interface: Any = app.session_interface
    assert interface.settings.moving.way == "mirror"
