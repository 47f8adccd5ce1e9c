"""`flask sessile doctor` and `quart sessile doctor`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from quart import Quart

import sessile.flask
import sessile.quart
from sessile.flask_doctor import fit_for_production, is_named
from stores import World

CAREFUL = {
    "SESSION_COOKIE_NAME": "__Host-session",
    "SESSION_COOKIE_SECURE": True,
    "SESSION_COOKIE_SAMESITE": "Lax",
}
WEAK = [
    "SESSION_COOKIE_SECURE: the session cookie is also sent over plain HTTP",
    "SESSION_COOKIE_SAMESITE: other sites' forms are sent with the session cookie",
]
Doctor = Callable[..., tuple[int, str]]


@pytest.fixture(params=["flask", "quart"])
def doctor(request: pytest.FixtureRequest) -> Doctor:
    """Runs it on an app: its exit status, and what it said."""
    kind: Any = {"flask": Flask, "quart": Quart}[request.param]
    package: Any = {"flask": sessile.flask, "quart": sessile.quart}[request.param]

    def examine(url: str | None, debug: bool = False, **config: Any) -> tuple[int, str]:
        app = kind("doctored")
        app.config.update(config)
        app.debug = debug
        package.Sessile(app, **({"url": url} if url else {}))
        done = app.test_cli_runner().invoke(args=["sessile", "doctor"])
        return done.exit_code, done.output

    return examine


@pytest.mark.parametrize("store", ["redis", "sessile", "memcached"])
def test_a_careful_app_on_a_good_store_is_well(doctor: Doctor, world: World, store: str) -> None:
    status, said = doctor(world.url(store, "timeout=5"), **CAREFUL)
    assert status == 0, said
    assert "BAD" not in said
    assert "a session that was ended stays ended" in said
    assert "only sent over TLS" in said


def test_the_frameworks_own_cookie_needs_a_look(doctor: Doctor, world: World) -> None:
    status, said = doctor(world.url("redis", "timeout=5"))
    assert status == 1
    for weak in WEAK:
        assert f"BAD  {weak}" in said
    assert "2 of these need a look" in said
    status, said = doctor(world.url("redis", "timeout=5"), SESSION_COOKIE_HTTPONLY=False, **CAREFUL)
    assert status == 1
    assert "BAD  SESSION_COOKIE_HTTPONLY is False" in said


@pytest.mark.parametrize(
    "wrong",
    [
        {"SESSION_COOKIE_SECURE": False},
        {"SESSION_COOKIE_PATH": "/shop"},
        {"APPLICATION_ROOT": "/shop"},
        {"SESSION_COOKIE_DOMAIN": "example.org"},
    ],
    ids=str,
)
def test_a_cookie_that_browsers_refuse_is_found(
    doctor: Doctor, world: World, wrong: dict[str, Any]
) -> None:
    status, said = doctor(world.url("redis", "timeout=5"), **{**CAREFUL, **wrong})
    assert status == 1
    assert "BAD  browsers refuse a cookie named __Host-..." in said


def test_nothing_is_asked_of_an_app_that_is_being_developed(doctor: Doctor, world: World) -> None:
    for mode in ({"debug": True}, {"TESTING": True}):
        status, said = doctor(world.url("redis", "timeout=5"), **mode)
        assert status == 0, said
        assert "SESSION_COOKIE" not in said


def test_sessions_that_each_process_has_for_itself_are_found(doctor: Doctor) -> None:
    status, said = doctor("memory:doctor", **CAREFUL)
    assert status == 1
    assert "BAD  SESSILE_URL is memory" in said


def test_a_store_that_is_away_is_a_finding_and_no_password_is_shown(doctor: Doctor) -> None:
    status, said = doctor("redis://user:sesame@127.0.0.1:1/0?timeout=0.2", **CAREFUL)
    assert status == 1
    assert "BAD" in said
    assert "sesame" not in said
    assert "Traceback" not in said


def test_a_driver_that_is_not_there_is_a_finding(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("sessile.redis")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    status, said = doctor("redis://127.0.0.1:1/0", **CAREFUL)
    assert status == 1
    assert "BAD  ModuleNotFoundError" in said
    assert "1 of these need a look" in said


def test_a_server_that_nobody_asked_for_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SESSILE_URL", raising=False)
    app = Flask("doctored")
    app.config.update(CAREFUL)

    def said(given: dict[str, Any]) -> str:
        settings = sessile.flask.configured(app, given)
        return str([*fit_for_production(app, settings, named=is_named(app, given))])

    assert "starts by itself" in said({})
    assert "starts by itself" not in said({"url": "embedded:"})
    # A store that has no counterpart here says nothing of where sessions are.
    app.config["SESSION_TYPE"] = "filesystem"
    assert "starts by itself" in said({})
    app.config["SESSION_TYPE"] = "redis"
    assert is_named(app, {})
    monkeypatch.setenv("SESSILE_URL", "embedded:")
    assert "starts by itself" not in said({})
