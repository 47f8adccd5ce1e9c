"""Sessions in Flask: what the browser gets, what the store is asked, what is never done."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from flask import Flask, abort, request, session

from counting import Counting
from sessile import ConfigurationError, session_state
from sessile.contract import Life
from sessile.flask import Sessile, configured
from sessile.plans import run
from sessile.session import Session


@pytest.fixture
def store(monkeypatch):
    store = Counting()
    monkeypatch.setattr("sessile.settings.ENGINES", {"memory:flask": store})
    return store


@pytest.fixture
def app(store):
    app = Flask(__name__)
    app.config["SESSION_COOKIE_SECURE"] = False
    Sessile(app, url="memory:flask")

    @app.get("/untouched")
    def untouched():
        return "ok"

    @app.get("/read")
    def read():
        return dict(session)

    @app.post("/set")
    def put():
        for key, value in request.json.items():
            session[key] = value
        return dict(session)

    @app.post("/in-place")
    def in_place():
        session.setdefault("cart", {}).setdefault("items", []).append(1)
        return "ok"

    @app.post("/count")
    def count():
        session.incr("count")
        return dict(session)

    @app.post("/sign-in/<user>")
    def sign_in(user):
        session["_user_id"] = user
        return "ok"

    @app.post("/sign-out")
    def sign_out():
        session.clear()
        return "ok"

    @app.post("/fail")
    def fail():
        session["lost"] = True
        abort(500)

    @app.post("/permanent")
    def permanent():
        session.permanent = True
        session["x"] = 1
        return "ok"

    return app


@pytest.fixture
def client(app):
    return app.test_client()


def cookie_of(response):
    return response.headers.get("Set-Cookie", "")


def test_commands_per_request(client, store):
    assert (client.get("/untouched").status_code, store.taken()) == (200, {})
    assert (client.get("/read").json, store.taken()) == ({}, {})
    client.post("/set", json={"a": 1})
    assert store.taken() == {"create": 1}
    assert (client.get("/read").json, store.taken()) == ({"a": 1}, {"load": 1})
    client.post("/set", json={"a": 2})
    assert store.taken() == {"load": 1, "save": 1}
    client.post("/sign-in/ann")
    assert store.taken() == {"load": 1, "rotate": 1}
    client.post("/sign-out")
    assert store.taken() == {"end": 1}
    assert (client.get("/read").json, store.taken()) == ({}, {})


def test_nothing_is_stored_for_those_who_only_look(client, store):
    response = client.get("/read")
    assert not cookie_of(response) and response.headers["Vary"] == "Cookie"
    assert "Vary" not in client.get("/untouched").headers and store.taken() == {}


def test_a_change_in_place_is_seen(client):
    client.post("/in-place")
    client.post("/in-place")
    assert client.get("/read").json == {"cart": {"items": [1, 1]}}


def test_counts_of_parallel_requests_add_up(app, client, store):
    client.post("/count")
    with app.test_request_context(headers={"Cookie": f"session={cookie(client)}"}):
        session["count"]  # loaded before the other request counts
        client.post("/count")
        session.incr("count", 5)
        app.process_response(app.make_response("ok"))
    assert client.get("/read").json == {"count": 7}


def cookie(client) -> str:
    return client.get_cookie("session").value


def test_signing_in_changes_the_id_and_the_old_one_opens_nothing(app, client):
    client.post("/set", json={"a": 1})
    before = cookie(client)
    client.post("/sign-in/ann")
    assert cookie(client) != before
    assert client.get("/read").json == {"a": 1, "_user_id": "ann"}
    other = app.test_client()
    other.set_cookie("session", before)
    response = other.get("/read")
    assert response.json == {} and not cookie_of(response), "nor is its cookie touched"


@pytest.mark.parametrize("sent", ["x" * 43, "short", "", "x" * 4000, "ü" * 43, "a" * 42 + "."])
def test_ids_that_were_not_issued_are_never_adopted(client, store, sent):
    client.set_cookie("session", sent)
    client.post("/set", json={"a": 1})
    assert cookie(client) != sent
    assert store.taken().get("load", 0) == (1 if sent == "x" * 43 else 0)


def test_a_session_that_ended_meanwhile_is_not_revived(app, client, store):
    client.post("/set", json={"a": 1})
    with app.test_request_context(headers={"Cookie": f"session={cookie(client)}"}):
        session["late"] = True
        client.post("/sign-out")
        response = app.process_response(app.make_response("ok"))
    assert response.status_code == 409
    assert not cookie_of(response)
    assert client.get("/read").json == {}


def test_an_outage_is_503_and_touches_no_cookie(client, store):
    client.post("/set", json={"a": 1})
    store.is_down = True
    for response in (client.get("/read"), client.post("/set", json={"b": 1})):
        assert response.status_code == 503 and not cookie_of(response)
        assert response.headers["Cache-Control"] == "no-store"
    store.is_down = False
    assert client.get("/read").json == {"a": 1}
    assert client.get("/untouched").status_code == 200


def test_a_failed_view_writes_nothing(client, store):
    assert client.post("/fail").status_code == 500
    assert store.taken() == {}


def test_cookies_obey_flask(app, client):
    app.config.update(SESSION_COOKIE_SAMESITE="Strict", SESSION_COOKIE_PATH="/shop")
    browser = cookie_of(client.post("/set", json={"a": 1}))
    assert "SameSite=Strict" in browser and "Path=/shop" in browser and "HttpOnly" in browser
    assert "Max-Age" not in browser, "not permanent: it ends with the browser"
    app.permanent_session_lifetime = timedelta(hours=1)
    app.config["SESSION_COOKIE_PATH"] = "/"
    assert "Max-Age=3600" in cookie_of(client.post("/permanent"))


def test_a_permanent_cookie_is_told_again_past_a_tenth_of_its_age(app, client, store, monkeypatch):
    app.permanent_session_lifetime = timedelta(hours=1)
    client.post("/permanent")
    assert not cookie_of(client.get("/read")), "it has just been told"
    assert not cookie_of(client.post("/set", json={"a": 1}))
    now = session_state.now_ms
    monkeypatch.setattr(session_state, "now_ms", lambda: now() + 400_000)
    store.taken()
    for _ in range(2):
        assert "Max-Age=3600" in cookie_of(client.get("/read"))
    assert store.taken() == {"load": 2}, "a read writes nothing, not even that"
    app.config["SESSION_REFRESH_EACH_REQUEST"] = False
    assert not cookie_of(client.get("/read"))
    assert "Max-Age=3600" in cookie_of(client.post("/set", json={"a": 2}))
    app.config["SESSION_REFRESH_EACH_REQUEST"] = True
    assert not cookie_of(client.get("/read")), "the save has noted it"


@pytest.mark.parametrize("lasting", [False, True], ids=["closing", "permanent"])
def test_answers_that_a_sign_in_overtakes_bring_no_old_cookie_back(app, client, lasting):
    client.post("/permanent" if lasting else "/set", json={"a": 1})
    before = cookie(client)

    def send(method, path, **what):
        browser = app.test_client()
        browser.set_cookie("session", before)
        return browser.open(path, method=method, **what)

    earlier = [send("GET", "/read"), send("POST", "/set", json={"b": 1}), send("POST", "/count")]
    earlier += [send("POST", "/in-place"), send("GET", "/untouched")]
    signed_in = send("POST", "/sign-in/ann")
    later = [send("GET", "/read"), send("POST", "/set", json={"c": 1})]
    assert [answer.status_code for answer in later] == [200, 409]
    assert "session=" in cookie_of(signed_in)
    # So the browser has that cookie in the end, whatever the order in which they arrive.
    assert [cookie_of(answer) for answer in (*earlier, *later)] == [""] * 7


def test_who_is_signed_in_is_not_cached(client):
    client.post("/sign-in/ann")
    assert client.get("/read").headers["Cache-Control"] == "private, no-store"


def test_settings_are_flask_s_and_those_of_flask_session():
    options = {"host": "cache.example", "port": 6380, "db": 2}
    client = SimpleNamespace(connection_pool=SimpleNamespace(connection_kwargs=options))
    config = {
        "SESSION_TYPE": "redis",
        "SESSION_REDIS": client,
        "SESSION_KEY_PREFIX": "shop:",
        "PERMANENT_SESSION_LIFETIME": timedelta(days=2),
        "SESSION_REFRESH_EACH_REQUEST": False,
    }
    settings = configured(app_with(config), {})
    assert settings.url == "redis://cache.example:6380/2"
    assert (settings.namespace, settings.idle, settings.slide) == ("shop", 2 * 86400, False)
    assert configured(app_with({}), {"url": "memory:"}).slide
    with pytest.raises(ConfigurationError, match="no setting 'uri'"):
        configured(app_with({}), {"uri": "memory:"})


def app_with(config):
    """An app of which nothing is known but its configuration."""
    return SimpleNamespace(config=config, instance_path="instance", debug=False)


def test_what_lies_in_the_store_is_no_id_and_has_a_user(client, app, store):
    client.post("/sign-in/ann")
    (listed,) = store.engine.sessions_of("app:ann")
    assert cookie(client).encode() not in listed.key
    settings = app.session_interface.settings
    other = Session(settings)
    other.data.update({"_user_id": "ann"})
    run(store.engine, other.save())
    assert len(store.engine.sessions_of("app:ann")) == 2
    store.engine.end_all("app:ann")
    assert client.get("/read").json == {}
    assert store.engine.create(b"k", {}, Life()) is not None
