"""One small app in each framework, and one way to use any of them.

`browser(framework, url, **settings)` is a browser of an app that keeps its sessions at a URL.
Each path does one thing with the session, as `django_site` does for Django: `/read` shows it,
`/change` counts up, `/sign_in?name=` and `/sign_out` do what they say, `/cycle` asks for a new
id, `/permanent` and `/fail` too; `/meanwhile` changes it and calls `meanwhile` in between, and
`/save` writes before its answer, where the view can wait. The cookie is kept by hand, so that a
test sees what a browser would be told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any

import httpx

from sessile import settings as package
from sessile.session import Session
from sessile.settings import Settings

USER = "_user_id"


@dataclass
class Answer:
    """What came back."""

    status: int
    text: str
    headers: dict[str, str]
    cookies: list[str]
    """The Set-Cookie headers."""

    @property
    def cookie(self) -> str:
        """The only one; empty if there is none."""
        assert len(self.cookies) <= 1, self.cookies
        return self.cookies[0] if self.cookies else ""


@dataclass
class Browser:
    """A browser and the app that it looks at."""

    ask: Callable[[str, dict[str, str]], Answer]
    settings: Settings
    cookie_name: str
    hook: list[Callable[[], None]] = field(default_factory=list)
    id: str | None = None

    def get(self, path: str) -> Answer:
        """Visits a page, and does with the cookie what a browser does."""
        headers = {"Cookie": f"{self.cookie_name}={self.id}"} if self.id else {}
        answer = self.ask(f"/{path}", headers)
        for line in answer.cookies:
            for name, morsel in SimpleCookie(line).items():
                assert name == self.cookie_name
                self.id = None if morsel["max-age"] == "0" else morsel.value
        return answer

    def key(self) -> bytes:
        """The key of its session in the store."""
        return Session(self.settings, self.id).keys[0]

    def meanwhile(self, act: Callable[[], Any]) -> None:
        """What `/meanwhile` does between reading and writing, from now on."""
        self.hook[:] = [act]


LOOKS: dict[str, Callable[[Any], Any]] = {
    "get": lambda session: session.get("hits"),
    "item": lambda session: session["hits"],
    "in": lambda session: "hits" in session,
    "keys": lambda session: list(session.keys()),
    "values": lambda session: list(session.values()),
    "items": lambda session: list(session.items()),
    "iter": list,
    "dict": dict,
    "len": len,
    "bool": bool,
    "setdefault": lambda session: session.setdefault("hits", 1),
    "pop": lambda session: session.pop("absent", None),
    "new": lambda session: session.new,
}
"""Ways of looking at a session without changing it, for `/look?way=`."""


def act(session: Any, path: str, query: str, hook: list[Callable[[], None]]) -> Any:
    """What the pages have in common; the answer is shown as JSON."""
    if path == "read":
        return dict(session)
    if path in ("change", "meanwhile", "save"):
        session["hits"] = session.get("hits", 0) + 1
        for one in hook if path == "meanwhile" else ():
            one()
    elif path == "nested":
        session.setdefault("cart", {})[query] = 1
    elif path == "look":
        LOOKS[query.partition("=")[2]](session)
    elif path == "count":
        session.incr("hits")
    elif path == "sign_in":
        session[USER] = query.partition("=")[2]
    elif path == "cycle":
        session.rotate()
    elif path == "permanent":
        session["_permanent"] = True
    elif path == "fail":
        session["lost"] = True
        raise RuntimeError("a view that fails")
    return {}


@contextmanager
def flask(url: str, settings: dict[str, Any], config: dict[str, Any]) -> Iterator[Browser]:
    from flask import Flask, request, session

    from sessile.flask import Sessile

    app, hook = Flask(__name__), []  # type: ignore[var-annotated]
    app.config.update(config)
    Sessile(app, url=url, **settings)

    @app.get("/<page>")
    def page(page: str) -> Any:
        if page == "sign_out":
            session.clear()
        return {} if page == "nothing" else act(session, page, request.query_string.decode(), hook)

    client = app.test_client(use_cookies=False)

    def ask(path: str, headers: dict[str, str]) -> Answer:
        found = client.get(path, headers=headers)
        cookies = found.headers.getlist("Set-Cookie")
        return Answer(found.status_code, found.text.strip(), dict(found.headers), cookies)

    yield Browser(ask, app.session_interface.settings, "session", hook)  # type: ignore[attr-defined]


@contextmanager
def quart(url: str, settings: dict[str, Any], config: dict[str, Any]) -> Iterator[Browser]:
    from quart import Quart, request, session

    from sessile.quart import Sessile

    app, hook = Quart(__name__), []  # type: ignore[var-annotated]
    app.config.update(config)
    Sessile(app, url=url, **settings)

    @app.get("/<page>")
    async def page(page: str) -> Any:
        if page == "sign_out":
            session.clear()
        found = {} if page == "nothing" else act(session, page, request.query_string.decode(), hook)
        if page == "save":
            await session.save()
        return found

    yield from asgi(app, app.session_interface.settings, hook)  # type: ignore[attr-defined]


@contextmanager
def starlette(url: str, settings: dict[str, Any], config: dict[str, Any]) -> Iterator[Browser]:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from sessile.starlette import SessionMiddleware

    hook: list[Callable[[], None]] = []

    async def page(request: Any) -> Any:
        name = request.path_params["page"]
        if name == "sign_out":
            request.session.clear()
        if name == "nothing":
            return JSONResponse({})
        found = act(request.session, name, request.url.query, hook)
        if name == "save":
            await request.session.save()
        return JSONResponse(found)

    options = {"url": url, "dev": True, "user_key": USER, **settings}
    middleware = [Middleware(SessionMiddleware, **options)]
    app = Starlette(routes=[Route("/{page}", page)], middleware=middleware)
    yield from asgi(app, SessionMiddleware(app, **options).settings, hook)


@contextmanager
def fastapi(url: str, settings: dict[str, Any], config: dict[str, Any]) -> Iterator[Browser]:
    from fastapi import FastAPI, Request

    from sessile.starlette import SessionMiddleware

    app, hook = FastAPI(), []  # type: ignore[var-annotated]

    async def page(page: str, request: Request) -> Any:
        if page == "sign_out":
            request.session.clear()
        found = {} if page == "nothing" else act(request.session, page, request.url.query, hook)
        if page == "save":
            await request.session.save()
        return found

    page.__annotations__["request"] = Request
    app.get("/{page}")(page)
    options: Any = {"url": url, "dev": True, "user_key": USER, **settings}
    app.add_middleware(SessionMiddleware, **options)
    yield from asgi(app, SessionMiddleware(app, **options).settings, hook)


@contextmanager
def litestar(url: str, settings: dict[str, Any], config: dict[str, Any]) -> Iterator[Browser]:
    from litestar import Litestar, Request, get
    from litestar.middleware import DefineMiddleware

    from sessile.starlette import SessionMiddleware

    hook: list[Callable[[], None]] = []

    async def page(request: Request) -> dict[str, Any]:
        name = request.path_params["page"]
        if name == "sign_out":
            request.clear_session()
        if name in ("nothing", "sign_out"):
            return {}
        found: dict[str, Any] = act(request.session, name, request.url.query, hook)
        if name == "save":
            await request.session.save()  # type: ignore[attr-defined]
        return found

    page.__annotations__.update({"request": Request, "return": dict[str, Any]})
    options: Any = {"url": url, "dev": True, "user_key": USER, **settings}
    middleware = [DefineMiddleware(SessionMiddleware, **options)]
    app = Litestar([get("/{page:str}")(page)], middleware=middleware)
    yield from asgi(app, SessionMiddleware(app, **options).settings, hook)  # type: ignore[arg-type]


def asgi(app: Any, settings: Settings, hook: list[Callable[[], None]]) -> Iterator[Browser]:
    """A browser of an ASGI app, all of whose requests share one event loop."""
    loop = asyncio.new_event_loop()
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)

    async def visit(path: str, headers: dict[str, str]) -> Answer:
        request = httpx.Request("GET", f"http://localhost{path}", headers=headers)
        found = await transport.handle_async_request(request)
        text = (await found.aread()).decode().strip()
        return Answer(
            found.status_code, text, dict(found.headers), found.headers.get_list("set-cookie")
        )

    try:
        yield Browser(
            lambda path, headers: loop.run_until_complete(visit(path, headers)),
            settings,
            "session",
            hook,
        )
        loop.run_until_complete(settings.async_engine().close())
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


@contextmanager
def django(url: str, settings: dict[str, Any], config: dict[str, Any]) -> Iterator[Browser]:
    """The project of `django_site`, with its own pages; `config` may name its middleware, and
    says with `face` whether its views are coroutines."""
    from django.test import AsyncClient, Client, override_settings

    import django_site
    from sessile.django.config import configured

    django_site.users()
    awaited = config.get("face") == "async"
    loop = asyncio.new_event_loop()
    prefix = "/a" if awaited else "/"

    def ask(path: str, headers: dict[str, str]) -> Answer:
        kind: Any = AsyncClient if awaited else Client
        client = kind(raise_request_exception=False)
        if headers:
            client.cookies["sessionid"] = headers["Cookie"].partition("=")[2]
        found = client.get(prefix + path.removeprefix("/"))
        if awaited:
            found = loop.run_until_complete(found)
        cookies = [morsel.OutputString() for morsel in found.cookies.values()]
        return Answer(found.status_code, found.content.decode(), dict(found.headers), cookies)

    named = {f"SESSILE_{name.upper()}": value for name, value in settings.items()}
    first = config.get("middleware", django_site.OURS)
    with override_settings(SESSILE_URL=url, **named), django_site.middleware(first):
        yield Browser(ask, configured(), "sessionid")
        loop.run_until_complete(configured().async_engine().close())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


FRAMEWORKS = {one.__name__: one for one in (django, flask, quart, starlette, fastapi, litestar)}
"""How each is opened: with a URL, settings of ours, and the framework's own."""


@contextmanager
def browser(
    framework: str, url: str, config: dict[str, Any] | None = None, **settings: Any
) -> Iterator[Browser]:
    """A browser of an app; its engines are closed and forgotten at the end."""
    try:
        with FRAMEWORKS[framework](url, settings, config or {}) as found:
            yield found
    finally:
        engine = package.ENGINES.pop(url, None)
        if engine is not None:
            engine.close()
        package.ASYNC_ENGINES.pop(url, None)
