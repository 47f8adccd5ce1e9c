"""Sessions for Flask: `Sessile(app)`, and `flask.session` lives in any engine.

Nothing is asked of the store until the session is looked at. A request that only reads costs one
command; it never writes. A session that isn't permanent is a browser cookie and ends
PERMANENT_SESSION_LIFETIME after its last use. SESSION_REFRESH_EACH_REQUEST renews the cookie of
permanent sessions and lets reads count as use.
What always holds: a session that another request ended or moved to a new id isn't written again,
and its cookie isn't touched; whoever signs in (`_user_id`, as Flask-Login writes it) gets a new
id; a response of 500 or more writes nothing.
"""

from __future__ import annotations

import logging
import re
from collections.abc import MutableMapping
from typing import Any

from flask import Flask, Request, Response, current_app
from flask.sansio.app import App
from flask.sessions import SessionInterface, SessionMixin

from sessile.errors import ConfigurationError, SessionConflict, SessionGone, SessionUnavailable
from sessile.flask_doctor import commands, is_named
from sessile.flask_settings import shape_of, url_of, warn
from sessile.plans import run
from sessile.session import Session, session_of
from sessile.settings import NAMES, Settings, read
from sessile.web import (
    CONFLICT,
    PERMANENT,
    UNAVAILABLE,
    SessionMapping,
    closing,
    make_refusal,
    refusal_of,
    told,
)

__all__ = ["FlaskSession", "Sessile", "SessileInterface", "configured", "user_of"]

USER = "_user_id"
LOG = logging.getLogger("sessile")


# `new` is an attribute there that anybody may write; here it's what the store says.
class FlaskSession(SessionMapping, SessionMixin):  # type: ignore[override]
    """What `flask.session` stands for. It's loaded when it's first looked at."""

    def __init__(self, state: Session) -> None:
        self.state = state

    def looked_at(self) -> Session:
        self.state.accessed = True
        if not self.state.is_read:
            run(self.state.settings.engine(), self.state.load())
        return self.state


class SessileInterface(SessionInterface):
    """Flask's side: makes sessions and writes them back."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def open_session(self, app: Flask, request: Request) -> FlaskSession:
        state = session_of(self.settings, request.cookies.get(self.get_cookie_name(app)))
        state.device = request.headers.get("User-Agent", "")
        session = FlaskSession(state)
        if app.config.get("SESSION_PERMANENT") and state.id is None:
            state.data[PERMANENT] = True
            state.unchanged()
        return session

    def is_null_session(self, obj: object) -> bool:
        return False

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if not isinstance(session, FlaskSession):
            raise TypeError(f"this is no session of ours: {type(session).__name__}")
        state = session.state
        if not state.accessed:
            return
        response.vary.add("Cookie")
        if not state.is_read:
            return
        try:
            run(self.settings.engine(), closing(state, response.status_code))
        except (SessionUnavailable, SessionConflict) as error:
            make_refusal(response, *refusal_of(error))
            if state.tells_cookie:
                self.set_cookie(app, state, response)
            return
        except SessionGone:
            LOG.info("a session ended while a request was being served")
        tells = told(state, response.status_code, renews=renews(app, state))
        if tells:
            self.set_cookie(app, state, response)
        elif state.may_delete_cookie:
            self.delete_cookie(app, response)
        if tells or self.settings.user_of(state.data):
            response.headers.setdefault("Cache-Control", "private, no-store")

    def set_cookie(self, app: Flask, state: Session, response: Response) -> None:
        """Tells the browser the id."""
        permanent = bool(state.data.get(PERMANENT))
        response.set_cookie(
            self.get_cookie_name(app),
            state.written_id or "",
            max_age=app.permanent_session_lifetime if permanent else None,
            domain=self.get_cookie_domain(app),
            path=self.get_cookie_path(app),
            secure=self.get_cookie_secure(app),
            httponly=self.get_cookie_httponly(app),
            samesite=self.get_cookie_samesite(app),
        )

    def delete_cookie(self, app: Flask, response: Response) -> None:
        """Tells the browser to forget an id that is of no use."""
        response.delete_cookie(
            self.get_cookie_name(app),
            domain=self.get_cookie_domain(app),
            path=self.get_cookie_path(app),
            secure=self.get_cookie_secure(app),
            httponly=self.get_cookie_httponly(app),
            samesite=self.get_cookie_samesite(app),
        )

    def regenerate(self, session: FlaskSession) -> None:
        """Flask-Session's name for `session.rotate()`."""
        session.rotate()


class Sessile:
    """The extension: `Sessile(app)`, or `Sessile()` and `init_app(app)` later."""

    def __init__(self, app: Flask | None = None, **settings: Any) -> None:
        """`settings` are names of SESSILE_ settings in lower case without it: `url`, `slide`."""
        self._given = settings
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Keeps the app's sessions from now on. Raises ConfigurationError; does no I/O."""
        settings = configured(app, self._given)
        app.session_interface = SessileInterface(settings)
        app.cli.add_command(commands(app, settings, named=is_named(app, self._given)))
        app.extensions["sessile"] = self
        app.register_error_handler(SessionUnavailable, unavailable)
        app.register_error_handler(SessionConflict, conflict)


def configured(app: App, given: dict[str, Any]) -> Settings:
    """The settings of an app; those of Flask-Session are understood where they mean the same."""
    config = app.config
    for name in given:
        if f"SESSILE_{name.upper()}" not in NAMES:
            raise ConfigurationError(f"Sessile() has no setting {name!r}")
    warn(config)
    if "SESSILE_URL" not in config and "url" not in given and (url := url_of(config)):
        given = {**given, "url": url}
    prefix = config.get("SESSION_KEY_PREFIX")
    if "SESSILE_NAMESPACE" not in config and "namespace" not in given and prefix:
        given = {**given, "namespace": re.sub(r"[^A-Za-z0-9_.-]", "", prefix) or "app"}

    def get(name: str) -> Any:
        return given.get(name.removeprefix("SESSILE_").lower(), config.get(name))

    lifetime = config.get("PERMANENT_SESSION_LIFETIME", 31 * 86400)
    seconds = lifetime.total_seconds() if hasattr(lifetime, "total_seconds") else lifetime
    settings = read(
        get,
        home=app.instance_path,
        debug=bool(app.debug),
        idle=max(1, int(seconds)),
        shape=shape_of(config),
        cookie_age=lambda document: cookie_age(app, document),
        reads_renew=False,
        user_of=user_of,
        moving=moving_in(get, config),
    )
    if get("SESSILE_SLIDE") is None and config.get("SESSION_REFRESH_EACH_REQUEST", True):
        object.__setattr__(settings, "slide", True)
    return settings


def moving_in(get: Any, config: MutableMapping[str, Any]) -> Any:
    """Where sessions come from, while they move in: `"flask-session"`, or a Source."""
    source = get("SESSILE_SOURCE")
    if source is None:
        return None
    from sessile.moving import Moving

    if source == "flask-session":
        from sessile.moving_redis import FlaskSessionKeys

        client = config.get("SESSION_REDIS")
        if client is None:
            raise ConfigurationError("SESSILE_SOURCE: flask-session needs SESSION_REDIS")
        source = FlaskSessionKeys(client, config.get("SESSION_KEY_PREFIX", "session:"))
    elif not hasattr(source, "carries"):
        raise ConfigurationError("SESSILE_SOURCE must be 'flask-session' or a Source")
    return Moving(source, get("SESSILE_MOVING") or "move")


def renews(app: App, state: Session) -> bool:
    """Whether a cookie that is due is set again although nothing changed."""
    return bool(state.data.get(PERMANENT)) and bool(app.config["SESSION_REFRESH_EACH_REQUEST"])


def cookie_age(app: App, document: Any) -> int:
    """For how many seconds a browser keeps the cookie; 0 until it's closed."""
    return int(app.permanent_session_lifetime.total_seconds()) if document.get(PERMANENT) else 0


def user_of(document: Any) -> str:
    """Who is signed in, as Flask-Login notes it."""
    user = document.get(USER)
    return "" if user is None else str(user)


def unavailable(_: Exception) -> Any:
    """The answer of a view that needed the store, which didn't answer."""
    return answer(503, UNAVAILABLE)


def conflict(_: Exception) -> Any:
    """The answer where somebody else changed the session."""
    return answer(409, CONFLICT)


def answer(status: int, text: str) -> Response:
    response: Response = current_app.response_class(status=status)
    make_refusal(response, status, text)
    return response
