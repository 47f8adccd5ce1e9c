"""The session middleware: a drop-in for Django's own, synchronous and natively async.

What it does beyond Django's: a request whose session got another id in the meantime, or whose
store doesn't answer, changes no cookie, so that it can't sign out what another request signed in;
an id that the browser has is told again only once a tenth of its cookie's age is over, so that an
answer that arrives late brings no old id back (`sessile.cookies`); what a view saved by itself is
told even if it fails then, or a later save does, however; SessionConflict is answered with 409,
SessionUnavailable with 503; `Vary: Cookie` where the session was looked at, and `Cache-Control:
private, no-store` where the session cookie is set or somebody's session was read, unless the view
set a Cache-Control of its own. What always holds: a response of 500 or more writes and rotates
nothing.
"""

from __future__ import annotations

import time
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware as DjangoMiddleware
from django.core.handlers.exception import response_for_exception
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.http import http_date

from sessile.django.config import user_of
from sessile.django.store import SessionStore
from sessile.errors import SessionConflict, SessionUnavailable
from sessile.plans import Plan, arun, run
from sessile.session import QUIET

__all__ = ["SessionMiddleware"]


class SessionMiddleware(DjangoMiddleware):
    """Gives each request its session, and saves it before the response goes out."""

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        if isinstance(request.session, SessionStore):
            request.session.serve(request.headers.get("User-Agent", ""))

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        session = getattr(request, "session", None)
        if not isinstance(session, SessionStore):
            return super().process_response(request, response)
        try:
            return run(session._state.settings.engine(), closing(request, session, response))
        except Exception as error:
            if not session._state.tells_new_id:
                raise
            return telling(response_for_exception(request, error), session)

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        self.process_request(request)
        response: HttpResponseBase = await self.get_response(request)
        session = getattr(request, "session", None)
        if not isinstance(session, SessionStore):
            foreign = sync_to_async(super().process_response, thread_sensitive=True)
            return await foreign(request, response)
        engine = session._state.settings.async_engine()
        try:
            return await arun(engine, closing(request, session, response))
        except Exception as error:
            if not session._state.tells_new_id:
                raise
            respond = sync_to_async(response_for_exception, thread_sensitive=False)
            return telling(await respond(request, error), session)

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponseBase | None:
        """Answers what a view didn't catch."""
        if isinstance(exception, SessionUnavailable):
            return unavailable()
        if isinstance(exception, SessionConflict):
            return conflict()
        return None


def closing(
    request: HttpRequest, session: SessionStore, response: HttpResponseBase
) -> Plan[HttpResponseBase]:
    """Writes what the request changed; the response with its cookie and headers, or another."""
    state = session._state
    if isinstance(state.failure, SessionUnavailable) and response.status_code == 500:
        return telling(unavailable(), session)
    accessed = session.accessed
    if settings.SESSION_COOKIE_NAME in request.COOKIES and session.is_empty():
        if state.may_delete_cookie:
            delete_cookie(response)
        if accessed or state.may_delete_cookie:
            patch_vary_headers(response, ("Cookie",))
        return response
    try:
        set_cookie = yield from saving(request, session, response.status_code)
    except UpdateError as error:
        if isinstance(error, SessionConflict):
            return telling(conflict(), session)
        raise SessionInterrupted(
            "The session ended before the request did: by a sign-out, for example."
        ) from error
    except SessionUnavailable:
        return telling(unavailable(), session)
    if set_cookie:
        add_cookie(response, session)
    if accessed or set_cookie:
        patch_vary_headers(response, ("Cookie",))
    if set_cookie or (accessed and state.is_read and user_of(state.data)):
        response.headers.setdefault("Cache-Control", "private, no-store")
    return response


def saving(request: HttpRequest, session: SessionStore, status: int) -> Plan[bool]:
    """Saves if there is something to save; whether the browser is to be told the id."""
    state = session._state
    if status >= 500:
        if state.tells_cookie:
            yield from state.load()  # as below
        return state.tells_cookie
    every = bool(settings.SESSION_SAVE_EVERY_REQUEST)
    if session.is_empty() or not (session.modified or session.wrote or every or state.wants_cookie):
        return False
    if every:
        yield from state.load()  # how old the cookie may get stands in the document
    if state.standing in QUIET and not state.modified:
        return False
    used = not session.wrote and (session.modified or every)
    if state.modified or used or state.wants_cookie:
        yield from session._save(False)
    # The same id is told again only when that is due: an answer that is overtaken by a sign-in's
    # would bring the old one back.
    known = request.COOKIES.get(settings.SESSION_COOKIE_NAME) == session.session_key
    if not state.may_set_cookie or (known and not (every or state.tells_cookie)):
        return False
    yield from state.load()  # nothing, unless the id was changed without a look at the rest
    return state.may_set_cookie


def telling(response: HttpResponse, session: SessionStore) -> HttpResponse:
    """An answer instead of the view's, which tells the id that the view has written by itself."""
    if session._state.tells_cookie:
        add_cookie(response, session)
        response.headers.setdefault("Cache-Control", "private, no-store")
    return response


def add_cookie(response: Any, session: SessionStore) -> None:
    """Tells the browser the id, as Django does. A session that couldn't be read says nothing of
    its cookie's age, so the cookie ends with the browser."""
    max_age, expires = None, None
    if session._state.is_read and not session.get_expire_at_browser_close():
        max_age = session.get_expiry_age()
        expires = http_date(time.time() + max_age)
    response.set_cookie(
        settings.SESSION_COOKIE_NAME,
        session._state.written_id,
        max_age=max_age,
        expires=expires,
        domain=settings.SESSION_COOKIE_DOMAIN,
        path=settings.SESSION_COOKIE_PATH,
        secure=settings.SESSION_COOKIE_SECURE or None,
        httponly=settings.SESSION_COOKIE_HTTPONLY or None,
        samesite=settings.SESSION_COOKIE_SAMESITE,
    )


def delete_cookie(response: Any) -> None:
    """Tells the browser to forget an id that is of no use."""
    response.delete_cookie(
        settings.SESSION_COOKIE_NAME,
        path=settings.SESSION_COOKIE_PATH,
        domain=settings.SESSION_COOKIE_DOMAIN,
        samesite=settings.SESSION_COOKIE_SAMESITE,
    )


def unavailable() -> HttpResponse:
    """The store can't be reached: nothing is known, nothing was done, no cookie changes."""
    headers = {"Retry-After": "1", "Cache-Control": "no-store"}
    return HttpResponse(
        "The session store does not answer. Please try again.\n",
        status=503,
        content_type="text/plain; charset=utf-8",
        headers=headers,
    )


def conflict() -> HttpResponse:
    """Somebody else changed the session: nothing was done, and the request may be repeated."""
    return HttpResponse(
        "The session changed in the meantime. Please send the request again.\n",
        status=409,
        content_type="text/plain; charset=utf-8",
        headers={"Cache-Control": "no-store"},
    )
