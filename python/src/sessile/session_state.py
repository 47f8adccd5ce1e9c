"""What a request knows of its session, and what it did to it: all that needs no store.

A `State` has the id, the document that was loaded under it, and what was done to that, also before
it was loaded. `sessile.session.Session` adds the plans, which ask the store and write there.

What always holds: a request sees what it did itself, loaded or not; what is being saved counts as
saved for a task that shares the session, and is taken back if it wasn't; `may_set_cookie` is False
for an id that another one has replaced; a log names a session by the beginning of its handle.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any

from sessile import document, ids
from sessile.contract import ROTATED, Changes, Life, Loaded, Rotated
from sessile.cookies import COOKIE, is_due, note
from sessile.encryption import SEAL
from sessile.errors import EncryptionError
from sessile.ids import mark_of, name_of
from sessile.nested import appended, held, increased, overlaid, place_of
from sessile.settings import Expiry, Settings

__all__ = ["DEVICE", "QUIET", "SELF", "Standing", "State"]

LOG = logging.getLogger("sessile.sessions")

# Names that no path has and no engine uses: leaves of ours beside the document.
DEVICE = b"\\@device"
"""Beside the document: what the browser called itself when somebody signed in, a JSON string."""
DEVICE_MAX = 256
"""Characters kept of it."""
SELF = b"\\@self"
"""Beside the document: how the newest handle ends, where an old id may stand for it."""
EMPTY = document.Base()
"""The base of a document that the store knows nothing of."""
UNSET = Expiry()
"""The expiry of a document that says nothing of it."""


class Standing(Enum):
    """What is known of the session."""

    NEW = "new"
    """There is none in the store: no id, an unknown one, or it was ended by this request."""
    UNREAD = "unread"
    """There is a well-formed id, and nothing was asked yet."""
    LIVE = "live"
    """It was loaded or written."""
    ROTATED = "rotated"
    """It got another id, which the browser has been told or is being told."""
    OUTAGE = "outage"
    """The store couldn't be read, and the settings say that reads go on as nobody."""


QUIET = (Standing.ROTATED, Standing.OUTAGE)
"""Nothing is written and no cookie changes, unless the request says so explicitly."""


class State:
    """What is known of one session in one request; see the module."""

    # What most requests leave as it is stands in the class: else Python would make each session a
    # dict of more than thirty names.
    accessed = False
    """Whether the request looked at it. Frameworks set it."""
    changed = False
    """Whether the request said that it changed the session. Frameworks set it."""
    answered = False
    """Whether the browser can't be told another id any more. Frameworks set it."""
    failure: Exception | None = None
    """Why the store couldn't serve this request."""
    device = ""
    """What the browser says it is; kept beside the document when somebody signs in."""
    rotates_hard = False
    """Whether a pending rotation leaves no alias, whatever SESSILE_GRACE says."""
    _next: str | None = None
    _key: bytes | None = None
    _settled, _renewing, _told = 0, False, False

    # The same, of what the store has.
    cleared = False
    """Whether the app said that nothing is to be left."""
    _base, _expiry = EMPTY, UNSET
    _calm: document.Base | None = None
    _loaded: Loaded | None = None
    _held: Any = None
    _version: int | None = None
    _user: str | None = None
    _ceiling: int | None = None
    _renew, _alias, _issued, _gone = False, False, False, False
    _STORED = (
        *("cleared", "_base", "_expiry", "_calm", "_loaded", "_held", "_version", "_user"),
        *("_ceiling", "_renew", "_alias", "_issued", "_gone"),
    )

    def __init__(self, settings: Settings, id: str | None = None) -> None:
        """`id` is what the browser sent, whatever that is."""
        self.settings = settings
        good = settings.shape.fits(id)
        self.given = bool(id)
        """Whether the browser sent anything."""
        self.standing = Standing.UNREAD if good else Standing.NEW
        self._id = id if good else None
        self._data: dict[Any, Any] | None = None if good else {}
        self._unseen: dict[Any, Any] = {}
        self._intents = document.Intents()

    def _forget(self) -> None:
        """Nothing is known of what the store has."""
        for name in self._STORED:
            self.__dict__.pop(name, None)
        self._unseen, self._intents = {}, document.Intents()

    # ---- what the framework sees

    @property
    def id(self) -> str | None:
        """The id that the browser has or shall get; `None` if there is no session."""
        return self._next or self._id

    @property
    def written_id(self) -> str | None:
        """The id that the store knows: what a browser may be told, while `id` is only picked."""
        return self._id

    @property
    def data(self) -> dict[Any, Any]:
        """The document, plain dicts and lists. Load it first."""
        if self._data is None:
            raise RuntimeError("the session has not been loaded")
        return self._data

    @data.setter
    def data(self, value: dict[Any, Any]) -> None:
        self._data = value

    @property
    def is_read(self) -> bool:
        """Whether `data` is there."""
        return self._data is not None

    @property
    def modified(self) -> bool:
        """Whether there is anything to write: said so, or found by comparing."""
        return self.changed or bool(self._next and self._id) or bool(self._intents) or self.differs

    @property
    def differs(self) -> bool:
        """Whether the document isn't as it was loaded or last written."""
        if self._data is None or self.standing is Standing.UNREAD:
            return False
        base = self._base if self._calm is None else self._calm
        return bool(self.settings.codec.changes(base, self._data, self._intents))

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a session nor anything to make one of."""
        return self.id is None and not self._data

    @property
    def user(self) -> str:
        """Whose session it is in the store; empty for nobody's or if it wasn't loaded."""
        return self._user or ""

    @property
    def keys(self) -> list[bytes]:
        """The keys that the session may have in the store; one, once it was read."""
        return [self._key] if self._key else self._keys(self._id)

    @property
    def may_set_cookie(self) -> bool:
        """Whether the browser may be told `id`: never an id that another one has replaced."""
        known = self.standing is Standing.LIVE and self._id is not None
        return not self._gone and (self._issued or (known and not self._alias))

    @property
    def may_delete_cookie(self) -> bool:
        """Whether what the browser sent is known to be useless."""
        return self.given and self.standing is Standing.NEW and self._id is None

    @property
    def wants_cookie(self) -> bool:
        """Whether the next write, even an empty one, moves the cookie's end: a read that slides."""
        return self._renew

    @property
    def tells_cookie(self) -> bool:
        """Whether the browser is to be told `written_id`: it's new, or its cookie's end was moved.
        That holds whatever the answer is, also one that refuses what the request did later."""
        return self._told and self.may_set_cookie

    @property
    def tells_new_id(self) -> bool:
        """Whether that is an id which the browser doesn't have, so that it's signed out without."""
        return self._issued and self.tells_cookie

    @property
    def cookie_is_due(self) -> bool:
        """Whether the cookie would have to be set again; never once this request has told it."""
        if self._told or self._data is None:
            return False
        due = is_due(self._known(COOKIE), self.settings.cookie_age(self._data), now_ms() // 1000)
        return due or self.settings.expiry_of(self._data) != self._expiry

    # ---- what a request does, without I/O

    def unchanged(self) -> None:
        """Counts the document as it stands now as not modified, whatever was done to it."""
        self.changed = False
        if self._data is not None:
            self._calm = document.Base(self.settings.codec.encode(self._data))

    def clear(self) -> None:
        """Empties the document, also of what this request never saw; loads nothing."""
        self._data = {}
        self._intents.clear()
        self.changed = self.cleared = True

    def rotate(self, *, hard: bool = False) -> str:
        """Picks the next id, which the next write makes valid; answers it."""
        self._next = self._new_id()
        self.rotates_hard = self.rotates_hard or hard
        self.changed = True
        return self._next

    def replace(self, path: Sequence[Any], value: Any) -> None:
        """Puts a value in the place of whatever is there, dicts included."""
        self._place(path)[path[-1]] = value
        self._intents.replace(path)
        self.changed = True

    def delete(self, path: Sequence[Any]) -> None:
        """Removes whatever is there, also what this request never saw."""
        self._place(path).pop(path[-1], None)
        self._intents.delete(path)
        self.changed = True

    def incr(self, path: Sequence[Any], by: int | float = 1) -> None:
        """Adds to a number in the store; parallel requests add up. No load is needed."""
        self._intents.note(path, self._locally(path, lambda there: increased(there, by, path)))
        self._intents.incr(path, by)
        self.changed = True

    def push(self, path: Sequence[Any], value: Any, trim: int | None = None) -> None:
        """Appends to a list in the store and keeps its last `trim`. No load is needed."""
        self._intents.push(path, value, trim)
        self._intents.note(path, self._locally(path, lambda there: appended(there, value, trim)))
        self.changed = True

    def init(self, path: Sequence[Any], value: Any) -> None:
        """Sets a value unless there is one in the store. No load is needed."""
        there = self._locally(path, lambda there: value if there is None else there)
        if there is value:
            self._intents.init(path, value)
            self._intents.note(path, value)
            self.changed = True

    def _place(self, path: Sequence[Any]) -> dict[Any, Any]:
        """The dict that holds the last part of a path, in what this request sees."""
        return place_of(self._unseen if self._data is None else self._data, path)

    def _locally(self, path: Sequence[Any], change: Callable[[Any], Any]) -> Any:
        """Shows this request what the store will make of an intent; the new value."""
        place = self._place(path)
        place[path[-1]] = value = change(place.get(path[-1]))
        return value

    def _replay(self, intents: document.Intents, unseen: dict[Any, Any]) -> None:
        """Does again to a document just loaded what was intended before it was."""
        for path in intents.replaced:
            value = held(unseen, path)
            self.delete(path)
            if value is not None:
                self._place(path)[path[-1]] = value
        for path, by in intents.increments.items():
            self.incr(path, by)
        for path, value, trim in intents.pushes:
            self.push(path, value, trim)
        for path, value in intents.inits.items():
            self.init(path, value)

    # ---- what the store answered

    def _take(self, found: Loaded | Rotated | None) -> None:
        """Takes what LOAD answered."""
        intents, unseen = self._intents, self._unseen
        self._unseen = {}
        if found is None:
            self._log("unknown")
            self.forget()
            self._replay(intents, unseen)
        elif isinstance(found, Rotated):
            assert found is ROTATED
            self._log("replaced by another id")
            self.standing, self._data = Standing.ROTATED, {}
        else:
            if SEAL in found.fields:
                raise EncryptionError("a session is encrypted, SESSILE_ENCRYPTION_KEYS isn't set")
            self._data, self._base = self.settings.codec.decode(found.fields)
            self.standing, self._loaded, self._held = Standing.LIVE, found, found.held
            self._version, self._user = found.version, found.user
            self._expiry = self.settings.expiry_of(self._data)
            if found.absolute_left is not None:
                self._ceiling = now_ms() + found.absolute_left
            mark = self._known(SELF)
            self._alias = bool(mark and self._key) and mark != mark_of(self._key or b"")
            slides = self.settings.slide and self.settings.reads_renew
            self._renew = slides and not self._alias and self.cookie_is_due
            if intents:
                self._intents = document.Intents()
                self._replay(intents, unseen)

    def forget(self) -> None:
        """Takes the session for one that isn't there: it reads empty and has no id."""
        self.standing, self._id, self._next, self._key = Standing.NEW, None, None, None
        self._data = {}
        self._forget()

    def _sending(self, changes: Changes) -> tuple[document.Base, document.Intents, dict[Any, Any]]:
        """Counts changes as saved, so that a task that saves meanwhile sends only its own.

        The answer is what takes that back. Of what was never read, nothing is known afterwards.
        """
        before = self._base, self._intents, self._unseen
        if self._data is not None:
            self._base = self._base.advanced(changes)
        self._intents, self._unseen = document.Intents(), {}
        return before

    def _take_back(self, base: document.Base, intents: document.Intents, unseen: Any) -> None:
        """Changes weren't saved after all."""
        if base is EMPTY and self._base is not EMPTY and self._loaded is not None:
            self._replay(intents, unseen)  # it was read meanwhile
            return
        self._base, self._intents = base, intents.then(self._intents)
        self._unseen = overlaid(unseen, self._unseen)

    def _settle(
        self, id: str | None, key: bytes, version: int, base: document.Base | None, user: str | None
    ) -> None:
        """The store has what was sent, or all that this request has: `base`."""
        self._issued = self._issued or id != self._id
        self._told = self._told or self._issued or self._renew
        self._id, self._key, self._next, self._version = id, key, None, version
        self._user, self._settled, self._held = user, self._settled + 1, None
        if base is not None:
            self._base, self._intents, self._unseen = base, document.Intents(), {}
        self.rotates_hard = self.changed = self.cleared = self._renew = self._gone = False
        self._calm = None
        if self._data is not None:
            self.standing = Standing.LIVE
            self._expiry = self.settings.expiry_of(self._data)

    def _lose(self) -> None:
        """The store has no session under this id any more, so no browser is to be told it."""
        self._gone = True

    # ---- small questions

    def _was_loaded(self) -> bool:
        """Whether another task that shares the session was faster."""
        return self.standing is not Standing.UNREAD or self._data is not None

    def _log(self, event: str, *values: str, level: int = logging.INFO) -> None:
        """Notes what happened to this session."""
        if LOG.isEnabledFor(level) and self.keys:
            LOG.log(level, f"session %s {event}", name_of(self.keys[0]), *values)

    def _new_id(self) -> str:
        settings = self.settings
        # In a cluster the old and the new key must live on one node.
        like = (self._id or "") if settings.clustered else ""
        return ids.new_id(settings.shape.alphabet, settings.shape.length, like)

    def _keys(self, id: str | None) -> list[bytes]:
        """The keys that an id may have, the newest first."""
        if id is None:
            return []
        settings = self.settings
        node = b"{" + ids.route(id).encode() + b"}" if settings.clustered else b""
        found = ids.handles(id, settings.namespace, settings.id_keys)
        return [settings.prefix + node + handle for handle in found]

    def _known(self, name: bytes) -> bytes:
        """A leaf of metadata as it was loaded; empty if there was none."""
        return self._loaded.fields.get(name, b"") if self._loaded else b""

    def _user_now(self) -> str:
        """Whose session it is by its document."""
        return self.settings.user(self.settings.user_of(self._data or {}))

    def _user_changed(self) -> bool:
        """Whether the document says another user than the store knows."""
        if self._data is None:
            return False
        return self._user_now() != (self._user or "")

    def _life(self, *, fresh: bool) -> Life:
        """How long the session lives from now on. `fresh` starts the absolute time anew."""
        if self._data is None:
            return Life()
        settings, expiry = self.settings, self.settings.expiry_of(self._data)
        if expiry.at is None:
            idle = settings.idle if expiry.idle is None else expiry.idle
            unlimited = 0 if self._expiry.at is not None else None
            return Life(idle=idle, maximum=settings.maximum or unlimited)
        ends = expiry.at
        if settings.maximum:
            # A date may bring the end nearer, never past what MAX allows.
            ceiling = None if fresh else self._ceiling
            ends = min(ends, ceiling or now_ms() + settings.maximum * 1000)
        return Life(idle=0, expires_at=max(ends, 1))

    def _signature(self, user: str) -> dict[bytes, bytes]:
        """What is noted of a sign-in."""
        return {DEVICE: json.dumps(self.device[:DEVICE_MAX]).encode()} if user else {}

    def _moment(self, *, fresh: bool = False) -> dict[bytes, bytes]:
        """When the cookie ends that the browser is told now; `fresh`: with another id."""
        age = self.settings.cookie_age(self._data or {})
        return note(self._known(COOKIE), age, now_ms() // 1000, fresh=fresh)

    def _with(self, changes: Changes, beside: dict[bytes, bytes]) -> Changes:
        """The changes with what stands beside the document; a clear takes none of that away."""
        if b"" in changes.delete_trees:
            kept = {name: self._known(name) for name in (COOKIE, DEVICE, SELF)}
            beside = {**{name: leaf for name, leaf in kept.items() if leaf}, **beside}
        if beside:
            changes = replace(changes, set={**changes.set, **beside})
        changes.seal, changes.held = self._loaded.seal if self._loaded else b"", self._held
        return changes


def now_ms() -> int:
    """The wall clock in Unix milliseconds."""
    return time.time_ns() // 1_000_000
