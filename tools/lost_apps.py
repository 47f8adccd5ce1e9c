"""The apps of lost_updates.py: one session, which each request changes a little.

`/change/N` counts up the field of client N, as apps do: reads it, adds one, assigns it. Where the
engine can, it also counts up a sum and appends to a list in the store. `/read` tells the session.
LOST_ENGINE names the engine, LOST_STORE where its store is.
"""

from __future__ import annotations

import os
from typing import Any

ENGINE = os.environ.get("LOST_ENGINE", "")
STORE = os.environ.get("LOST_STORE", "")
KEPT = 100
"""Entries of the list that are kept."""


def change(session: Any, number: int) -> None:
    """What one request does."""
    field = f"field{number}"
    session[field] = session.get(field, 0) + 1
    if hasattr(session, "incr"):
        session.incr("total")
        session.push("seen", number, trim=KEPT)


def django() -> Any:
    """Django's application."""
    from django.conf import settings
    from django.http import JsonResponse
    from django.urls import path

    ours = ENGINE == "sessile"
    backend = {
        "django-redis": "django_redis.cache.RedisCache",
        "pymemcache": "django.core.cache.backends.memcached.PyMemcacheCache",
    }.get(ENGINE, "django.core.cache.backends.locmem.LocMemCache")
    middleware = "sessile.django" if ours else "django.contrib.sessions.middleware"
    settings.configure(
        SECRET_KEY="lost",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        SESSION_ENGINE="sessile.django" if ours else "django.contrib.sessions.backends.cache",
        MIDDLEWARE=[f"{middleware}.SessionMiddleware"],
        CACHES={"default": {"BACKEND": backend, "LOCATION": STORE}},
        SESSILE_URL=STORE if ours else "memory:",
    )
    from django.core.wsgi import get_wsgi_application

    def one(request: Any, number: int) -> JsonResponse:
        change(request.session, number)
        return JsonResponse({})

    def read(request: Any) -> JsonResponse:
        return JsonResponse(dict(request.session.items()))

    globals()["urlpatterns"] = [path("change/<int:number>", one), path("read", read)]
    return get_wsgi_application()


def flask() -> Any:
    """Flask's application."""
    from flask import Flask, jsonify, session

    app = Flask("lost")
    app.secret_key = "lost"
    if ENGINE == "sessile":
        from sessile.flask import Sessile

        app.config["SESSILE_URL"] = STORE
        Sessile(app)
    else:
        import redis
        from flask_session import Session

        app.config.update(SESSION_TYPE="redis", SESSION_REDIS=redis.from_url(STORE))
        Session(app)

    @app.get("/change/<int:number>")
    def one(number: int) -> Any:
        change(session, number)
        return jsonify({})

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

    async def one(request: Request) -> JSONResponse:
        change(request.session, int(request.path_params["number"]))
        return JSONResponse({})

    async def read(request: Request) -> JSONResponse:
        return JSONResponse(dict(request.session))

    return Starlette(
        routes=[Route("/change/{number:int}", one), Route("/read", read)],
        middleware=[Middleware(SessionMiddleware, url=STORE)],
    )
