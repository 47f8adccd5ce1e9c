"""One session during one request, without any framework.

A `Session` is a `State` (`session_state`: the id, the document, what the request did to it) with
the plans that ask the store and write there. It does no I/O: `run` or `arun` carries a plan out.

    session = Session(settings, cookie_value)
    run(engine, session.load())          # no I/O if there is nothing to load
    session.data["cart"] = {"apple": 1}
    run(engine, session.finish())        # one SAVE; Action.SAVE

What always holds: an id that isn't well-formed is as good as none and sends nothing; an id that
the server didn't issue is never adopted; a session that is gone is never created again under its
old id; a new user gets a new id, asked for or not; while a session is ROTATED or the store can't
be reached, `may_set_cookie` and `may_delete_cookie` are False.

What happens to sessions is logged as `sessile.sessions`: created, rotated, ended, and ids that
are unknown or replaced at level INFO, outages as warnings. A session is named by the beginning of
its handle, never by its id.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum
from functools import partial
from operator import methodcaller

from sessile import document, telemetry
from sessile.contract import Changes, Loaded, Rotated
from sessile.errors import SessionConflict, SessionGone, SessionUnavailable
from sessile.ids import mark_of, name_of
from sessile.plans import Plan, Step
from sessile.session_state import DEVICE, QUIET, SELF, Standing, State
from sessile.settings import Settings

__all__ = ["DEVICE", "QUIET", "SELF", "Action", "Session", "Standing", "session_of"]

TRIES = 3
"""Ids tried for a new session. With 128 random bits the second one is never needed."""
GONE = "the session ended while this request was being served"
REPLACED = "the session has another id by now; send the request again"
ANSWERED = "the browser can't be told a new id any more: write before its answer begins"
RENEWING = "another task is giving the session its id at this moment"


class Action(Enum):
    """What the end of a request asks of the store."""

    NOTHING = "nothing"
    CREATE = "create"
    SAVE = "save"
    TOUCH = "touch"
    """Nothing changed, but it was used: an empty SAVE."""
    ROTATE = "rotate"


class Session(State):
    """The state of one session in one request; see the module for how it's used."""

    def again(self) -> Session:
        """The same session, as another request would see it."""
        return session_of(self.settings, self._id)

    def load(self) -> Plan[None]:
        """Reads the session, once; nothing if there is no well-formed id.

        Of tasks that share it and load it at once, what the first one got counts.
        """
        if self.standing is not Standing.UNREAD or self._data is not None:
            return
        found: Loaded | Rotated | None = None
        try:
            for key in self._keys(self._id):
                found = yield methodcaller("load", key, slide=self.settings.slide)
                if found is not None:
                    self._key = key
                    break
        except SessionUnavailable as error:
            if self._was_loaded():
                return
            self.failure = error
            self._log("not readable: %s", type(error).__name__, level=logging.WARNING)
            if self.settings.outage != "anonymous":
                raise
            self.standing, self._data = Standing.OUTAGE, {}
            return
        if not self._was_loaded():
            self._take(found)

    def finish(self, *, touch: bool = False) -> Plan[Action]:
        """What the end of a request has to write; the answer is what was done.

        `touch` counts an unchanged session as used. Raises SessionGone if it ended meanwhile,
        SessionConflict if it was changed meanwhile and SESSILE_STRICT is set, or if changes were
        made under an id that has been replaced.
        """
        if not self.modified:
            if not (touch or self._renew) or self.standing in QUIET or self.id is None:
                return Action.NOTHING
        elif self.is_empty:
            return Action.NOTHING
        return (yield from self.save())

    def save(self) -> Plan[Action]:
        """Writes now: creates, rotates, or merges into a session that exists. As `finish`."""
        if self.standing is Standing.OUTAGE:
            raise SessionUnavailable("the session was not read, so it can't be written")
        is_new = self.standing is Standing.NEW or (
            self.standing is Standing.ROTATED and bool(self._user_now())
        )
        if not (is_new or self._next is not None or self._user_changed()):
            return (yield from self._write(is_new))
        if self.answered or self._renewing:
            raise SessionConflict(ANSWERED if self.answered else RENEWING)
        self._renewing = True
        try:
            return (yield from self._write(is_new))
        finally:
            self._renewing = False

    def _write(self, is_new: bool) -> Plan[Action]:
        if is_new:
            yield from self.create(self._next)
            return Action.CREATE
        if self.standing is Standing.ROTATED:
            telemetry.conflict(self.settings.url)
            raise SessionConflict(REPLACED)
        if self._next is None and self._user_changed():
            self.rotate(hard=True)
        seen = self._unseen if self._data is None else self._data
        changes = self.settings.codec.changes(self._base, seen, self._intents)
        chosen = self._next
        blind = self._data is None and bool(self._intents or chosen)
        before, settled = self._sending(changes), self._settled
        try:
            return (yield from self._rotate(changes) if chosen else self._save(changes))
        except BaseException as error:
            if self._settled == settled:
                self._take_back(*before)
            if not (blind and isinstance(error, SessionGone)):
                raise
        # Nothing was read, so nobody knows that there was a session: what is there instead?
        yield from self.load()
        self._next, self._renewing = chosen, False
        return (yield from self.save())

    def create(self, id: str | None = None) -> Plan[None]:
        """Makes a new session of the document, under `id` or a new one.

        Raises SessionConflict if `id` is given and there is a session, or if it isn't well-formed.
        """
        user, life = self._user_now(), self._life(fresh=True)
        fields = self.settings.codec.encode(self._data or {})
        beside = {**fields, **self._signature(user), **self._moment()}
        if id is not None and not self.settings.shape.fits(id):
            raise SessionConflict("not an id that a session could have")
        for _ in range(TRIES):
            chosen = id or self._new_id()
            key = self._keys(chosen)[0]
            version = yield methodcaller(
                "create", key, beside, life, user=user or None, limit=self.settings.limit
            )
            if version is not None:
                self._data, self._renew = self._data or {}, True
                self._settle(chosen, key, version, document.Base(fields), user)
                self._log("created")
                return
            if id is not None and id != self._next:
                break
            id = None
        raise SessionConflict("there is a session with this id")

    def end(self) -> Plan[int]:
        """Ends the session in the store, at once; the document stays in this request."""
        keys = self._keys(self._id)
        self._next = None
        if not keys:
            return 0
        count: int = yield methodcaller("end", *keys, held=self._held)
        self._log("ended" if count else "ended already")
        return count

    def flush(self) -> Plan[None]:
        """Ends the session and starts from nothing, as a sign-out does; loads nothing.

        Raises SessionConflict if the session was loaded and got another id since: it goes on under
        that one.
        """
        if self.standing is not Standing.ROTATED:
            ended = yield from self.end()
            if not ended and self.standing is Standing.LIVE:
                yield from self._refuse_if_rotated()
            self.standing = Standing.NEW
        self._id = self._next = self._key = None
        self._data = {}
        self._forget()
        self.changed = True

    def exists(self, id: str | None) -> Plan[bool]:
        """Whether there is a session with an id. An id waiting to be used stands for its old one.

        The old id of a pending rotation is no longer a session for this request.
        """
        if self._next and self._id:
            if id == self._id:
                return False
            id = self._id if id == self._next else id
        for key in self._keys(id) if self.settings.shape.fits(id) else []:
            if (yield methodcaller("exists", key)):
                return True
        return False

    # ---- parts of plans

    def _save(self, changes: Changes) -> Plan[Action]:
        key, life = (yield from self.find()), self._life(fresh=False)
        self._renew = not self._alias and self.cookie_is_due
        sent = self._with(changes, self._moment() if self._renew else {})
        unread = self.standing is Standing.UNREAD and self._data is not None
        user = self._user_now() if unread or self._user_changed() else None
        strict = self.settings.strict and bool(changes)
        doubtful = bool(self.settings.grace) and not self._alias
        ask = partial(methodcaller, "save", key, sent, life, user=user)
        if doubtful and not strict:
            version = yield from self._save_told(ask, key, bool(sent))
        else:
            version = yield ask(expected=self._version if strict else None)
        if version is None:
            self._lose()
            raise SessionGone(GONE)
        owner = self._user if user is None else user
        self._settle(self._id, key, version, None, owner)
        return Action.SAVE if sent else Action.TOUCH

    def _save_told(self, ask: Callable[..., Step], key: bytes, sends: bool) -> Plan[int | None]:
        """Saves, and finds out whether the id was replaced since the session was loaded.

        With a grace the old id goes on working: the version tells whether anybody changed the
        session meanwhile, and if so it's looked at once more.
        """
        known = self._version if sends else None
        try:
            version: int | None = yield ask(expected=known)
            if version is None or version == self._version or known is not None:
                return version
        except SessionConflict:
            version = yield ask(expected=None)
        found = yield methodcaller("load", key, slide=False)
        mark = found.fields.get(SELF, b"") if isinstance(found, Loaded) else b"?"
        self._alias = bool(mark) and mark != mark_of(key)
        return version

    def _rotate(self, changes: Changes) -> Plan[Action]:
        settings = self.settings
        key, life = (yield from self.find()), self._life(fresh=True)
        new_id = self._next or self._new_id()
        new_key = self._keys(new_id)[0]
        user, changed = self._user_now(), self._user_changed()
        hard = self.rotates_hard or changed
        beside = {**self._moment(fresh=True), **(self._signature(user) if changed else {})}
        if settings.grace or self._known(SELF):
            beside[SELF] = mark_of(new_key)
        fallback = None
        if changed and user:
            fallback = {**settings.codec.encode(self.data), **self._signature(user)}
        expected = self._version if settings.strict else None
        version = yield methodcaller(
            "rotate",
            key,
            new_key,
            self._with(changes, beside),
            life,
            expected=expected,
            user=user if changed else None,
            limit=settings.limit if changed and user else None,
            grace=0 if hard else settings.grace,
            hard=hard,
            create=fallback,
        )
        if version is None:
            self._lose()
            raise SessionGone(GONE)
        owner = user if changed else self._user
        self._log("rotated to %s", name_of(new_key))
        self._settle(new_id, new_key, version, None, owner)
        return Action.ROTATE

    def _refuse_if_rotated(self) -> Plan[None]:
        """Says so if the session isn't gone, but got another id while this request was served."""
        for key in self.keys:
            if isinstance((yield methodcaller("load", key, slide=False)), Rotated):
                telemetry.conflict(self.settings.url)
                self._lose()
                raise SessionConflict(REPLACED)

    def find(self) -> Plan[bytes]:
        """The key under which the session lives; asks only if there are several ID_KEYS."""
        keys = self.keys
        for key in keys[:-1]:
            if (yield methodcaller("exists", key)):
                return key
        return keys[-1]


def session_of(settings: Settings, id: str | None = None) -> Session:
    """The session of an id, of the kind that an app has which is moving in from elsewhere."""
    if settings.moving is None:
        return Session(settings, id)
    session: Session = settings.moving.session(settings, id)
    return session
