"""Encrypted sessions in apps: Django, Flask and ASGI by one setting, and docs/encryption.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.checks import Error, run_checks
from django.core.management import call_command
from django.test import Client, override_settings
from flask import Flask
from flask import session as flask_session
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import django_site  # noqa: F401  (configures Django)
from proxy import Proxy
from sessile.flask import Sessile
from sessile.settings import ENGINES
from sessile.starlette import SessionMiddleware
from sessile.testing import fresh_store

KEYS = ["the newest key of this test, long enough", "an older key of this test, long enough"]
PAGE = (Path(__file__).resolve().parents[2] / "docs/encryption.md").read_text()


@pytest.fixture
def encrypted(any_site: Proxy) -> Iterator[Proxy]:
    """Django with encrypted sessions, on redis-server and on our own."""
    with override_settings(SESSILE_ENCRYPTION_KEYS=KEYS):
        yield any_site


def seen(client: Client) -> Any:
    return client.get("/read").json()


def test_django_signs_in_counts_and_signs_out(encrypted: Proxy) -> None:
    client = Client(headers={"User-Agent": "a browser of its own"})
    client.get("/change")
    client.get("/sign_in?name=ada")
    cookie = client.cookies["sessionid"].value
    for path in ("/change", "/count", "/cycle", "/change"):
        assert client.get(path).status_code == 200
    assert seen(client)["user"] == "ada"
    assert client.cookies["sessionid"].value != cookie
    with redis.Redis(port=encrypted.target) as store:
        everything = [store.hgetall(key) for key in store.scan_iter("sessile:app:*", _type="hash")]
    assert everything
    assert b"a browser of its own" not in b"".join(
        value for fields in everything for value in fields.values()
    )
    devices = call("list", "ada")
    assert "a browser of its own" in devices
    assert "keys that open values: 2, of which the first seals" in call("doctor")
    client.get("/sign_out")
    client.cookies["sessionid"] = cookie
    assert seen(client)["user"] == "AnonymousUser"


def call(*arguments: str) -> str:
    written = StringIO()
    call_command("sessile", *arguments, stdout=written)
    return written.getvalue()


def test_django_serves_while_keys_change(encrypted: Proxy) -> None:
    client = Client(raise_request_exception=False)
    client.get("/sign_in?name=ada")
    with override_settings(SESSILE_ENCRYPTION_KEYS=["quite another key, also long enough"]):
        answer = client.get("/read")
        assert answer.status_code == 500
        assert "sessionid" not in answer.cookies
    with override_settings(SESSILE_ENCRYPTION_KEYS=None):
        assert client.get("/change").status_code == 500
        assert call("list", "ada").strip()
    with override_settings(SESSILE_ENCRYPTION_KEYS=KEYS[::-1]):
        assert seen(client)["user"] == "ada"
        client.get("/change")
    with override_settings(SESSILE_ENCRYPTION_KEYS=KEYS[1:]):
        assert seen(client) == {"hits": 1, "user": "ada"}


def test_an_outage_is_none_if_the_key_is_wrong(encrypted: Proxy) -> None:
    client = Client(raise_request_exception=False)
    client.get("/sign_in?name=ada")
    wrong = {"SESSILE_ENCRYPTION_KEYS": ["x" * 40], "SESSILE_READ_OUTAGE": "anonymous"}
    with override_settings(**wrong):
        assert client.get("/read").status_code == 500
        assert client.get("/sign_out").status_code == 500
        assert "sessionid" in client.cookies


def test_flask() -> None:
    app, url = Flask(__name__), fresh_store()
    app.config.update(SESSION_COOKIE_SECURE=False, SESSILE_ENCRYPTION_KEYS=KEYS)
    Sessile(app, url=url)

    @app.get("/")
    def hits() -> str:
        flask_session["hits"] = flask_session.get("hits", 0) + 1
        return str(flask_session["hits"])

    browser = app.test_client()
    assert [browser.get("/").text for _ in range(3)] == ["1", "2", "3"]
    assert is_sealed(url)


def test_asgi() -> None:
    url = fresh_store()

    async def hits(request: Any) -> JSONResponse:
        request.session["hits"] = request.session.get("hits", 0) + 1
        return JSONResponse(request.session["hits"])

    keeper = Middleware(SessionMiddleware, url=url, encryption_keys=KEYS)
    app = Starlette(routes=[Route("/", hits)], middleware=[keeper])
    with TestClient(app, base_url="https://testserver") as browser:
        assert [browser.get("/").json() for _ in range(3)] == [1, 2, 3]
    assert is_sealed(url)


def is_sealed(url: str) -> bool:
    """Whether the one session of a store has a leaf `hits` that says nothing."""
    (entry,) = ENGINES[url]._view._entries.values()
    return bool(entry.fields[b"hits"][:1] == b"\x01")


def test_the_page_is_true(site: Proxy) -> None:
    snippets = re.findall(r"^```(.*?)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert [info for info, _ in snippets] == ["sh", "python settings"]
    extras = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text()
    assert "\nencryption = " in extras and 'sessile[encryption]"' in snippets[0][1]
    names: dict[str, Any] = {}
    exec(snippets[1][1], names)
    chosen = {name: value for name, value in names.items() if name.isupper()}
    with override_settings(**chosen):
        assert not [one for one in run_checks() if isinstance(one, Error)]
        client = Client()
        client.get("/sign_in?name=ada")
        assert seen(client)["user"] == "ada"
