"""What Flask, Quart and ASGI apps share: a session as a dict, and what the end of a request writes.

What always holds: a response of 500 or more writes nothing; a session that is emptied ends; a
session that is only read isn't written; a change that can't be written is a conflict, never
dropped in silence.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from sessile.errors import SessileError, SessionConflict, SessionGone, SessionUnavailable
from sessile.plans import Plan, arun
from sessile.session import Session, Standing

__all__ = [
    "CONFLICT",
    "ENDED",
    "PERMANENT",
    "RECHECK",
    "UNAVAILABLE",
    "SessionMapping",
    "closing",
    "ended",
    "make_refusal",
    "parts",
    "refusal_of",
    "told",
]

LOG = logging.getLogger("sessile")
RECHECK: float = 30
"""Seconds after which the session of an open WebSocket is looked for again."""
ENDED = 4401
"""The close code of a WebSocket whose session has ended."""

UNAVAILABLE = "The session store does not answer. Please try again.\n"
CONFLICT = "The session changed in the meantime. Please send the request again.\n"
PERMANENT = "_permanent"
"""Where Flask and Quart note that a session outlives the browser."""


class SessionMapping:
    """The document of a session as a dict, with operations that merge in the store."""

    state: Session

    def looked_at(self) -> Session:
        """The state, which is loaded now if it wasn't."""
        raise NotImplementedError

    def incr(self, path: str | Sequence[Any], by: int | float = 1) -> None:
        """Adds to a number; parallel requests add up. A path is a key, or the keys down to it."""
        self.looked_at().incr(parts(path), by)

    def push(self, path: str | Sequence[Any], value: Any, trim: int | None = None) -> None:
        """Appends to a list, of which the last `trim` are kept."""
        self.looked_at().push(parts(path), value, trim)

    def init(self, path: str | Sequence[Any], value: Any) -> None:
        """Sets a value unless there is one."""
        self.looked_at().init(parts(path), value)

    def replace(self, path: str | Sequence[Any], value: Any) -> None:
        """Puts a value in the place of all that is there, instead of merging dicts."""
        self.looked_at().replace(parts(path), value)

    def rotate(self) -> None:
        """Gives the session a new id with this response, as after a change of rights."""
        self.looked_at().rotate(hard=True)

    @property
    def accessed(self) -> bool:
        """Whether the request looked at it."""
        return self.state.accessed

    @accessed.setter
    def accessed(self, value: bool) -> None:
        self.state.accessed = value

    @property
    def modified(self) -> bool:
        """Whether there is something to save: said by the code, or found by comparing."""
        return self.state.is_read and self.state.modified

    @modified.setter
    def modified(self, value: bool) -> None:
        if value:
            self.state.changed = True
        else:
            self.state.unchanged()

    @property
    def new(self) -> bool:
        """Whether the browser brought no session."""
        return self.looked_at().id is None

    @property
    def permanent(self) -> bool:
        """Whether the cookie outlives the browser."""
        return bool(self.looked_at().data.get(PERMANENT, False))

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self[PERMANENT] = bool(value)

    def __getitem__(self, key: Any) -> Any:
        return self.looked_at().data[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.looked_at().data[key] = value
        self.state.changed = True

    def __delitem__(self, key: Any) -> None:
        del self.looked_at().data[key]
        self.state.changed = True

    def __iter__(self) -> Iterator[Any]:
        return iter(self.looked_at().data)

    def __len__(self) -> int:
        return len(self.looked_at().data)

    def __contains__(self, key: object) -> bool:
        return key in self.looked_at().data

    def clear(self) -> None:
        """Empties the session, which ends it."""
        self.state.accessed = True
        self.state.clear()

    def __repr__(self) -> str:
        shown = self.state.data if self.state.is_read else "not loaded"
        return f"<{type(self).__name__} {shown!r}>"


def closing(state: Session, status: int) -> Plan[None]:
    """Writes what a request changed.

    Raises SessionConflict if that isn't possible any more: the session ended under way, or got
    another id.
    """
    if status >= 500:
        return
    if state.modified and not set(state.data) - {PERMANENT}:
        # Nothing is left in it (that it was permanent is nothing): the session is over. One that
        # couldn't be read was empty from the beginning: it's over only if the app said so.
        if state.cleared or state.standing is not Standing.OUTAGE:
            if state.id is not None:
                yield from state.flush()
            return
        if state.id == state.written_id:
            return
    try:
        yield from state.finish()
    except SessionGone as error:
        if not state.modified:
            raise  # it was only to slide
        raise SessionConflict("the session ended, or got another id, under way") from error


def told(state: Session, status: int, *, renews: bool = False) -> bool:
    """Whether a response tells the browser `written_id`: what was written during the request, if
    only by the view before it failed. `renews` tells an id that is due again without a save."""
    if state.tells_cookie:
        return True
    return renews and status < 500 and state.may_set_cookie and state.cookie_is_due


async def ended(state: Session, every: float) -> None:
    """Waits until a session isn't there any more, looking for it `every` so many seconds.

    To look isn't to use it. While the store doesn't answer nothing is known, and the wait goes on.
    """
    while True:
        await asyncio.sleep(every)
        if state.id is None:
            continue
        try:
            if not await arun(state.settings.async_engine(), state.exists(state.id)):
                return
        except Exception as error:
            # While moving in also the old engine's own, whose words may hold anything.
            said = error if isinstance(error, SessileError) else type(error).__name__
            LOG.warning("the session of a WebSocket was not looked for: %s", said)


def parts(path: str | Sequence[Any]) -> Sequence[Any]:
    """The keys of a path."""
    return [path] if isinstance(path, str) else list(path)


def refusal_of(error: SessionConflict | SessionUnavailable) -> tuple[int, str]:
    """Status and text of the answer to a request whose session couldn't be written."""
    return (409, CONFLICT) if isinstance(error, SessionConflict) else (503, UNAVAILABLE)


def make_refusal(response: Any, status: int, text: str) -> None:
    """Makes a response of Flask's or Quart's into one that says why nothing was done."""
    response.status_code = status
    response.set_data(text)
    response.headers["Content-Type"] = "text/plain; charset=utf-8"
    response.headers["Cache-Control"] = "no-store"
    if status == 503:
        response.headers["Retry-After"] = "1"
