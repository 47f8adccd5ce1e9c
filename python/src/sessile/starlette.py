"""Sessions for ASGI: one middleware for Starlette, FastAPI and Litestar.

    app = Starlette(middleware=[Middleware(SessionMiddleware, url="redis://localhost")])
    request.session["cart"] = {"pear": 1}

`scope["session"]` is a dict, loaded before the app is called if the browser brought a well-formed
cookie. Just before the response starts, whatever lies there is compared and written: frameworks
may have put another dict in its place, and an empty one ends the session. `await
request.session.save()` writes earlier, before a stream begins.
A WebSocket's session is loaded at its handshake, whose answer alone can carry a cookie; it's
written when asked and at the end, looked for every half minute, and its socket closed with 4401
when it ended. An open socket doesn't count as use.
What always holds: a response of 500 or more writes nothing; while the store can't be reached, or
another request has given the session a new id, no cookie is set or deleted; an id that was written
before the request failed is told whatever the answer is, by one of ours if nobody else has begun.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

from sessile.errors import ConfigurationError, SessionConflict, SessionGone, SessionUnavailable
from sessile.ids import URL_SAFE
from sessile.plans import arun
from sessile.session import Session, session_of
from sessile.settings import NAMES, Settings, read
from sessile.web import ENDED, RECHECK, UNAVAILABLE, closing, ended, parts, refusal_of, told

__all__ = ["ServerSession", "SessionMiddleware"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOG = logging.getLogger("sessile")
TWO_WEEKS = 14 * 86400
FAILED = "Internal Server Error"
"""What Starlette answers where an app raises."""
TRY_LATER = 1013
"""The close code of a WebSocket while the store doesn't answer."""


class ServerSession(dict[Any, Any]):
    """What `request.session` is: a dict, with operations that merge in the store."""

    def __init__(self, state: Session) -> None:
        super().__init__(state.data)
        self.state = state
        state.data = self
        self.accessed = False

    def mark_accessed(self) -> None:
        """Called by Starlette when `request.session` is used."""
        self.accessed = True

    @property
    def modified(self) -> bool:
        """Whether there is something to save."""
        return self.state.modified

    @property
    def new(self) -> bool:
        """Whether the browser brought no session."""
        return self.state.id is None

    def incr(self, path: str | Sequence[Any], by: int | float = 1) -> None:
        """Adds to a number; parallel requests add up. A path is a key, or the keys down to it."""
        self.state.incr(parts(path), by)

    def push(self, path: str | Sequence[Any], value: Any, trim: int | None = None) -> None:
        """Appends to a list, of which the last `trim` are kept."""
        self.state.push(parts(path), value, trim)

    def init(self, path: str | Sequence[Any], value: Any) -> None:
        """Sets a value unless there is one."""
        self.state.init(parts(path), value)

    def replace(self, path: str | Sequence[Any], value: Any) -> None:
        """Puts a value in the place of all that is there, instead of merging dicts."""
        self.state.replace(parts(path), value)

    def rotate(self) -> None:
        """Gives the session a new id with this response, as after a change of rights."""
        self.state.rotate(hard=True)

    def clear(self) -> None:
        """Empties the session, which ends it."""
        super().clear()
        self.state.clear()
        self.state.data = self

    async def save(self) -> None:
        """Writes now. A new session, or one with a new id, needs its cookie sent after this: once
        the response has started, or a WebSocket was accepted, it's a SessionConflict."""
        await arun(self.state.settings.async_engine(), closing(self.state, 200))


class SessionMiddleware:
    """Gives each HTTP request and WebSocket its session; see the module."""

    def __init__(
        self,
        app: App,
        *,
        cookie: str | None = None,
        max_age: int | None = TWO_WEEKS,
        path: str = "/",
        domain: str | None = None,
        same_site: str = "lax",
        dev: bool = False,
        user_key: str = "user_id",
        recheck: float = RECHECK,
        **settings: Any,
    ) -> None:
        """`max_age` is how long (seconds) a session lives unused, and its cookie; `None` makes it a
        cookie that ends with the browser. `dev` allows plain HTTP. `user_key` is the key that
        holds whose session it is. `recheck` is after how many seconds the session of an open
        WebSocket is looked for. `settings` are the names of SESSILE_ settings in lower case
        without it: `url`, `namespace`, `slide` ... Raises ConfigurationError; does no I/O.
        """
        for name in settings:
            if f"SESSILE_{name.upper()}" not in NAMES:
                raise ConfigurationError(f"SessionMiddleware has no setting {name!r}")
        if same_site.lower() not in ("lax", "strict", "none"):
            raise ConfigurationError("same_site must be 'lax', 'strict' or 'none'")
        self.app = app
        self.cookie = cookie or ("session" if dev or domain or path != "/" else "__Host-session")
        self.recheck = recheck
        self.max_age = max_age
        where = f"Path={path}" + (f"; Domain={domain}" if domain else "")
        secure = "" if dev else "; Secure"
        self.attributes = f"; {where}; HttpOnly; SameSite={same_site.capitalize()}{secure}"

        def user_of(document: Mapping[Any, Any]) -> str:
            user = document.get(user_key)
            return "" if user is None else str(user)

        self.settings: Settings = read(
            lambda name: settings.get(name.removeprefix("SESSILE_").lower()),
            idle=max_age or TWO_WEEKS,
            cookie_age=lambda _: max_age or 0,
            shape=URL_SAFE,
            user_of=user_of,
            moving=moving_in(settings.get("source"), settings.get("moving")),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        state = session_of(self.settings, cookie_of(scope, self.cookie))
        state.device = header_of(scope, b"user-agent")
        try:
            await arun(self.settings.async_engine(), state.load())
        except SessionUnavailable:
            await self.turn_away(scope, receive, send)
            return
        scope["session"] = session = ServerSession(state)
        if scope["type"] == "http":
            await self.http(session, scope, receive, send)
        else:
            await Socket(self, session, scope, receive, send).serve()

    async def http(
        self, session: ServerSession, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """One request: the session is written just before the response starts."""
        state, refused, started = session.state, False, False

        async def answering(message: Message) -> None:
            nonlocal refused, started
            if message["type"] == "http.response.start":
                refusal = await self.close(session, scope, message)
                started = True
                if refusal is not None:
                    refused = True
                    await self.refuse(send, state, *refusal)
                    return
                state.answered = True
            if not refused:
                await send(message)

        try:
            await self.app(scope, receive, answering)
        except (SessionUnavailable, SessionConflict) as error:
            if started:
                raise
            await self.refuse(send, state, *refusal_of(error))
            return
        except Exception:
            # Who answers for this stands outside of us, and can set no cookie of ours. Only
            # an id is worth the app's own page: an end that isn't told is told once more.
            if state.tells_new_id and not started:
                await self.refuse(send, state, 500, FAILED)
            raise
        if started and not refused and state.differs:
            LOG.warning("a session was changed after its response had started; that is lost")

    async def close(
        self, session: ServerSession, scope: Scope, message: Message
    ) -> tuple[int, str] | None:
        """Writes what changed and completes the response's headers; or how to refuse instead."""
        state = session.state
        self.adopt(session, scope)
        try:
            await arun(self.settings.async_engine(), closing(state, message["status"]))
        except (SessionUnavailable, SessionConflict) as error:
            return refusal_of(error)
        except SessionGone:
            LOG.info("a session ended while a request was being served")
        headers = Headers(message)
        headers.vary()
        tells = told(state, message["status"])
        if tells:
            headers.add(b"set-cookie", self.cookie_for(state.written_id or ""))
        elif state.may_delete_cookie:
            headers.add(b"set-cookie", self.cookie_for(""))
        if tells or self.settings.user_of(state.data):
            headers.default(b"cache-control", b"private, no-store")
        return None

    async def refuse(self, send: Send, state: Session, status: int, text: str) -> None:
        """Answers instead of the app: no cookie changes, but what was written before is told."""
        cookies = [self.cookie_for(state.written_id or "")] if state.tells_cookie else []
        await send_refusal(send, status, text, *cookies)

    def adopt(self, session: ServerSession, scope: Scope) -> None:
        """Takes what a framework has put in the place of the session's dict."""
        there = scope.get("session")
        if there is not session:
            given = there if isinstance(there, Mapping) else {}
            dict.clear(session)
            session.update(given)
            if not given and session.state.id is not None:
                session.clear()

    def cookie_for(self, id: str) -> bytes:
        """A Set-Cookie header that tells the browser an id, or to forget the one it has."""
        if not id:
            age = "; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
        else:
            age = f"; Max-Age={self.max_age}" if self.max_age else ""
        return f"{self.cookie}={id}{self.attributes}{age}".encode("latin-1")

    async def turn_away(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The store doesn't answer, and reads as nobody aren't allowed."""
        if scope["type"] == "http":
            await send_refusal(send, 503, UNAVAILABLE)
        else:
            await receive()
            await send({"type": "websocket.close", "code": TRY_LATER})


class Socket:
    """One WebSocket and its session."""

    def __init__(
        self,
        middleware: SessionMiddleware,
        session: ServerSession,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self.middleware = middleware
        self.session = session
        self.scope = scope
        self.receive = receive
        self.send = send
        self.is_closed = False
        self.is_left = False
        """Whether the browser has gone, or been sent away."""

    async def serve(self) -> None:
        watch = asyncio.ensure_future(self.watch())
        try:
            await self.middleware.app(self.scope, self.hear, self.answer)
        except Exception:
            # Many an app ends by what it gets then; one that fails before that writes nothing.
            if self.is_left:
                await self.write()
            raise
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        await self.write()

    async def hear(self) -> Message:
        message = await self.receive()
        self.is_left = self.is_left or message["type"] == "websocket.disconnect"
        return message

    async def answer(self, message: Message) -> None:
        if self.is_closed:
            return
        if message["type"] == "websocket.accept":
            await self.write()
            state = self.session.state
            if state.tells_cookie:
                cookie = self.middleware.cookie_for(state.written_id or "")
                message["headers"] = [*message.get("headers", []), (b"set-cookie", cookie)]
            state.answered = True
        elif message["type"] == "websocket.close":
            self.is_closed = True
        await self.send(message)

    async def write(self) -> None:
        """Writes what changed. A session that has ended stays ended."""
        self.middleware.adopt(self.session, self.scope)
        try:
            await self.session.save()
        except SessionGone:
            LOG.info("a session ended while its WebSocket was open; its changes are dropped")
        except (SessionUnavailable, SessionConflict) as error:
            LOG.warning("the session of a WebSocket was not written: %s", error)

    async def watch(self) -> None:
        """Closes the socket when its session has ended elsewhere."""
        await ended(self.session.state, self.middleware.recheck)
        if not self.is_closed:
            self.is_closed = True
            await self.send({"type": "websocket.close", "code": ENDED, "reason": "signed out"})


class Headers:
    """The headers of a response that is about to start."""

    def __init__(self, message: Message) -> None:
        self.list: list[tuple[bytes, bytes]] = [(k, v) for k, v in message.get("headers", [])]
        message["headers"] = self.list

    def add(self, name: bytes, value: bytes) -> None:
        self.list.append((name, value))

    def default(self, name: bytes, value: bytes) -> None:
        """Sets a header unless the view did."""
        if not any(key.lower() == name for key, _ in self.list):
            self.add(name, value)

    def vary(self) -> None:
        """Says that the response depends on the cookie."""
        for at, (name, value) in enumerate(self.list):
            if name.lower() == b"vary":
                listed = [one.strip().lower() for one in value.split(b",")]
                if b"cookie" not in listed and b"*" not in listed:
                    self.list[at] = (name, value + b", Cookie")
                return
        self.add(b"vary", b"Cookie")


def moving_in(source: Any, way: Any) -> Any:
    """Where sessions come from, while they move in: a `sessile.moving.Source`."""
    if source is None:
        return None
    from sessile.moving import Moving

    return Moving(source, way or "move")


def cookie_of(scope: Scope, name: str) -> str | None:
    """The value of a cookie, the first of its name; `None` if there is none."""
    for line in header_of(scope, b"cookie").split(";"):
        key, equals, value = line.strip().partition("=")
        if equals and key == name:
            return value.strip().strip('"')
    return None


def header_of(scope: Scope, name: bytes) -> str:
    """The value of a header, its repetitions joined; empty if there is none."""
    found = [value for key, value in scope.get("headers", []) if key.lower() == name]
    return b"; ".join(found).decode("latin-1")


async def send_refusal(send: Send, status: int, text: str, *cookies: bytes) -> None:
    """A response that says why nothing was done."""
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(text)),
        (b"cache-control", b"no-store"),
        (b"vary", b"Cookie"),
    ]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    headers += [(b"set-cookie", cookie) for cookie in cookies]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
