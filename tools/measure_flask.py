"""What a request pays for its session in Flask, by extension and store.

    python tools/measure_flask.py [ROUNDS] [--json FILE]

Each operation is the whole of a request's session work, from Flask asking the extension to open the
session to the extension having saved it and set its cookie: read looks at one value, change assigns
one field, sign-in gets a new id and assigns one. Flask-Session saves on every request, also if it
only reads, as its defaults say. Flask's own sessions are a signed cookie: no store, no new id. The
session has 12 leaves of 461 bytes together. Starts Debian's redis-server and memcached and our own
release binary; needs the virtual environment of the tests.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from servers import Store
from taking_turns import LEAVES, Ways, main

BASE = "Flask-Session on redis-server"


def apps(rivals: Store, ours: Store):
    """An app for each way."""
    import pymemcache
    import redis
    from flask import Flask
    from flask_session import Session

    from sessile.flask import Sessile

    def app(install: Callable[[Flask], object], **config):
        made = Flask("measuring")
        made.secret_key = "measuring"
        made.config.update(config)
        install(made)
        return made

    def on_redis(url: str):
        return app(Session, SESSION_TYPE="redis", SESSION_REDIS=redis.from_url(url))

    def sessile(url: str):
        return app(lambda made: Sessile(made, url=url))

    host, port = rivals.memcached.rsplit(":", 1)
    memcached = pymemcache.Client((host, int(port)), no_delay=True)
    address = f"{ours.host}:{ours.port}"
    return {
        "Flask's signed cookie": app(lambda _: None),
        BASE: on_redis(rivals.redis_url),
        "Flask-Session on memcached": app(
            Session, SESSION_TYPE="memcached", SESSION_MEMCACHED=memcached
        ),
        "Flask-Session on Sessile": on_redis(ours.redis_url),
        "sessile on redis-server": sessile(rivals.redis_url),
        "sessile on Sessile, redis://": sessile(ours.redis_url),
        "sessile on Sessile, sessile://": sessile(f"sessile://{address}"),
    }


class Way:
    """What is done with one app's session."""

    def __init__(self, app) -> None:
        self.app, self.extension = app, app.session_interface
        self.cookie = ""
        self.request(lambda session: session.update(LEAVES))

    def request(self, work: Callable) -> float:
        """Seconds of the session's part of a request; its cookie is kept."""
        headers = {"Cookie": f"session={self.cookie}"} if self.cookie else {}
        with self.app.app_context():
            environ = self.app.test_request_context(headers=headers).request.environ
            request, response = self.app.request_class(environ), self.app.response_class()
            begun = time.perf_counter()
            session = self.extension.open_session(self.app, request)
            work(session)
            self.extension.save_session(self.app, session, response)
            took = time.perf_counter() - begun
        set_cookie = response.headers.get("Set-Cookie")
        if set_cookie:
            self.cookie = set_cookie.split(";")[0].partition("=")[2]
        return took

    def read(self, _: str) -> float:
        def work(session) -> None:
            assert session["field05"]

        return self.request(work)

    def change(self, value: str) -> float:
        def work(session) -> None:
            assert session["field04"]
            session["field05"] = value

        return self.request(work)

    def sign_in(self, value: str) -> float:
        def work(session) -> None:
            assert session["field04"]
            if hasattr(self.extension, "regenerate"):
                self.extension.regenerate(session)
            session["field06"] = value

        before = self.cookie
        took = self.request(work)
        assert self.cookie != before
        return took

    def operations(self):
        return {"read": self.read, "change": self.change, "sign-in": self.sign_in}


def ways(rivals: Store, ours: Store) -> Ways:
    return {name: Way(app).operations() for name, app in apps(rivals, ours).items()}


if __name__ == "__main__":
    main(__doc__ or "", BASE, ways)
