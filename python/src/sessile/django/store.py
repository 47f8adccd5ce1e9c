"""The session engine: Django's SessionBase over `sessile.session`, sync and natively async.

What always holds: nothing is asked of the store before the session is looked at; `save` sends
what changed and never revives a session that ended (UpdateError); `cycle_key` picks the new id
at once and the next save carries it out; the keys that Django hands in are checked before any
I/O and never adopted. `encode` and `decode` stay Django's own, for those who call them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

from django.conf import settings as django_settings
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.utils.module_loading import import_string

from sessile import ids
from sessile.django.config import configured, without_grace
from sessile.errors import SessionConflict, SessionGone, SessionUnavailable
from sessile.plans import Plan, arun, run
from sessile.session import Standing, session_of
from sessile.settings import Settings

__all__ = ["ConflictError", "SessionStore"]

T = TypeVar("T")
Path = str | Sequence[str]


class ConflictError(SessionConflict, UpdateError, SessionInterrupted):
    """A conflict, in words that Django and its own middleware understand."""


class SessionStore(SessionBase):
    """One session in one request. See Django's documentation for all that isn't told here."""

    accessed = False
    wrote = False
    """Whether this request wrote the session."""
    _flag = False
    _odd: str | None = None
    _is_mixed = False
    """Whether a class of somebody else's stands between this one and SessionBase."""

    def __init__(self, session_key: str | None = None) -> None:
        self._state = session_of(self._settings(), session_key)
        if self._is_mixed:
            super().__init__(session_key)
        elif session_key is not None and self._state.id is None:
            # SessionBase isn't asked: what it sets stands in the class or is a property here, and
            # it would import the serializer for each request.
            self._session_key = session_key

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._is_mixed = cls.__mro__[cls.__mro__.index(SessionStore) + 1] is not SessionBase

    @cached_property
    def serializer(self) -> Any:
        """For `encode` and `decode`."""
        return import_string(django_settings.SESSION_SERIALIZER)

    def _settings(self) -> Settings:
        """Those of the project. GRACE is for the middleware that knows when to set no cookie."""
        return without_grace(self.get_session_cookie_age())

    def serve(self, device: str) -> None:
        """What our middleware adds: GRACE, and what the browser calls itself."""
        self._state.device = device
        if configured().grace:
            self._state.settings = replace(self._state.settings, grace=configured().grace)

    @property
    def store_key(self) -> str | None:
        """The key of the session in the store: no id, and of no use as one."""
        keys = self._state.keys
        return keys[0].decode() if keys else None

    # ---- explicit operations, which merge in the store and need no load

    def incr(self, path: Path, by: int | float = 1) -> None:
        """Adds to a number; parallel requests add up. A path is a key, or the keys down to it."""
        self._state.incr(parts(path), by)
        self.accessed = True

    def push(self, path: Path, value: Any, trim: int | None = None) -> None:
        """Appends to a list, of which the last `trim` are kept."""
        self._state.push(parts(path), value, trim)
        self.accessed = True

    def init(self, path: Path, value: Any) -> None:
        """Sets a value unless there is one."""
        self._state.init(parts(path), value)
        self.accessed = True

    def replace(self, path: Path, value: Any) -> None:
        """Puts a value in the place of all that is there, instead of merging dicts."""
        _ = self._session if len(parts(path)) > 1 else None
        self._state.replace(parts(path), value)
        self.accessed = True

    # ---- what SessionBase keeps in attributes

    @property
    def _session_cache(self) -> dict[str, Any]:
        if not self._state.is_read:
            raise AttributeError("the session has not been loaded")
        return self._state.data

    @_session_cache.setter
    def _session_cache(self, value: dict[str, Any]) -> None:
        self._state.data = value

    @_session_cache.deleter
    def _session_cache(self) -> None:
        self._state = self._state.again()

    def _get_session(self, no_load: bool = False) -> dict[str, Any]:
        # As Django's own, which finds out by an exception whether there is anything to load; in
        # the asynchronous one that's a small part of all else, and it's left as it is.
        self.accessed = True
        if not self._state.is_read:
            to_load = self.session_key is not None and not no_load
            self._session_cache = self.load() if to_load else {}
        return self._state.data

    _session = property(_get_session)

    @property
    def modified(self) -> bool:
        """Whether there is something to save: said by the code, or found by comparing."""
        return self._flag or self._state.modified

    @modified.setter
    def modified(self, value: bool) -> None:
        self._flag = bool(value)
        if not value:
            self._state.unchanged()

    def _get_session_key(self) -> str | None:
        return self._state.id or self._odd

    def _set_session_key(self, value: Any) -> None:
        if value == self._state.id and value is not None:
            return
        data = self._state.data if self._state.is_read else None
        self._state = session_of(self._settings(), value)
        if data:
            self._state.data = data
        # An id that can't be ours is shown until the session is looked at, as Django shows it.
        odd = self._validate_session_key(value) and self._state.id is None
        self._odd = value if odd else None

    session_key = property(_get_session_key)
    _session_key = property(_get_session_key, _set_session_key)

    def _get_new_session_key(self) -> str:
        return ids.new_id()

    async def _aget_new_session_key(self) -> str:
        return self._get_new_session_key()

    def clear(self) -> None:
        self._state.clear()
        self.accessed = self.modified = True

    # ---- the contract, as plans

    def _load(self) -> Plan[dict[str, Any]]:
        self._odd = None
        if self._state.standing is Standing.UNREAD and not self._state.is_read:
            yield from self._state.load()
            return self._state.data
        again = self._state.again()
        yield from again.load()
        if again.standing is Standing.NEW:
            self._session_key = None
        return again.data

    def _save(self, must_create: bool) -> Plan[None]:
        state, self._odd = self._state, None
        try:
            if must_create and state.id is not None:
                yield from state.create(state.id)
            elif must_create or state.id is None:
                yield from self._create()
            else:
                yield from state.save()
        except SessionGone as error:
            raise UpdateError from error
        except SessionConflict as error:
            raise (CreateError if must_create else ConflictError)(str(error)) from error
        self.wrote = True

    def _create(self) -> Plan[None]:
        self._odd = None
        try:
            yield from self._state.create()
        except SessionConflict as error:
            raise CreateError(str(error)) from error
        self.wrote = self._flag = True

    def _delete(self, session_key: str | None) -> Plan[None]:
        other = session_key is not None and session_key != self._state.id
        yield from (session_of(self._state.settings, session_key) if other else self._state).end()

    def _flush(self) -> Plan[None]:
        self._odd = None
        try:
            yield from self._state.flush()
        except SessionConflict as error:
            raise ConflictError(str(error)) from error
        self.accessed = self._flag = True

    # ---- synchronous

    def _run(self, plan: Plan[T]) -> T:
        try:
            return run(self._state.settings.engine(), plan)
        except SessionUnavailable as error:
            self._state.failure = error
            raise

    def load(self) -> dict[str, Any]:
        return self._run(self._load())

    def save(self, must_create: bool = False) -> None:
        self._run(self._save(must_create))

    def create(self) -> None:
        self._run(self._create())

    def delete(self, session_key: str | None = None) -> None:
        self._run(self._delete(session_key))

    def exists(self, session_key: str | None) -> bool:
        return self._run(self._state.exists(session_key))

    def flush(self) -> None:
        self._run(self._flush())

    def cycle_key(self) -> None:
        """Picks a new id; the save that follows moves the session there, in one step."""
        self._state.rotate()
        self.accessed = self._flag = True

    @classmethod
    def clear_expired(cls) -> None:
        """Nothing to do: every engine ends sessions in time by itself."""

    # ---- asynchronous

    async def _arun(self, plan: Plan[T]) -> T:
        try:
            return await arun(self._state.settings.async_engine(), plan)
        except SessionUnavailable as error:
            self._state.failure = error
            raise

    async def aload(self) -> dict[str, Any]:
        return await self._arun(self._load())

    async def asave(self, must_create: bool = False) -> None:
        await self._arun(self._save(must_create))

    async def acreate(self) -> None:
        await self._arun(self._create())

    async def adelete(self, session_key: str | None = None) -> None:
        await self._arun(self._delete(session_key))

    async def aexists(self, session_key: str | None) -> bool:
        return await self._arun(self._state.exists(session_key))

    async def aflush(self) -> None:
        await self._arun(self._flush())

    async def acycle_key(self) -> None:
        self.cycle_key()

    @classmethod
    async def aclear_expired(cls) -> None:
        cls.clear_expired()


def parts(path: Path) -> Sequence[str]:
    """The keys of a path."""
    return [path] if isinstance(path, str) else list(path)
