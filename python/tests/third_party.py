"""What third-party packages do with a session, from sign-in to sign-out; a process per package.

    python third_party.py CASE URL

Run by test_third_party.py: each case has its own settings, and Django takes them once a process.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import third_party_oauth

URL = sys.argv[2] if len(sys.argv) > 2 else "memory:"


def configure(*apps: str, middleware: tuple[str, ...] = (), **more: Any) -> None:
    """A project with these apps, whose sessions are ours."""
    import django
    from django.conf import settings

    context = ["request", "auth", "messages"]
    processors = [
        f"django.{'template' if name == 'request' else 'contrib.' + name}.context_processors.{name}"
        for name in context
    ]
    settings.configure(
        SECRET_KEY="third-party",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django.contrib.messages",
            "sessile.django",
            *apps,
        ],
        MIDDLEWARE=[
            "sessile.django.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
            *middleware,
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {"context_processors": processors},
            }
        ],
        SESSION_ENGINE="sessile.django",
        SESSILE_URL=URL,
        **more,
    )
    django.setup()
    from django.core.management import call_command

    call_command("migrate", run_syncdb=True, verbosity=0)


def whoami(request: Any) -> Any:
    """The name of who is signed in."""
    from django.http import HttpResponse

    return HttpResponse(request.user.get_username())


def routes(*more: Any) -> None:
    from django.urls import path

    globals()["urlpatterns"] = [path("whoami", whoami), *more]


def user(name: str, **more: Any) -> Any:
    from django.contrib.auth import get_user_model

    return get_user_model().objects.create_user(name, f"{name}@example.com", "pass", **more)


def name_of(client: Any) -> str:
    return str(client.get("/whoami").content.decode())


def rest_framework() -> None:
    """Signing in by session, and its own check of forged requests."""
    configure("rest_framework")
    from django.test import Client
    from django.urls import path
    from rest_framework.authentication import SessionAuthentication
    from rest_framework.permissions import IsAuthenticated
    from rest_framework.response import Response
    from rest_framework.views import APIView

    class Count(APIView):
        authentication_classes = (SessionAuthentication,)
        permission_classes = (IsAuthenticated,)

        def post(self, request: Any) -> Response:
            request.session["n"] = request.session.get("n", 0) + 1
            return Response({"n": request.session["n"]})

    def token(request: Any) -> Any:
        from django.http import HttpResponse
        from django.middleware.csrf import get_token

        return HttpResponse(get_token(request))

    routes(path("count", Count.as_view()), path("token", token))
    user("ann")
    client = Client(enforce_csrf_checks=True)
    assert client.post("/count").status_code == 403
    assert client.login(username="ann", password="pass")
    assert client.post("/count").status_code == 403, "signed in, but forged"
    known = {"X-CSRFToken": client.get("/token").content.decode()}
    assert [client.post("/count", headers=known).json()["n"] for _ in range(3)] == [1, 2, 3]
    client.logout()
    assert client.post("/count", headers=known).status_code == 403


def hijack() -> None:
    """Becoming another user for a while, and oneself again."""
    configure("hijack", middleware=("hijack.middleware.HijackUserMiddleware",))
    from django.test import Client
    from django.urls import include, path

    routes(path("hijack/", include("hijack.urls")))
    boss, ann = user("boss", is_superuser=True, is_staff=True), user("ann")
    client = Client()
    client.force_login(boss)
    before = client.cookies["sessionid"].value
    answer = client.post("/hijack/acquire/", {"user_pk": ann.pk, "next": "/whoami"})
    assert answer.status_code == 302, answer.content
    assert name_of(client) == "ann"
    assert client.cookies["sessionid"].value != before
    assert client.post("/hijack/release/", {"next": "/whoami"}).status_code == 302
    assert name_of(client) == "boss"
    stranger = Client()
    stranger.force_login(ann)
    assert stranger.post("/hijack/acquire/", {"user_pk": boss.pk}).status_code == 403
    assert name_of(stranger) == "ann"


def formtools() -> None:
    """A wizard whose steps are kept in the session."""
    configure("formtools")
    from django import forms
    from django.http import HttpResponse, JsonResponse
    from django.test import Client
    from django.urls import path
    from formtools.wizard.views import SessionWizardView

    class Who(forms.Form):
        name = forms.CharField()

    class Where(forms.Form):
        town = forms.CharField()

    class Wizard(SessionWizardView):
        form_list = (("who", Who), ("where", Where))

        def render(self, form: Any = None, **more: Any) -> Any:
            return HttpResponse(self.steps.current)

        def done(self, form_list: Any, **more: Any) -> Any:
            return JsonResponse(self.get_all_cleaned_data())

    routes(path("wizard", Wizard.as_view()))
    client = Client()
    assert client.get("/wizard").content == b"who"
    step = {"wizard-current_step": "who", "who-name": "Ann"}
    assert client.post("/wizard", step).content == b"where"
    assert Client().get("/wizard").content == b"who", "another browser begins anew"
    assert client.post("/wizard", {"wizard-current_step": "where"}).content == b"where"
    last = client.post("/wizard", {"wizard-current_step": "where", "where-town": "Ulm"})
    assert last.json() == {"name": "Ann", "town": "Ulm"}


def allauth() -> None:
    """Signing in by its form, the list of a user's sessions, and ending the others."""
    configure(
        "allauth",
        "allauth.account",
        "allauth.usersessions",
        middleware=(
            "allauth.account.middleware.AccountMiddleware",
            "allauth.usersessions.middleware.UserSessionsMiddleware",
        ),
        AUTHENTICATION_BACKENDS=["allauth.account.auth_backends.AuthenticationBackend"],
        ACCOUNT_EMAIL_VERIFICATION="none",
        ACCOUNT_RATE_LIMITS=False,
        USERSESSIONS_TRACK_ACTIVITY=True,
        LOGIN_REDIRECT_URL="/whoami",
    )
    from allauth.usersessions.models import UserSession
    from django.test import Client
    from django.urls import include, path

    routes(
        path("accounts/", include("allauth.urls")),
        path("sessions/", include("allauth.usersessions.urls")),
    )
    ann = user("ann")
    phone, laptop = Client(), Client()
    for client in (phone, laptop):
        answer = client.post("/accounts/login/", {"login": "ann", "password": "pass"})
        assert answer.status_code == 302, answer.content
        assert name_of(client) == "ann"
    assert UserSession.objects.filter(user=ann).count() == 2
    assert [one.exists() for one in UserSession.objects.filter(user=ann)] == [True, True]
    # The list's page signs the others out.
    assert phone.post("/sessions/").status_code == 302
    assert name_of(phone) == "ann"
    assert name_of(laptop) == ""
    assert [one.exists() for one in UserSession.objects.filter(user=ann)] == [True]
    phone.post("/accounts/logout/")
    assert name_of(phone) == ""


def flask_login() -> None:
    """Signing in, remembered and protected; a form's token."""
    from flask import Flask, request, session
    from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
    from flask_wtf.csrf import CSRFProtect, generate_csrf

    from sessile.flask import Sessile

    class User(UserMixin):
        def __init__(self, name: str) -> None:
            self.id = name

    app = Flask("third-party")
    app.secret_key = "third-party"
    Sessile(app, url=URL)
    CSRFProtect(app)
    manager = LoginManager(app)
    manager.session_protection = "strong"
    manager.user_loader(User)

    @app.get("/token")
    def token() -> str:
        return generate_csrf()

    @app.post("/in")
    def sign_in() -> str:
        login_user(User(request.form["name"]), remember=True)
        return ""

    @app.post("/out")
    def sign_out() -> str:
        logout_user()
        return ""

    @app.get("/whoami")
    def name() -> str:
        found = current_user.get_id()
        session["n"] = session.get("n", 0) + 1
        return f"{found} {session['n']}"

    client = app.test_client()
    assert client.post("/in", data={"name": "ann"}).status_code == 400, "without a token"
    form = {"name": "ann", "csrf_token": client.get("/token").text}
    assert client.post("/in", data=form).status_code == 200
    assert [client.get("/whoami").text for _ in range(2)] == ["ann 1", "ann 2"]
    # The session is gone, the browser is remembered.
    client.delete_cookie("session")
    assert client.get("/whoami").text == "ann 1"
    # Another browser with this one's cookies: strong protection lets it in nowhere.
    other = client.get("/whoami", headers={"User-Agent": "another browser"})
    assert other.text.startswith("None"), other.text
    form["csrf_token"] = client.get("/token").text
    assert client.post("/out", data=form).status_code == 200
    assert client.get("/whoami").text.startswith("None")


def authlib_django() -> None:
    """Signing in by another site, in Django."""
    third_party_oauth.django(configure, routes)


def authlib_flask() -> None:
    """The same in Flask."""
    third_party_oauth.flask(URL)


def authlib_starlette() -> None:
    """The same in Starlette."""
    third_party_oauth.starlette(URL)


def channels() -> None:
    """The signed-in user and the session in a WebSocket's consumer, and back in a view."""
    configure("channels")
    from asgiref.sync import async_to_sync, sync_to_async
    from asgiref.testing import ApplicationCommunicator
    from channels.auth import AuthMiddlewareStack
    from channels.generic.websocket import AsyncJsonWebsocketConsumer
    from django.contrib.sessions.backends.base import UpdateError
    from django.http import JsonResponse
    from django.test import Client
    from django.urls import path

    class Consumer(AsyncJsonWebsocketConsumer):
        async def receive_json(self, content: Any, **_: Any) -> None:
            session = self.scope["session"]
            session["said"] = [*session.get("said", []), content["say"]]
            await session.asave()
            name = self.scope["user"].get_username()
            await self.send_json({"name": name, "n": session.get("n", 0)})

    def count(request: Any) -> Any:
        request.session["n"] = request.session.get("n", 0) + 1
        return JsonResponse(dict(request.session))

    app = AuthMiddlewareStack(Consumer.as_asgi())

    async def talk(client: Any, *words: str, between: Any = None) -> list[Any]:
        cookies = "; ".join(f"{name}={one.value}" for name, one in client.cookies.items())
        headers = [(b"cookie", cookies.encode())]
        scope = {"type": "websocket", "path": "/", "headers": headers, "subprotocols": []}
        socket = ApplicationCommunicator(app, scope)
        await socket.send_input({"type": "websocket.connect"})
        assert (await socket.receive_output(10))["type"] == "websocket.accept"
        heard = []
        for word in words:
            text = json.dumps({"say": word})
            await socket.send_input({"type": "websocket.receive", "text": text})
            heard.append(json.loads((await socket.receive_output(10))["text"]))
            if between is not None:
                await sync_to_async(between)()
        await socket.send_input({"type": "websocket.disconnect", "code": 1000})
        await socket.wait(10)
        return heard

    routes(path("count", count))
    user("ann")
    client = Client()
    assert client.login(username="ann", password="pass")
    assert client.get("/count").json()["n"] == 1
    # A view changes the session while the socket is open: neither undoes the other.
    heard = async_to_sync(talk)(client, "a", "b", between=lambda: client.get("/count"))
    assert [one["name"] for one in heard] == ["ann", "ann"]
    seen = client.get("/count").json()
    assert (seen["said"], seen["n"]) == (["a", "b"], 4)
    stranger = Client()
    stranger.get("/count")
    assert async_to_sync(talk)(stranger, "c") == [{"name": "", "n": 1}]
    assert stranger.get("/count").json()["said"] == ["c"]
    # Signed out while the socket is open: what it saves late revives nothing.
    cookie = client.cookies["sessionid"].value
    try:
        async_to_sync(talk)(client, "d", "e", between=client.logout)
    except UpdateError:
        pass
    else:
        raise AssertionError("saved into a session that was signed out")
    client.cookies["sessionid"] = cookie
    assert name_of(client) == ""


CASES = (
    rest_framework,
    hijack,
    formtools,
    allauth,
    flask_login,
    channels,
    authlib_django,
    authlib_flask,
    authlib_starlette,
)

if __name__ == "__main__":
    {case.__name__: case for case in CASES}[sys.argv[1]]()
    print("all of it")
