"""Authlib's sign-in by another site, whose state lies in the session, in three frameworks.

Cases of third_party.py. The other site is a small provider on this machine that hands out codes
and tokens, and checks that the code is redeemed by who asked for it (PKCE).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlencode, urlsplit

SITE = "http://testserver"


class Provider(BaseHTTPRequestHandler):
    """Signs in everybody as ann: a code, a token for it once, her name for that."""

    challenges: ClassVar[dict[str, str]] = {}

    def do_GET(self) -> None:
        if self.path == "/me":
            known = self.headers["Authorization"] == "Bearer ann's token"
            return self.answer({"name": "ann"} if known else {"error": "invalid_token"})
        asked = {name: one for name, (one,) in parse_qs(urlsplit(self.path).query).items()}
        code = f"code-{len(self.challenges)}"
        self.challenges[code] = asked["code_challenge"]
        back = urlencode({"code": code, "state": asked["state"]})
        return self.answer({"to": f"{asked['redirect_uri']}?{back}"})

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        sent = {name: one for name, (one,) in parse_qs(text).items()}
        digest = hashlib.sha256(sent.get("code_verifier", "").encode()).digest()
        proof = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if self.challenges.pop(sent["code"], "") != proof:
            return self.answer({"error": "invalid_grant"}, 400)
        return self.answer({"access_token": "ann's token", "token_type": "Bearer"})

    def answer(self, data: dict[str, str], status: int = 200) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@contextmanager
def provider() -> Iterator[dict[str, Any]]:
    """What an app registers of the provider, while it runs."""
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    try:
        yield {
            "name": "local",
            "client_id": "app",
            "client_secret": "secret",
            "authorize_url": f"{base}/authorize",
            "access_token_url": f"{base}/token",
            "api_base_url": f"{base}/",
            "client_kwargs": {"code_challenge_method": "S256"},
        }
    finally:
        server.shutdown()
        server.server_close()


def dance(browser: Callable[[], Callable[[str], tuple[int, str, str]]], tabs: int = 2) -> None:
    """A browser's `get` answers status, Location and text; it begins in that many tabs."""
    get = browser()
    begun = [get("/in") for _ in range(tabs)]
    assert {status for status, _, _ in begun} == {302}
    backs = []
    for _, to, _ in begun:
        with urllib.request.urlopen(to) as reply:
            backs.append(json.load(reply)["to"].removeprefix(SITE))
    stranger = browser()
    assert stranger(backs[0])[2] == "refused", "another browser with this one's code"
    assert get(backs[0].replace("state=", "state=x"))[2] == "refused"
    assert get("/whoami")[2] == "nobody"
    for back in backs:
        assert get(back)[2] == "welcome ann"
        assert get("/whoami")[2] == "ann"
    assert get(backs[0])[2] == "refused", "a state counts once"
    assert get("/whoami")[2] == "ann"
    assert stranger("/whoami")[2] == "nobody"


def django(configure: Callable[..., None], routes: Callable[..., None]) -> None:
    """authlib.integrations.django_client."""
    configure()
    from authlib.integrations.base_client import OAuthError
    from authlib.integrations.django_client import OAuth
    from django.http import HttpResponse
    from django.test import Client
    from django.urls import path

    with provider() as known:
        oauth = OAuth()
        oauth.register(**known)

        def begin(request: Any) -> Any:
            return oauth.local.authorize_redirect(request, f"{SITE}/back")

        def back(request: Any) -> Any:
            try:
                token = oauth.local.authorize_access_token(request)
            except OAuthError:
                return HttpResponse("refused")
            name = oauth.local.get("me", token=token).json()["name"]
            request.session["name"] = name
            return HttpResponse(f"welcome {name}")

        def who(request: Any) -> Any:
            return HttpResponse(request.session.get("name", "nobody"))

        routes(path("in", begin), path("back", back))
        import sys

        sys.modules["__main__"].urlpatterns[0] = path("whoami", who)  # type: ignore[attr-defined]

        def browser() -> Any:
            client = Client()

            def get(url: str) -> tuple[int, str, str]:
                answer = client.get(url)
                return answer.status_code, answer.get("Location", ""), answer.content.decode()

            return get

        dance(browser)


def flask(url: str) -> None:
    """authlib.integrations.flask_client."""
    from authlib.integrations.base_client import OAuthError
    from authlib.integrations.flask_client import OAuth
    from flask import Flask, session

    from sessile.flask import Sessile

    app = Flask("third-party")
    Sessile(app, url=url)
    with provider() as known:
        oauth = OAuth(app)
        oauth.register(**known)

        @app.get("/in")
        def begin() -> Any:
            return oauth.local.authorize_redirect(f"{SITE}/back")

        @app.get("/back")
        def back() -> str:
            try:
                token = oauth.local.authorize_access_token()
            except OAuthError:
                return "refused"
            session["name"] = oauth.local.get("me", token=token).json()["name"]
            return f"welcome {session['name']}"

        @app.get("/whoami")
        def who() -> str:
            return str(session.get("name", "nobody"))

        def browser() -> Any:
            client = app.test_client()

            def get(url: str) -> tuple[int, str, str]:
                answer = client.get(url)
                return answer.status_code, answer.headers.get("Location", ""), answer.text

            return get

        dance(browser)


def starlette(url: str) -> None:
    """authlib.integrations.starlette_client."""
    from authlib.integrations.base_client import OAuthError
    from authlib.integrations.starlette_client import OAuth
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    from sessile.starlette import SessionMiddleware

    with provider() as known:
        oauth = OAuth()
        oauth.register(**known)

        async def begin(request: Request) -> Any:
            return await oauth.local.authorize_redirect(request, f"{SITE}/back")

        async def back(request: Request) -> Any:
            try:
                token = await oauth.local.authorize_access_token(request)
            except OAuthError:
                return PlainTextResponse("refused")
            name = (await oauth.local.get("me", token=token)).json()["name"]
            request.session["name"] = name
            return PlainTextResponse(f"welcome {name}")

        async def who(request: Request) -> Any:
            return PlainTextResponse(request.session.get("name", "nobody"))

        paths = {"/in": begin, "/back": back, "/whoami": who}
        app = Starlette(routes=[Route(path, view) for path, view in paths.items()])
        app.add_middleware(SessionMiddleware, url=url, dev=True)

        def browser() -> Any:
            client = TestClient(app, base_url=SITE, follow_redirects=False)

            def get(url: str) -> tuple[int, str, str]:
                answer = client.get(url)
                return answer.status_code, answer.headers.get("Location", ""), answer.text

            return get

        # Authlib itself forgets older states here whenever a new one begins.
        dance(browser, tabs=1)
