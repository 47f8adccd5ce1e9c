"""What sessions over other engines do, and ours beside them: the same questions to all.

`ANSWERS` is what the second table of docs/guarantees.md says; test_rivals.py asks again each time
and fails where an answer isn't so any more. What always holds: every engine is the unmodified
package as its own documentation sets it up, a request is what its middleware would do, and a
question that makes no sense for an engine is in neither set of `ANSWERS`.
"""

from __future__ import annotations

import contextlib
import pickle
import unittest.mock
from collections.abc import Callable, Iterator
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any

import redis
from django.contrib.sessions.backends.base import UpdateError
from django.core.cache import caches
from django.test import override_settings
from flask import Flask
from flask_session.redis import RedisSessionInterface

__all__ = ["ANSWERS", "RIVALS", "Question", "Rival", "rival_at"]

BACKENDS = "django.contrib.sessions.backends."
CACHES = {
    "locmem": "django.core.cache.backends.locmem.LocMemCache",
    "redis": "django.core.cache.backends.redis.RedisCache",
    "django-redis": "django_redis.cache.RedisCache",
}
RIVALS = {
    "sessile": ("sessile.django", "redis"),
    "db": (BACKENDS + "db", "locmem"),
    "cache, locmem": (BACKENDS + "cache", "locmem"),
    "cache, redis": (BACKENDS + "cache", "redis"),
    "cache, django-redis": (BACKENDS + "cache", "django-redis"),
    "cached_db, redis": (BACKENDS + "cached_db", "redis"),
    "signed_cookies": (BACKENDS + "signed_cookies", "locmem"),
    "Flask-Session, redis": ("flask_session", "redis"),
}
"""Engines by the words of the table: the module, and the cache below it."""


class Question(Enum):
    """What is asked, in the words of the table."""

    MERGE = "two requests that change different keys: both changes stay"
    NESTED = "a change inside a value is saved without being announced"
    REVIVAL = "what was signed out isn't revived by a request that saves later"
    RACE = "nor by one that is just about to save"
    SIGN_OUT = "after a sign-out a copy of the cookie opens nothing"
    FIXATION = "the cookie known before a sign-in doesn't open what was signed in"
    ADOPTION = "an id that nobody issued is never taken over"
    IDLE = "ends after a time without use, whatever the browser does"
    IDS = "who reads the store finds no id that opens a session"
    VALUES = "who writes the store can't execute code in the app"
    OUTAGE = "a store that is gone is never an empty session"


ANSWERS: dict[Question, tuple[set[str], set[str]]] = {}
"""By question: the engines of which it is so, and those of which it isn't."""


def answers(question: Question, yes: str, no: str) -> None:
    ANSWERS[question] = (set(yes.split("; ")), set(no.split("; ")) - {""})


CACHE_ONLY = "cache, locmem; cache, redis; cache, django-redis"
DJANGO_STORES = f"sessile; db; cached_db, redis; {CACHE_ONLY}"
ELSE = "signed_cookies; Flask-Session, redis"
answers(Question.MERGE, "sessile", f"db; cached_db, redis; {CACHE_ONLY}; {ELSE}")
answers(Question.NESTED, "sessile; Flask-Session, redis", f"{DJANGO_STORES[9:]}; signed_cookies")
answers(Question.REVIVAL, DJANGO_STORES, ELSE)
answers(Question.RACE, "sessile; db", f"cached_db, redis; {CACHE_ONLY}; {ELSE}")
answers(Question.SIGN_OUT, f"{DJANGO_STORES}; Flask-Session, redis", "signed_cookies")
answers(Question.FIXATION, f"{DJANGO_STORES}; signed_cookies", "Flask-Session, redis")
answers(Question.ADOPTION, f"{DJANGO_STORES}; {ELSE}", "")
answers(Question.IDLE, f"{DJANGO_STORES}; {ELSE}", "")
NO_LOCMEM = "cache, redis; cache, django-redis; cached_db, redis; Flask-Session, redis"
answers(Question.IDS, "sessile", f"db; {NO_LOCMEM}")
answers(Question.VALUES, "sessile; db", NO_LOCMEM)
answers(
    Question.OUTAGE,
    "sessile; cached_db, redis; Flask-Session, redis",
    "cache, redis; cache, django-redis",
)


class Rival:
    """One engine, in front of a redis-server where it needs one."""

    def __init__(self, server: redis.Redis[bytes]) -> None:
        self.server = server

    def open(self, cookie: str | None = None) -> Any:
        """The session of a request that comes with a cookie."""
        raise NotImplementedError

    def close(self, session: Any) -> str | None:
        """Ends the request; the browser's cookie from then on, None if it has none."""
        raise NotImplementedError

    def sign_in(self, session: Any) -> None:
        """What the framework does when somebody signs in."""
        raise NotImplementedError

    def sign_out(self, session: Any) -> None:
        """What the framework does when somebody signs out."""
        raise NotImplementedError

    def stored(self) -> bytes:
        """All that lies in the store."""
        names = self.server.keys()
        return b"\n".join(name + b" " + repr(self.server.dump(name)).encode() for name in names)

    def plant(self, flag: Path) -> None:
        """Puts a pickle that makes a file in the place of all values in the store."""
        value = pickle.dumps(Planted(flag))
        names = self.server.keys()
        for name in names:
            if self.server.type(name) == b"hash":
                for field in self.server.hkeys(name):
                    self.server.hset(name, field, value)
            else:
                self.server.set(name, value)

    @contextlib.contextmanager
    def before_write(self, then: Callable[[], object]) -> Iterator[None]:
        """Does something at the moment when the engine has looked and is about to write."""
        yield


class Planted:
    """What makes a file when it's read from a pickle."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> Any:
        return Path.touch, (self.flag,)


class DjangoRival(Rival):
    """An engine of Django's contract; what the middleware does, and `login` and `logout`."""

    def __init__(self, server: redis.Redis[bytes], engine: str) -> None:
        super().__init__(server)
        self.engine = import_module(engine).SessionStore
        self.with_database = engine.endswith("db")

    def open(self, cookie: str | None = None) -> Any:
        return self.engine(cookie)

    def close(self, session: Any) -> str | None:
        if session.is_empty():
            return None
        if session.modified:
            # A request whose session is gone is answered with an error, and changes no cookie.
            with contextlib.suppress(UpdateError):
                session.save()
        return str(session.session_key)

    def sign_in(self, session: Any) -> None:
        session.cycle_key()
        session["user"] = "ada"

    def sign_out(self, session: Any) -> None:
        session.flush()

    def stored(self) -> bytes:
        return super().stored() + b"".join(repr(row).encode() for row in self._rows().values_list())

    def plant(self, flag: Path) -> None:
        super().plant(flag)
        if self.with_database:
            self._rows().update(session_data=pickle.dumps(Planted(flag), 0).decode())

    def _rows(self) -> Any:
        from django.contrib.sessions.models import Session

        return Session.objects.all() if self.with_database else Session.objects.none()

    @contextlib.contextmanager
    def before_write(self, then: Callable[[], object]) -> Iterator[None]:
        cache = type(caches["default"])
        write: Any = cache.set

        def interrupted(*args: Any, **options: Any) -> Any:
            with unittest.mock.patch.object(cache, "set", write):
                then()
                return write(*args, **options)

        with unittest.mock.patch.object(cache, "set", interrupted):
            yield


class FlaskRival(Rival):
    """Flask-Session. It changes no id by itself: an app may call `regenerate` of its own."""

    def __init__(self, server: redis.Redis[bytes], lifetime: int) -> None:
        super().__init__(server)
        self.app = Flask("rival")
        self.app.config.update(PERMANENT_SESSION_LIFETIME=lifetime)
        self.app.session_interface = RedisSessionInterface(self.app, client=server)

    def open(self, cookie: str | None = None) -> Any:
        sent = {"Cookie": f"session={cookie}"} if cookie else {}
        with self.app.test_request_context(headers=sent) as context:
            return self.app.session_interface.open_session(self.app, context.request)

    def close(self, session: Any) -> str | None:
        with self.app.test_request_context():
            self.app.session_interface.save_session(self.app, session, self.app.response_class())
        return str(session.sid)

    def sign_in(self, session: Any) -> None:
        session["user"] = "ada"

    def sign_out(self, session: Any) -> None:
        session.clear()


@contextlib.contextmanager
def rival_at(name: str, server: redis.Redis[bytes], age: int = 3600) -> Iterator[Rival]:
    """The engine of a name, whose sessions live so many seconds without use."""
    engine, cache = RIVALS[name]
    options = server.connection_pool.connection_kwargs
    place = f"redis://127.0.0.1:{options['port']}/{options.get('db', 0)}"
    chosen = {"BACKEND": CACHES[cache], "LOCATION": "rivals" if cache == "locmem" else place}
    if engine == "flask_session":
        yield FlaskRival(server, age)
        return
    with override_settings(CACHES={"default": chosen}, SESSION_COOKIE_AGE=age, SESSILE_URL=place):
        yield DjangoRival(server, engine)
        caches["default"].close()
