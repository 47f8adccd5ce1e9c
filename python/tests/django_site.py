"""A small Django project for tests: settings, users in a file of SQLite, and a few views.

Importing it configures Django for the whole process. Each view does one thing with the session;
`/a...` are the same views as coroutines. `gates` lets a test hold requests in the middle.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from pathlib import Path
from typing import Any

import django
from django.conf import settings

FOLDER = tempfile.TemporaryDirectory(prefix="sessile-django-")

if not settings.configured:
    settings.configure(
        SECRET_KEY="only for tests, and not a secret at all, but long enough for the checks",
        ALLOWED_HOSTS=["*"],
        BASE_DIR=FOLDER.name,
        ROOT_URLCONF="django_site",
        USE_TZ=True,
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(Path(FOLDER.name) / "users.sqlite3"),
            }
        },
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "sessile.django",
        ],
        MIDDLEWARE=[
            "sessile.django.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        SESSION_ENGINE="sessile.django",
        MESSAGE_STORAGE="sessile.django.messages.MessageStorage",
        SESSILE_URL="memory:",
        STATIC_URL="static/",
    )
    django.setup()

from django.contrib import admin, messages  # noqa: E402
from django.contrib.auth import (  # noqa: E402
    aauthenticate,
    alogin,
    alogout,
    authenticate,
    login,
    logout,
)
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.http import HttpRequest, HttpResponse, JsonResponse  # noqa: E402
from django.test import override_settings  # noqa: E402
from django.urls import path  # noqa: E402

OURS = "sessile.django.SessionMiddleware"
DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"

READY = threading.Lock()
MADE: list[str] = []
gates: dict[str, threading.Barrier] = {}
"""Barriers by the value of the request's `gate` parameter."""


def users() -> None:
    """The tables, and the users `ada` and `grace`, whose passwords are their names."""
    with READY:
        if not MADE:
            call_command("migrate", verbosity=0)
            for name in ("ada", "grace"):
                User.objects.create_superuser(name, password=name)
            MADE.append("users")


def middleware(first: str) -> override_settings:
    """The site with this session middleware."""
    return override_settings(MIDDLEWARE=[first, *settings.MIDDLEWARE[1:]])


def wait(request: HttpRequest) -> None:
    gate = gates.get(request.GET.get("gate", ""))
    if gate is not None:
        gate.wait(20)


def nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse("nothing")


def read(request: HttpRequest) -> HttpResponse:
    value = request.session.get("hits")
    wait(request)
    return JsonResponse({"hits": value, "user": str(request.user)})


def change(request: HttpRequest) -> HttpResponse:
    request.session["hits"] = request.session.get("hits", 0) + 1
    wait(request)
    return HttpResponse(status=int(request.GET.get("status", "200")))


def nested(request: HttpRequest) -> HttpResponse:
    request.session.setdefault("cart", {})[request.GET["item"]] = 1
    wait(request)
    return HttpResponse()


def count(request: HttpRequest) -> HttpResponse:
    request.session.incr("hits")
    return HttpResponse()


def say(request: HttpRequest) -> HttpResponse:
    messages.info(request, request.GET["text"])
    wait(request)
    return HttpResponse()


def hear(request: HttpRequest) -> HttpResponse:
    heard = [str(message) for message in messages.get_messages(request)]
    wait(request)
    return JsonResponse({"heard": heard})


def sign_in(request: HttpRequest) -> HttpResponse:
    name = request.GET["name"]
    user = authenticate(request, username=name, password=name)
    login(request, user)
    wait(request)
    return HttpResponse(status=int(request.GET.get("status", "200")))


def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse()


def cycle(request: HttpRequest) -> HttpResponse:
    request.session.cycle_key()
    return HttpResponse()


def expire(request: HttpRequest) -> HttpResponse:
    request.session.set_expiry(int(request.GET["age"]))
    return HttpResponse()


def save(request: HttpRequest) -> HttpResponse:
    """Saves by itself, with another id if asked for, without a look at the rest if `blind`.
    What is `odd` can't be saved afterwards."""
    if "blind" not in request.GET:
        request.session["hits"] = request.session.get("hits", 0) + 1
    if "cycle" in request.GET:
        request.session.cycle_key()
    request.session.save()
    if "then" in request.GET:
        request.session[request.GET["then"]] = True
    if "odd" in request.GET:
        request.session["odd"] = object()
    return HttpResponse(status=int(request.GET.get("status", "200")))


def own_caching(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(request.user), headers={"Cache-Control": "max-age=5"})


def look(request: HttpRequest) -> HttpResponse:
    """One way of looking at the session, by name."""
    session: Any = request.session
    ways = {
        "get": lambda: session.get("hits"),
        "item": lambda: session["hits"],
        "in": lambda: "hits" in session,
        "has_key": lambda: session.has_key("hits"),
        "keys": lambda: list(session.keys()),
        "values": lambda: list(session.values()),
        "items": lambda: list(session.items()),
        "bool": lambda: bool(session.items()),
        "setdefault": lambda: session.setdefault("hits", 1),
        "pop": lambda: session.pop("absent", None),
        "expiry": lambda: session.get_expiry_age(),
        "user": lambda: request.user.is_authenticated,
    }
    ways[request.GET["way"]]()
    return HttpResponse()


class Meeting:
    """A barrier for coroutines."""

    def __init__(self, parties: int) -> None:
        self.missing = parties
        self.complete = asyncio.Event()

    async def wait(self) -> None:
        self.missing -= 1
        if not self.missing:
            self.complete.set()
        await asyncio.wait_for(self.complete.wait(), 20)


meetings: dict[str, Meeting] = {}
"""As `gates`, for the views that are coroutines."""


async def await_others(request: HttpRequest) -> None:
    meeting = meetings.get(request.GET.get("gate", ""))
    if meeting is not None:
        await meeting.wait()


async def aread(request: HttpRequest) -> HttpResponse:
    user = await request.auser()
    hits = await request.session.aget("hits")
    await await_others(request)
    return JsonResponse({"hits": hits, "user": str(user)})


async def anothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse("nothing")


async def achange(request: HttpRequest) -> HttpResponse:
    await request.session.aset("hits", await request.session.aget("hits", 0) + 1)
    await await_others(request)
    return HttpResponse()


async def asign_in(request: HttpRequest) -> HttpResponse:
    name = request.GET["name"]
    await alogin(request, await aauthenticate(request, username=name, password=name))
    await await_others(request)
    return HttpResponse()


async def asign_out(request: HttpRequest) -> HttpResponse:
    await alogout(request)
    return HttpResponse()


VIEWS = [nothing, read, change, nested, count, say, hear, sign_in, sign_out, cycle, expire, look]
VIEWS += [save, own_caching, anothing, aread, achange, asign_in, asign_out]
urlpatterns = [path(view.__name__, view) for view in VIEWS]
urlpatterns.append(path("admin/", admin.site.urls))
