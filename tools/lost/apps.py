"""The apps of the harness: a view that does what it's told to the session, and one that reads it.

The demo's shop is one of them, as it stands: its settings, middleware and pages, these two views
beside them. There the first request signs in, a renewal is a sign-in of the same user, and the end
a sign-out.

`django_asgi` and `shop_asgi` are the same two as ASGI applications, with views that await the
session: what they need of it is loaded, saved and renewed by its async methods.

`POST /step` takes `{"steps": [...], "meet": [...], "first": bool}` and answers with the document as
it was loaded (`seen`; null for nobody's session, to which nothing is done unless it's the first
request). `GET /read` tells the session.
The header `Visit` of each answer to `/step` says whether the request met the others, and with an
engine of ours which version was loaded and which one was there after saving; that is looked up
behind the scenes, other apps have no use for it.

LOST_ENGINE names the engine, LOST_STORE where its store is, LOST_MEET the redis-server of the
meetings, LOST_FOLDER a folder for files.
"""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction

from lost.meeting import Meeting, Room
from lost.steps import carry_out

ENGINE = os.environ.get("LOST_ENGINE", "")
STORE = os.environ.get("LOST_STORE", "")
FOLDER = os.environ.get("LOST_FOLDER", "")
ROOM = Room(os.environ.get("LOST_MEET", ""))
GRACE = 60
"""Seconds for which an id that was renewed goes on working, where the engine can do that."""
LOGGING = {
    "version": 1,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"django.request": {"handlers": ["console"], "level": "ERROR"}},
}
"""Of Django: what went wrong, nothing else."""
DEMO = Path(__file__).resolve().parents[2] / "demo"
SIGN_IN = "_auth_"
"""How the keys begin that Django puts into the session of somebody who signed in."""
BORN = "born"
"""The key that each session has from its first request to its end."""
Controls = Callable[[Any], dict[str, Callable[[Any], Any]]]
"""What begins, renews and ends the session of a request; awaited in async views."""


class Visit:
    """One request: what it's told to do, what it saw, and whether it met the others."""

    def __init__(self, body: bytes) -> None:
        told = json.loads(body)
        self.steps = told["steps"]
        self.meeting = Meeting(*told["meet"]) if told.get("meet") else None
        self.first = bool(told.get("first"))
        self.seen: dict[str, Any] | None = None
        self.met = False

    def load(self, session: Any) -> None:
        """Looks at the session, as every app does that wants to know who is there."""
        if self.first or BORN in session:
            self.seen = copy.deepcopy(told(session))

    def work(self, session: Any, control: dict[str, Callable[[Any], Any]]) -> dict[str, Any]:
        """Changes the session; what the response says."""
        if self.seen is not None:
            carry_out(session, self.steps)
            if ENGINE != "sessile":
                session.modified = True  # others don't see changes in place
            for op, _, _ in self.steps:
                if op in control:
                    control[op](session)
        return {"seen": self.seen}

    async def awork(self, session: Any, control: dict[str, Callable[[Any], Any]]) -> None:
        """The same with what has to be awaited."""
        if self.seen is not None:
            carry_out(session, self.steps)
            for op, _, _ in self.steps:
                if op in control:
                    await control[op](session)

    def has(self, op: str) -> bool:
        """Whether it's told to do this."""
        return any(step[0] == op for step in self.steps)

    def wait(self) -> None:
        if self.meeting:
            self.met = ROOM.arrive(self.meeting)

    def leave(self) -> None:
        if self.meeting:
            ROOM.leave(self.meeting)

    def summary(self, state: Any) -> str:
        """What the header says; `state` is that of a session of ours."""
        loaded = state._loaded.version if state and state._loaded else None
        return json.dumps([self.met, loaded, state._version if state else None])


def told(session: Any) -> dict[str, Any]:
    """The session without what Django keeps in it for itself."""
    return {name: value for name, value in session.items() if not name.startswith(SIGN_IN)}


def django(*, awaits: bool = False) -> Any:
    """Django's application; with `awaits` the ASGI one."""
    from django.conf import settings

    ours = ENGINE == "sessile"
    backend = {
        "django-redis": "django_redis.cache.RedisCache",
        "cached_db": "django_redis.cache.RedisCache",
        "pymemcache": "django.core.cache.backends.memcached.PyMemcacheCache",
    }.get(ENGINE, "django.core.cache.backends.locmem.LocMemCache")
    engine = "cached_db" if ENGINE == "cached_db" else "cache"
    middleware = "sessile.django" if ours else "django.contrib.sessions.middleware"
    settings.configure(
        SECRET_KEY="lost",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        SESSION_ENGINE="sessile.django" if ours else f"django.contrib.sessions.backends.{engine}",
        MIDDLEWARE=[f"{__name__}.django_reporting", f"{middleware}.SessionMiddleware"],
        CACHES={"default": {"BACKEND": backend, "LOCATION": STORE}},
        INSTALLED_APPS=["django.contrib.sessions"],
        DATABASES={"default": sqlite(f"{FOLDER}/django.sqlite3")},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        SESSILE_URL=STORE if ours else "memory:",
        SESSILE_GRACE=GRACE,
        LOGGING=LOGGING,
    )
    if awaits:
        control = {"rotate": lambda s: s.acycle_key(), "end": lambda s: s.aflush()}
    else:
        control = {"rotate": lambda s: s.cycle_key(), "end": lambda s: s.flush()}
    globals()["urlpatterns"] = django_views(lambda request: control, awaits)
    return django_application(awaits)


def django_asgi() -> Any:
    """Django's application on asyncio."""
    return django(awaits=True)


def shop(*, awaits: bool = False) -> Any:
    """The demo's shop; with `awaits` as an ASGI application."""
    sys.path.insert(0, str(DEMO))
    os.environ["SHOP_SECRET_KEY"] = "the same one in each process"
    from django.conf import settings

    from shop import settings as theirs

    given = {name: getattr(theirs, name) for name in dir(theirs) if name.isupper()}
    middleware = [f"{__name__}.django_reporting", *given.pop("MIDDLEWARE")]
    given.update(ROOT_URLCONF=__name__, SESSILE_URL=STORE, SESSILE_GRACE=GRACE, LOGGING=LOGGING)
    settings.configure(MIDDLEWARE=middleware, **given)
    application = django_application(awaits)
    from django.contrib import auth

    from shop import urls, users

    def control(request: Any) -> dict[str, Callable[[Any], Any]]:
        user, backend = users.user(1), given["AUTHENTICATION_BACKENDS"][0]
        login, logout = (auth.alogin, auth.alogout) if awaits else (auth.login, auth.logout)

        def sign_in(_: Any) -> Any:
            return login(request, user, backend)

        return {"begin": sign_in, "rotate": sign_in, "end": lambda _: logout(request)}

    globals()["urlpatterns"] = [*urls.urlpatterns, *django_views(control, awaits)]
    return application


def shop_asgi() -> Any:
    """The demo's shop on asyncio."""
    return shop(awaits=True)


def django_application(awaits: bool) -> Any:
    """What the server calls."""
    from django.core import asgi, wsgi

    if not awaits:
        return wsgi.get_wsgi_application()
    from sessile.settings import Settings

    Settings.engine = refused  # type: ignore[method-assign]
    return asgi.get_asgi_application()


def refused(_: Any) -> Any:
    """In the place of the synchronous engine, so that a request fails that isn't all async."""
    raise RuntimeError("a session was asked for in a thread")


def django_views(control: Controls, awaits: bool) -> list[Any]:
    """Django's paths to the two views. `control` answers what begins, renews and ends a session."""
    from django.contrib.sessions.backends.base import UpdateError
    from django.contrib.sessions.exceptions import SessionInterrupted
    from django.http import HttpRequest, JsonResponse
    from django.urls import path
    from django.views.decorators.csrf import csrf_exempt

    @csrf_exempt
    def step(request: HttpRequest) -> JsonResponse:
        request.visit = visit = Visit(request.body)  # type: ignore[attr-defined]
        visit.load(request.session)
        visit.wait()
        does = control(request)
        if visit.first and "begin" in does:
            does["begin"](request.session)
        return JsonResponse(visit.work(request.session, does))

    def read(request: HttpRequest) -> JsonResponse:
        return JsonResponse(told(request.session))

    @csrf_exempt
    async def astep(request: HttpRequest) -> JsonResponse:
        request.visit = visit = Visit(request.body)  # type: ignore[attr-defined]
        session = request.session
        await session.aitems()  # from here on it's there, and nothing waits for a store
        visit.load(session)
        if visit.meeting:
            visit.met = await ROOM.aarrive(visit.meeting)
        does = control(request)
        if visit.first and "begin" in does:
            await does["begin"](session)
        await visit.awork(session, does)
        if visit.seen is not None and not visit.meeting and not visit.has("end"):
            # Saved by hand, as views do that can't leave it to the middleware.
            try:
                await session.asave()
            except UpdateError as error:
                raise SessionInterrupted("the session ended or got another id") from error
        return JsonResponse({"seen": visit.seen})

    async def aread(request: HttpRequest) -> JsonResponse:
        await request.session.aitems()
        return JsonResponse(told(request.session))

    views = (astep, aread) if awaits else (step, read)
    return [path("step", views[0]), path("read", views[1])]


def sqlite(file: str) -> dict[str, Any]:
    """A database for `cached_db`, which waits for its lock instead of failing."""
    begun = "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF"
    options = {"timeout": 30, "transaction_mode": "IMMEDIATE", "init_command": begun}
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": file, "OPTIONS": options}


def django_reporting(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The middleware around all others: the session has been saved when they answer."""

    def reported(request: Any, response: Any) -> Any:
        if hasattr(request, "visit"):
            state = getattr(request.session, "_state", None)
            response.headers["Visit"] = request.visit.summary(state)
        return response

    def reporting(request: Any) -> Any:
        response = get_response(request)
        if hasattr(request, "visit"):
            request.visit.leave()
        return reported(request, response)

    async def areporting(request: Any) -> Any:
        response = await get_response(request)
        if hasattr(request, "visit") and request.visit.meeting:
            await ROOM.aleave(request.visit.meeting)
        return reported(request, response)

    if not iscoroutinefunction(get_response):
        return reporting
    return markcoroutinefunction(areporting)


django_reporting.async_capable = True  # type: ignore[attr-defined]


def flask() -> Any:
    """Flask's application."""
    from flask import Flask, g, jsonify, request, session

    app = Flask("lost")
    app.secret_key = "lost"
    if ENGINE == "sessile":
        from sessile.flask import Sessile

        app.config["SESSILE_URL"] = STORE
        Sessile(app)
        control = {"rotate": lambda s: s.rotate(), "end": lambda s: s.clear()}
    else:
        import redis
        from flask_session import Session

        app.config.update(SESSION_TYPE="redis", SESSION_REDIS=redis.from_url(STORE))
        Session(app)
        renew = app.session_interface.regenerate  # type: ignore[attr-defined]
        control = {"rotate": renew, "end": lambda s: s.clear()}
    save = app.session_interface.save_session

    def save_session(app: Flask, session: Any, response: Any) -> None:
        save(app, session, response)
        if hasattr(g, "visit"):
            g.visit.leave()
            response.headers["Visit"] = g.visit.summary(getattr(session, "state", None))

    app.session_interface.save_session = save_session  # type: ignore[method-assign]

    @app.post("/step")
    def step() -> Any:
        g.visit = visit = Visit(request.get_data())
        visit.load(session)
        visit.wait()
        return jsonify(visit.work(session, control))

    @app.get("/read")
    def read() -> Any:
        return jsonify(dict(session))

    return app


def starlette() -> Any:
    """Starlette's application."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from sessile.starlette import SessionMiddleware

    control = {"rotate": lambda s: s.rotate(), "end": lambda s: s.clear()}

    async def step(request: Request) -> JSONResponse:
        request.scope["visit"] = visit = Visit(await request.body())
        visit.load(request.session)
        if visit.meeting:
            visit.met = await ROOM.aarrive(visit.meeting)
        return JSONResponse(visit.work(request.session, control))

    async def read(request: Request) -> JSONResponse:
        return JSONResponse(dict(request.session))

    return Starlette(
        routes=[Route("/step", step, methods=["POST"]), Route("/read", read)],
        middleware=[Middleware(Reporting), Middleware(SessionMiddleware, url=STORE)],
    )


def quart() -> Any:
    """Quart's application."""
    from quart import Quart, g, jsonify, request, session

    from sessile.quart import Sessile

    app = Quart("lost")
    app.config["SESSILE_URL"] = STORE
    Sessile(app)
    control = {"rotate": lambda s: s.rotate(), "end": lambda s: s.clear()}
    save = app.session_interface.save_session

    async def save_session(app: Quart, session: Any, response: Any) -> None:
        await save(app, session, response)
        if hasattr(g, "visit"):
            if g.visit.meeting:
                await ROOM.aleave(g.visit.meeting)
            response.headers["Visit"] = g.visit.summary(session.state)

    app.session_interface.save_session = save_session  # type: ignore[method-assign]

    @app.post("/step")
    async def step() -> Any:
        g.visit = visit = Visit(await request.get_data())
        visit.load(session)
        if visit.meeting:
            visit.met = await ROOM.aarrive(visit.meeting)
        return jsonify(visit.work(session, control))

    @app.get("/read")
    async def read() -> Any:
        return jsonify(dict(session))

    return app


class Reporting:
    """The ASGI middleware around the session's: it has been saved when the response starts."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def reporting(message: Any) -> None:
            if message["type"] == "http.response.start" and "visit" in scope:
                said = scope["visit"].summary(scope["session"].state).encode()
                message["headers"] = [*message.get("headers", []), (b"visit", said)]
            await send(message)

        try:
            await self.app(scope, receive, reporting)
        finally:
            visit = scope.get("visit")
            if visit is not None and visit.meeting:
                await ROOM.aleave(visit.meeting)
