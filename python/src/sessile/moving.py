"""Moving in from another session engine, without signing anybody out, and back if need be.

A `Source` is where sessions were kept until now. There are three ways: `move` creates a session
under its id when it's first asked for, then deletes the old record; `mirror` keeps the old record
and writes each change back to it, so that old workers serve the same sessions while the new ones
are rolled out, and after they were rolled back; `shadow` lets the old engine serve and writes
ours beside it, to compare them. A `Moving` is handed to the framework as SESSILE_SOURCE and
SESSILE_MOVING, and `sessile.session.session_of` makes sessions of the classes below.

What always holds: a session that ended on either side ends on both, and an old record never
brings it back; what is logged (as `sessile.moving`) names no id and no value. The old engine's
own weaknesses stay as long as it's written to: its last writer wins.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from inspect import iscoroutinefunction
from operator import methodcaller
from typing import Any, Final, Literal, NamedTuple, Protocol

from sessile.contract import Changes, Life, Loaded, Push
from sessile.document import Base
from sessile.errors import ConfigurationError, DocumentError, SessileError, SessionGone
from sessile.ids import mark_of, name_of
from sessile.plans import Plan, Step
from sessile.session import GONE, SELF, Action, Session, Standing
from sessile.settings import Settings

__all__ = ["Moving", "Old", "Source", "Way"]

LOG = logging.getLogger("sessile.moving")
Way = Literal["move", "mirror", "shadow"]
WAYS: Final = ("move", "mirror", "shadow")
MARK: Final = "_sessile"
"""In old records that mirroring wrote: a `Mark`, its parts separated by blanks."""
NOTE: Final = b"\\@mirrored"
"""Beside the document, if there is an old record: a JSON list of the digests of what old workers
wrote there since ours was written back."""
WRITTEN: Final = [""]
"""The note of a record that is as ours was written back."""
NOTES: Final = 8
TURNS: Final = 5
"""How often a record is written back until it's what our store has."""
BARRED: Final = 60
"""Seconds for which an ended id can't be taken over from an old record that was read before."""


class Old(NamedTuple):
    """What an old record holds."""

    document: dict[Any, Any]
    seconds: int | None = None
    """How long it would have lived; `None` if the old engine doesn't tell."""


class Mark(NamedTuple):
    """What mirroring leaves in an old record."""

    handle: str
    """How ours ends."""
    moment: int
    """When it was written, Unix seconds."""
    digest: str
    """Of what was written: who finds something else there, finds an old worker's."""


class Source(Protocol):
    """Where sessions were kept. Coroutines `aread`, `awrite`, `aremove` are used if there are any,
    threads otherwise. Whatever can't be read raises; only what isn't there is `None`."""

    carries: bool
    """Whether the cookie itself is the record, as with signed cookies: then only `move` works."""

    def read(self, id: str) -> Old | None: ...

    def write(self, id: str, document: dict[Any, Any], seconds: int, new: bool) -> bool:
        """Writes a record; False, and nothing written, if it isn't `new` and isn't there."""

    def remove(self, id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Moving:
    """From where, and how."""

    source: Source
    way: Way = "move"

    def __post_init__(self) -> None:
        if self.way not in WAYS:
            raise ConfigurationError(f"SESSILE_MOVING must be one of {', '.join(WAYS)}")
        if self.source.carries and self.way != "move":
            raise ConfigurationError(f"signed cookies can't be {self.way}ed, only moved")

    def session(self, settings: Settings, id: str | None) -> Session:
        """A session of this app while it moves."""
        kinds = {"move": Moved, "mirror": Mirrored, "shadow": Shadowed}
        return kinds[self.way](settings, id)


class Moved(Session):
    """A session that is taken over from its old record when nobody knows it here."""

    def __init__(self, settings: Settings, id: str | None = None) -> None:
        super().__init__(settings, id)
        source = settings.moving.source
        self._carried = id if source.carries and id and self._id is None else None
        if self._carried is not None:
            self.standing, self._data = Standing.UNREAD, None

    @property
    def is_new(self) -> bool:
        """Whether nobody knows the session here."""
        return self.standing is Standing.NEW

    def ask(self, name: str, *args: Any) -> Step:
        """A step that asks the old engine."""
        return asking(self.settings.moving.source, name, *args)

    def load(self) -> Plan[None]:
        if self.standing is not Standing.UNREAD or self._data is not None:
            return
        if self._carried is not None:
            yield from self._unpack(self._carried)
            return
        id, chosen = self._id, self._next
        intents, unseen = self._intents, self._unseen
        yield from super().load()
        if id is None:
            return
        if self.is_new:
            changed = yield from self._take_over(id)
        else:
            changed = bool(self._known(NOTE)) and (yield from self._leave_old(id))
        if changed:
            self.standing, self._id, self._next, self._data = Standing.UNREAD, id, chosen, None
            self._forget()
            self._intents, self._unseen = intents, unseen
            yield from super().load()

    def end(self) -> Plan[int]:
        id, keys = self._id, self._keys(self._id)
        if id is not None:
            yield self.ask("remove", id)
        count = yield from super().end()
        if id is not None:
            yield from self._bar(keys[0])
        return count

    def exists(self, id: str | None) -> Plan[bool]:
        if (yield from super().exists(id)):
            return True
        if id is None or not self.settings.shape.fits(id) or (self._next and self._id):
            return False
        return (yield self.ask("read", id)) is not None

    def _rotate(self, changes: Changes) -> Plan[Action]:
        before = self._id
        if before is not None and (yield from self._is_here()):
            # First: if this fails, the session keeps the id that the browser knows.
            yield self.ask("remove", before)
        action = yield from self._renew_ours(changes)
        if before is not None:
            # Again, for a worker that mirrors and wrote it back meanwhile.
            yield from self._remove_replaced(before)
        return action

    def _remove_replaced(self, before: str) -> Plan[None]:
        """Removes the record of an id that another one has replaced. That one counts by now and
        has to be told, so what fails is no trouble of the request's."""
        try:
            yield self.ask("remove", before)
        except Exception as error:
            LOG.warning("an old record was not removed: %s", type(error).__name__)
        else:
            LOG.debug("session %s left its old record", name_of(self._keys(before)[0]))

    def _is_here(self) -> Plan[bool]:
        """Whether the session was taken over: until then its old record is all that there is."""
        if self._data is not None:
            return True
        for key in self._keys(self._id):
            if (yield methodcaller("exists", key)):
                return True
        return False

    def _renew_ours(self, changes: Changes) -> Plan[Action]:
        """A rotation here. What becomes of the old record is to be said anew."""
        return super()._rotate(replace(changes, delete=[*changes.delete, NOTE]))

    def _unpack(self, carried: str) -> Plan[None]:
        """A session that came in its cookie gets an id and a place in the store."""
        self._carried = None
        old: Old | None = yield self.ask("read", carried)
        yield from super().load()
        if old is not None and old.document:
            self._data, self.changed = dict(old.document), True

    def _take_over(self, id: str) -> Plan[bool]:
        """Creates ours from the old record; whether there is a session now."""
        old: Old | None = yield self.ask("read", id)
        if old is None or self._ended_here(id, old):
            # Since we looked here first, another request may have taken it over.
            for key in self._keys(id):
                if (yield methodcaller("load", key)) is not None:
                    return True
            if old is not None:
                yield self.ask("remove", id)
            return False
        document = {name: value for name, value in old.document.items() if name != MARK}
        fields = {**self.settings.codec.encode(document), **self._beginning(document)}
        key, user = self._keys(id)[0], self.settings.user(self.settings.user_of(document))
        life = lasting(self.settings, document, old.seconds)
        version = yield methodcaller("create", key, fields, life, user=user or None)
        if version is None:
            return True
        # Whoever ended it in the meantime, ended the old record: it would be back otherwise.
        if (yield self.ask("read", id)) is None:
            yield methodcaller("end", key)
            return False
        LOG.info("session %s was taken over", name_of(key))
        yield from self._taken(id, key)
        return True

    def _taken(self, id: str, key: bytes) -> Plan[None]:
        """What becomes of the old record."""
        yield self.ask("remove", id)

    def _beginning(self, document: dict[Any, Any]) -> dict[bytes, bytes]:
        """What stands beside a document that was taken over."""
        return {}

    def _ended_here(self, id: str, old: Old) -> bool:
        """Whether an old record is one that outlived our session."""
        mark = mark_in(old.document)
        if mark is None or all(key[-8:].decode() != mark.handle for key in self._keys(id)):
            return False
        # A session that nobody asked us for all its life ended by itself; only the old one lived.
        return time.time() < mark.moment + (self.settings.idle or time.time())

    def _leave_old(self, id: str) -> Plan[bool]:
        """Mirroring is over: what old workers did last counts, and the record is asked no more."""
        yield from self._reconcile(id)
        yield methodcaller("save", self.keys[0], Changes(delete=[NOTE]), Life())
        return True

    def _reconcile(self, id: str) -> Plan[None]:
        """Brings ours up to what old workers did: ended it, or wrote something else."""
        ours = Session(self.settings, id)
        yield from ours.load()
        if ours.standing is not Standing.LIVE or ours._loaded is None or not ours._key:
            return
        if ours._alias:
            return  # the record is the newest id's
        key, notes = ours._key, noted(ours._loaded.fields)
        old: Old | None = yield self.ask("read", id)
        if old is None:
            if not notes:
                yield from self._catch_up(id, key, new=True)
            elif (yield from self._is_mirrored(key)):
                LOG.info("session %s was ended by the old engine", name_of(key))
                yield methodcaller("end", key)
            return
        document = {name: value for name, value in old.document.items() if name != MARK}
        seen, mark = digest(self.settings, document), mark_in(old.document)
        if seen == digest(self.settings, ours.data):
            if not notes:
                yield methodcaller("save", key, noting(seen), Life())
        elif seen in notes or (mark is not None and seen == mark.digest):
            yield from self._catch_up(id, key)
        else:
            ours.data = document
            ours._told = True  # by nobody: what is due stays due, for the request itself
            yield from ours.save()
            yield methodcaller("save", ours.keys[0], noting(seen), Life())

    def _is_mirrored(self, key: bytes) -> Plan[bool]:
        """Whether a session should have an old record: mirrored, and not renewed just now."""
        found = yield methodcaller("load", key, slide=False)
        if not isinstance(found, Loaded) or not noted(found.fields):
            return False
        return found.fields.get(SELF, mark_of(key)) == mark_of(key)

    def _catch_up(self, id: str, key: bytes, *, new: bool = False) -> Plan[None]:
        """What becomes of a record that is behind ours, or isn't there."""
        yield from ()

    def _bar(self, key: bytes) -> Plan[None]:
        """Leaves a tombstone: whoever read the old record just before can't create it again."""
        made = yield methodcaller("create", key, {}, Life(idle=BARRED))
        if made is not None:
            away = key[:-64] + hashlib.sha256(b"away" + key).hexdigest().encode()
            yield methodcaller("rotate", key, away, Changes(), Life(), hard=True)
            yield methodcaller("end", away)


class Mirrored(Moved):
    """A session whose old record lives on, and is written with it."""

    def load(self) -> Plan[None]:
        if self.standing is Standing.UNREAD and self._data is None and self._id is not None:
            yield from self._reconcile(self._id)
        yield from super().load()

    def create(self, id: str | None = None) -> Plan[None]:
        yield from super().create(id)
        yield from self._write_back(new=True)

    def _save(self, changes: Changes) -> Plan[Action]:
        action = yield from super()._save(changes)
        yield from self._write_back()
        return action

    def exists(self, id: str | None) -> Plan[bool]:
        if not (yield from super().exists(id)):
            return False
        if id is None or not self.settings.shape.fits(id) or (self._next and self._id):
            return True
        if (yield self.ask("read", id)) is not None:
            return True
        # Read before: a rotation in between takes away the note as well.
        for key in self._keys(id):
            if (yield from self._is_mirrored(key)):
                return False  # an old worker ended it
        return True

    def _rotate(self, changes: Changes) -> Plan[Action]:
        before = self._id
        action = yield from self._renew_ours(changes)
        if before is not None:
            # Not before: to other workers it would be a session that the old engine ended.
            yield from self._remove_replaced(before)
        try:
            yield from self._write_back(new=True)
        except SessionGone:
            raise
        except Exception as error:
            # Nothing is noted of a record yet, so whoever loads the session next writes it.
            LOG.warning("an old record was not written: %s", type(error).__name__)
        return action

    def _taken(self, id: str, key: bytes) -> Plan[None]:
        yield from self._write_back(id, key)

    def _beginning(self, document: dict[Any, Any]) -> dict[bytes, bytes]:
        # So that an old record that goes from now on is known to have been there.
        return {NOTE: json.dumps([digest(self.settings, document)]).encode()}

    def _leave_old(self, id: str) -> Plan[bool]:
        yield from ()
        return False

    def _catch_up(self, id: str, key: bytes, *, new: bool = False) -> Plan[None]:
        yield from self._write_back(id, key, new=new)

    def _write_back(
        self, id: str | None = None, key: bytes | None = None, *, new: bool = False
    ) -> Plan[None]:
        """Writes the old record until it's what our store has."""
        id, key = id or self._id, key or (self.keys[0] if self.keys else None)
        if id is None or key is None or self._alias:
            return
        written = ""
        for _ in range(TURNS):
            found = yield methodcaller("load", key)
            if not isinstance(found, Loaded):
                yield self.ask("remove", id)
                return
            document, _base = self.settings.codec.decode(found.fields)
            latest = digest(self.settings, document)
            if latest == written:
                yield from self._note_written(key, found)
                return
            life = lasting(self.settings, document, None)
            record = {**document, MARK: f"{key[-8:].decode()} {int(time.time())} {latest}"}
            if not (yield self.ask("write", id, record, seconds_of(life), new)):
                if not (yield from self._is_mirrored(key)):
                    return
                LOG.info("session %s was ended by the old engine", name_of(key))
                yield methodcaller("end", key)
                self._lose()
                raise SessionGone(GONE)
            written, new = latest, False

    def _note_written(self, key: bytes, found: Loaded) -> Plan[None]:
        """Notes that there is a record, after it's there: who finds none then knows that it went.

        What old workers had written before is nothing to go by any more.
        """
        if noted(found.fields) == WRITTEN:
            return
        note = Changes(set={NOTE: json.dumps(WRITTEN).encode()})
        version = yield methodcaller("save", key, note, Life())
        if found.version == self._version and version is not None:
            self._version = version


class Shadowed(Moved):
    """A session that the old engine serves; ours is written beside it and compared."""

    _strange: dict[Any, Any] | None = None
    """What the old engine has, where ours can't keep it."""

    @property
    def differs(self) -> bool:
        try:
            return super().differs
        except DocumentError:
            return self._data != self._strange

    def unchanged(self) -> None:
        try:
            super().unchanged()
        except DocumentError:
            self._strange = unlike(self._data or {})

    def load(self) -> Plan[None]:
        if self.standing is not Standing.UNREAD or self._data is not None or self._id is None:
            return
        id, key = self._id, self._keys(self._id)[0]
        old: Old | None = yield self.ask("read", id)
        if old is None:
            self._take(None)
            yield from self._beside(methodcaller("end", key))
            return
        old.document.pop(MARK, None)
        chosen, found = self._next, (yield from self._beside(methodcaller("load", key)))
        try:
            fields = self.settings.codec.encode(old.document)
            user = self.settings.user(self.settings.user_of(old.document))
            self._key = key
            self._take(Loaded(version=0, fields=fields, user=user))
            self._next = chosen
        except DocumentError as error:
            LOG.warning("session %s could not be kept here: %s", name_of(key), error)
            self.standing, self._data = Standing.LIVE, old.document
            self._strange = unlike(old.document)
            return
        if isinstance(found, Loaded):
            mine, _ = self.settings.codec.decode(found.fields)
            same = digest(self.settings, mine) == digest(self.settings, old.document)
            if not same:
                LOG.warning("session %s differs from its old record", name_of(key))
        if not isinstance(found, Loaded) or not same:
            yield from self._follow(key, old.document)

    def save(self) -> Plan[Action]:
        yield from self.load()
        if self.standing is Standing.NEW:
            yield from self.create(self._next)
            return Action.CREATE
        if self._next is None and self._user_changed():
            self.rotate(hard=True)
        id, chosen, data = self._id, self._next, self.data
        there = yield self.ask("write", chosen or id, data, self._seconds(), chosen is not None)
        if not there:
            self._lose()
            raise SessionGone(GONE)
        if chosen is not None:
            yield self.ask("remove", id)
            yield from self._beside(methodcaller("end", *self._keys(id)))
        yield from self._kept(chosen or id)
        return Action.SAVE if chosen is None else Action.ROTATE

    def create(self, id: str | None = None) -> Plan[None]:
        chosen = id or self._new_id()
        self._data = self._data or {}
        yield self.ask("write", chosen, self._data, self._seconds(), True)
        yield from self._kept(chosen)

    def end(self) -> Plan[int]:
        id = self._id
        self._next = None
        if id is None:
            return 0
        there = yield self.ask("read", id)
        yield self.ask("remove", id)
        yield from self._beside(methodcaller("end", *self._keys(id)))
        return int(there is not None)

    def exists(self, id: str | None) -> Plan[bool]:
        if id is None or not self.settings.shape.fits(id):
            return False
        return (yield self.ask("read", id)) is not None

    def _seconds(self) -> int:
        return seconds_of(lasting(self.settings, self._data or {}, None))

    def _kept(self, id: str | None) -> Plan[None]:
        """Ours follows what the old engine has just been given."""
        key, document = self._keys(id)[0], self._data or {}
        yield from self._follow(key, document)
        try:
            base = Base(self.settings.codec.encode(document))
        except DocumentError:
            base, self._strange = Base(), unlike(document)
        self._renew = True  # nothing says when the cookie ends: it's set at each save, as before
        self._settle(id, key, 0, base, self._user_now())

    def _follow(self, key: bytes, document: dict[Any, Any]) -> Plan[None]:
        """Makes ours what the old record is. What fails is logged, never the request's trouble."""
        user = self.settings.user(self.settings.user_of(document))
        life = lasting(self.settings, document, None)
        try:
            fields = self.settings.codec.encode(document)
            found = yield methodcaller("load", key)
            if isinstance(found, Loaded):
                base = self.settings.codec.decode(found.fields)[1]
                changes = self.settings.codec.changes(base, document)
                yield methodcaller("save", key, changes, life, user=user)
            else:
                yield methodcaller("create", key, fields, life, user=user or None)
        except SessileError as error:
            LOG.warning("session %s was not shadowed: %s", name_of(key), error)

    def _beside(self, step: Step) -> Plan[Any]:
        """Asks our store for what may fail."""
        try:
            return (yield step)
        except SessileError as error:
            LOG.warning("a shadow was not reached: %s", type(error).__name__)
            return None


def asking(source: Source, name: str, *args: Any) -> Step:
    """A step that asks a source, in whichever way the plan is carried out."""

    def step(engine: Any) -> Any:
        if not iscoroutinefunction(type(engine).load):
            return getattr(source, name)(*args)
        native: Callable[..., Any] | None = getattr(source, "a" + name, None)
        if native is not None:
            return native(*args)
        return asyncio.to_thread(partial(getattr(source, name), *args))

    return step


def lasting(settings: Settings, document: dict[Any, Any], seconds: int | None) -> Life:
    """How long a session lives from now on: not longer than its old record would have."""
    probe = Session(settings)
    probe.data = document
    life = probe._life(fresh=True)
    if seconds is not None and life.idle and seconds < life.idle:
        life = replace(life, idle=max(1, seconds))
    return life


def seconds_of(life: Life) -> int:
    """How long an old record is to live."""
    if life.expires_at is not None:
        return max(1, (life.expires_at - time.time_ns() // 1_000_000) // 1000)
    return life.idle or life.maximum or 14 * 86400


def digest(settings: Settings, document: dict[Any, Any]) -> str:
    """What a document holds, whatever the order of its keys."""
    leaves = settings.codec.encode(document)
    texts = sorted(name + b" " + leaf.rpartition(b" ")[0] for name, leaf in leaves.items())
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:16]


def unlike(document: dict[Any, Any]) -> dict[Any, Any]:
    """What to compare a document with later on: a copy, unless no copy equals it."""
    copied = copy.deepcopy(document)
    return copied if copied == document else document


def mark_in(document: dict[Any, Any]) -> Mark | None:
    """What mirroring left in an old record; `None` if nothing, or if it makes no sense."""
    handle, _, rest = str(document.get(MARK, "")).partition(" ")
    moment, _, seen = rest.partition(" ")
    return Mark(handle, int(moment), seen) if moment.isdigit() else None


def noted(fields: Mapping[bytes, bytes]) -> list[str]:
    """The digests that stand beside a document."""
    leaf = fields.get(NOTE)
    return list(json.JSONDecoder().raw_decode(leaf.decode())[0]) if leaf else []


def noting(seen: str) -> Changes:
    """Notes a digest."""
    init, push = {NOTE: b"[]"}, [Push(NOTE, json.dumps(seen).encode(), NOTES)]
    return Changes(init=init, push=push)
