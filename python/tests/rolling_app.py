"""The apps of test_rolling.py: one that counts its user's visits, in Django and in Flask.

A worker is one of the old engine, or of ours in one of the ways to move, by what the file `way` in
ROLL_FOLDER says when it starts; it then leaves a file with its number and its way in `workers`.
ROLL_APP names the app and its old engine, ROLL_OLD where that keeps sessions, ROLL_URL where ours
does. Each page answers with who is signed in, the count, and the way of the worker.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["ROLL_FOLDER"])
NAME = os.environ["ROLL_APP"]
OLD = os.environ["ROLL_OLD"]
URL = os.environ["ROLL_URL"]
WAY = (FOLDER / "way").read_text()
USER = {"django": "_auth_user_id", "flask": "_user_id"}[NAME.partition("-")[0]]
PAGES = ("sign_in", "hit", "read", "renew", "sign_out")
BACKENDS = {
    "django-cached_db": "django_redis.cache.RedisCache",
    "django-cache": "django.core.cache.backends.redis.RedisCache",
    "django-cache-django_redis": "django_redis.cache.RedisCache",
}


def visit(page: str, name: str, session: Any, renew: Any, end: Any) -> dict[str, Any]:
    """What a page does to the session."""
    if page == "sign_in":
        session[USER] = name
        session["count"] = 0
        renew()
    elif page == "hit" and USER in session:
        session["count"] += 1
    elif page == "renew" and USER in session:
        renew()
    elif page == "sign_out":
        end()
    return {"user": session.get(USER), "count": session.get("count"), "way": WAY}


def django() -> Any:
    """Django's application."""
    from django.conf import settings

    engine = NAME.split("-")[1]
    old = f"django.contrib.sessions.backends.{engine}"
    middleware = "django.contrib.sessions.middleware" if WAY == "old" else "sessile.django"
    options = {"timeout": 30, "transaction_mode": "IMMEDIATE"}
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(FOLDER / "db.sqlite3")}
    settings.configure(
        SECRET_KEY="rolling",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["django.contrib.sessions"],
        MIDDLEWARE=[f"{middleware}.SessionMiddleware"],
        CACHES={"default": {"BACKEND": BACKENDS[NAME], "LOCATION": OLD}},
        DATABASES={"default": {**database, "OPTIONS": options}},
        SESSION_ENGINE=old if WAY == "old" else "sessile.django",
        SESSILE_URL=URL,
        SESSILE_SOURCE=None if WAY == "old" else old,
        SESSILE_MOVING=None if WAY == "old" else WAY,
    )
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpRequest, JsonResponse
    from django.urls import path

    def view(request: HttpRequest, page: str) -> JsonResponse:
        session = request.session
        name = request.GET.get("name", "")
        return JsonResponse(visit(page, name, session, session.cycle_key, session.flush))

    globals()["urlpatterns"] = [path("<page>", view)]
    return get_wsgi_application()


def flask() -> Any:
    """Flask's application."""
    import redis
    from flask import Flask, jsonify, request, session

    app = Flask("rolling")
    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=redis.from_url(OLD), SESSILE_URL=URL)
    interface: Any
    if WAY == "old":
        from flask_session import Session

        Session(app)
    else:
        from sessile.flask import Sessile

        Sessile(app, source="flask-session", moving=WAY)
    interface = app.session_interface

    def renew() -> None:
        if WAY == "old":
            interface.regenerate(session)
        else:
            session.rotate()  # type: ignore[attr-defined]

    @app.get("/<page>")
    def view(page: str) -> Any:
        name = request.args.get("name", "")
        return jsonify(visit(page, name, session, renew, session.clear))

    return app


def application() -> Any:
    """What gunicorn calls; the worker is ready."""
    made = django() if NAME.startswith("django") else flask()
    ready = FOLDER / "workers" / f"{os.getpid()}.new"
    ready.write_text(WAY)
    ready.replace(ready.with_suffix(""))
    return made
