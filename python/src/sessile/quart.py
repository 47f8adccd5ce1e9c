"""Sessions for Quart: `Sessile(app)`, and `quart.session` lives in any engine.

As `sessile.flask`, with one difference: a dict can't be awaited, so a session is loaded before the
view if the browser brought a well-formed cookie; requests for static files load nothing.
A WebSocket's session is loaded at its handshake and written when asked (`await session.save()`),
when its view ends, and when the browser leaves. It's looked for every half minute, and the socket
closed with 4401 when it ended. An open socket doesn't count as use; no cookie goes through it.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

from quart import Quart
from quart.globals import websocket_ctx
from quart.sessions import SessionInterface, SessionMixin
from quart.wrappers import BaseRequestWebsocket, Response, Websocket
from werkzeug.wrappers import Response as PlainResponse

from sessile.errors import SessionConflict, SessionGone, SessionUnavailable
from sessile.flask import configured, renews
from sessile.flask_doctor import commands, is_named
from sessile.plans import arun
from sessile.session import Session, Standing, session_of
from sessile.settings import Settings
from sessile.web import (
    CONFLICT,
    ENDED,
    PERMANENT,
    RECHECK,
    UNAVAILABLE,
    SessionMapping,
    closing,
    ended,
    make_refusal,
    refusal_of,
    told,
)

__all__ = ["QuartSession", "Sessile", "SessileInterface"]

LOG = logging.getLogger("sessile")
Answer = Response | PlainResponse


# `new` is an attribute there that anybody may write; here it's what the store says.
class QuartSession(SessionMapping, SessionMixin):  # type: ignore[override]
    """What `quart.session` stands for."""

    def __init__(self, state: Session) -> None:
        self.state = state

    def looked_at(self) -> Session:
        self.state.accessed = True
        if self.state.failure is not None and not self.state.is_read:
            raise self.state.failure
        return self.state

    async def save(self) -> None:
        """Writes now. In a WebSocket a new session, or one with a new id, is a SessionConflict:
        the browser can't be told."""
        state = self.looked_at()
        await arun(state.settings.async_engine(), closing(state, 200))


class SessileInterface(SessionInterface):
    """Quart's side: makes sessions and writes them back."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def open_session(self, app: Quart, request: BaseRequestWebsocket) -> QuartSession:
        state = session_of(self.settings, request.cookies.get(self.get_cookie_name(app)))
        state.device = request.headers.get("User-Agent", "")
        # What a WebSocket's handshake answers is the app's.
        state.answered = isinstance(request, Websocket)
        if state.standing is Standing.UNREAD and not is_static(app, request.path):
            try:
                await arun(self.settings.async_engine(), state.load())
            except SessionUnavailable as error:
                # Whoever looks at it is told; a view that doesn't is served.
                state.failure = error
        if app.config.get("SESSION_PERMANENT") and state.id is None:
            state.data[PERMANENT] = True
            state.unchanged()
        return QuartSession(state)

    def is_null_session(self, instance: object) -> bool:
        return False

    async def save_session(
        self, app: Quart, session: SessionMixin, response: Answer | None
    ) -> None:
        if not isinstance(session, QuartSession):
            raise TypeError(f"this is no session of ours: {type(session).__name__}")
        state = session.state
        if not state.accessed:
            return
        if response is not None:
            response.vary.add("Cookie")
        if not state.is_read:
            return
        status, refusal = 200 if response is None else response.status_code, None
        try:
            await arun(self.settings.async_engine(), closing(state, status))
        except (SessionUnavailable, SessionConflict) as error:
            refusal = refusal_of(error)
            if state.answered:
                LOG.warning("the session of a WebSocket was not written: %s", error)
        except SessionGone:
            LOG.info("a session ended while a request was being served")
        if response is None:
            return
        if refusal is not None:
            make_refusal(response, *refusal)
            if state.tells_cookie:
                self.tell(app, state, response, True)
            return
        self.tell(app, state, response, told(state, status, renews=renews(app, state)))

    def tell(self, app: Quart, state: Session, response: Answer, tells: bool) -> None:
        """Sets or deletes the cookie, and says who may keep the response."""
        where: dict[str, Any] = {
            "domain": self.get_cookie_domain(app),
            "path": self.get_cookie_path(app),
            "secure": self.get_cookie_secure(app),
            "httponly": self.get_cookie_httponly(app),
            "samesite": self.get_cookie_samesite(app),
        }
        if tells:
            age = app.permanent_session_lifetime if state.data.get(PERMANENT) else None
            response.set_cookie(
                self.get_cookie_name(app),
                state.written_id or "",
                max_age=age,
                **where,
            )
        elif state.may_delete_cookie:
            response.delete_cookie(self.get_cookie_name(app), **where)
        if tells or self.settings.user_of(state.data):
            response.headers.setdefault("Cache-Control", "private, no-store")

    def regenerate(self, session: QuartSession) -> None:
        """Flask-Session's name for `session.rotate()`."""
        session.rotate()


class Sessile:
    """The extension: `Sessile(app)`, or `Sessile()` and `init_app(app)` later."""

    def __init__(
        self, app: Quart | None = None, *, recheck: float = RECHECK, **settings: Any
    ) -> None:
        """`settings` are names of SESSILE_ settings in lower case without it: `url`, `slide`.
        `recheck` is after how many seconds the session of an open WebSocket is looked for."""
        self._given = settings
        self.recheck = recheck
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Quart) -> None:
        """Keeps the app's sessions from now on. Raises ConfigurationError; does no I/O."""
        settings = configured(app, self._given)
        interface: Any = SessileInterface(settings)
        app.cli.add_command(commands(app, settings, named=is_named(app, self._given)))
        app.session_interface = interface
        app.extensions["sessile"] = self

        @app.before_websocket
        async def begun() -> None:
            session, view = websocket_ctx.session, asyncio.current_task()
            if isinstance(session, QuartSession) and view is not None:
                watch = asyncio.ensure_future(self.watch(session, websocket_ctx.websocket, view))
                view.add_done_callback(lambda _: watch.cancel())

        @app.teardown_websocket
        async def left(error: BaseException | None) -> None:
            # So Quart ends a view whose browser has left. One that failed writes nothing.
            session = websocket_ctx.session
            if isinstance(error, asyncio.CancelledError) and isinstance(session, QuartSession):
                await interface.save_session(app, session, None)

        @app.errorhandler(SessionUnavailable)
        async def unavailable(_: Exception) -> Response:
            return answer(app, 503, UNAVAILABLE)

        @app.errorhandler(SessionConflict)
        async def conflict(_: Exception) -> Response:
            return answer(app, 409, CONFLICT)

    async def watch(self, session: QuartSession, socket: Websocket, view: Any) -> None:
        """Closes a WebSocket whose session has ended elsewhere, and ends its view."""
        await ended(session.state, self.recheck)
        with suppress(RuntimeError):  # the view has closed it just now
            await socket.close(ENDED, "signed out")
        view.cancel()


def is_static(app: Quart, path: str) -> bool:
    """Whether a path is that of a file, for which nobody asks who is signed in."""
    return app.has_static_folder and path.startswith(f"{app.static_url_path}/")


def answer(app: Quart, status: int, text: str) -> Response:
    response: Response = app.response_class(text, status=status)
    make_refusal(response, status, text)
    return response
