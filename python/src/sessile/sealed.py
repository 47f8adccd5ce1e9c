"""An engine whose sessions are encrypted, over any engine: it seals what goes in, opens what comes.

`sealed` and `async_sealed` put `sessile.encryption` between a session and its store, so that
whoever uses the engine sees the leaves as they are. A save of whoever has loaded the session
before is one request, as without encryption (`Loaded.seal` comes back as `Changes.seal`); else the
session's seal is read first. Stores can't count or append in what they can't read: `increment` and
`push` are done here, and saved under the condition that nobody else saved meanwhile, again and
again until that is so. The same is done to what an older key has sealed, with the next change.
What always holds: an operation is as atomic as without; nothing that an app wrote is stored
unsealed, markers of empty dicts aside, unless the settings say so; a session that can't be opened
raises EncryptionError where it's read or changed, and can still be listed and ended.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import methodcaller
from typing import Any

from sessile.contract import AsyncEngine, Changes, Engine, Life, Listed, Loaded, Rotated
from sessile.encryption import SEAL, Ring, Seal, ring_of
from sessile.errors import DocumentError, EncryptionError, SessionConflict, SessionUnavailable
from sessile.faces import AsyncFace, Face
from sessile.ids import mark_of, name_of
from sessile.merge import has_value, merge
from sessile.plans import Plan, arun, run
from sessile.session_state import SELF

__all__ = ["async_sealed", "sealed"]

LOG = logging.getLogger("sessile.sessions")
TRIES = 64
"""How often a change is tried that depends on what is there."""
NO_VERSION = 0
"""A version that no session has: with it only that can be done which needs none."""
SOUND, STALE = b"0", b"1"
"""How `Loaded.seal` begins: whether all is sealed as it would be now."""


class Plans:
    """Each operation as a plan that asks the engine below."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring

    def create(
        self,
        key: bytes,
        fields: Mapping[bytes, bytes],
        life: Life,
        user: str | None,
        limit: int | None,
        token: bytes | None,
    ) -> Plan[int | None]:
        closed = self._new(key, fields)
        version: int | None = yield methodcaller(
            "create", key, closed, life, user=user, limit=limit, token=token
        )
        return version

    def load(self, key: bytes, slide: bool) -> Plan[Loaded | Rotated | None]:
        found: Loaded | Rotated | None = yield methodcaller("load", key, slide=slide)
        if not isinstance(found, Loaded):
            return found
        seal = self._ring.seal(found.fields.get(SEAL, b""), key)
        fields, is_sound = seal.open_all(found.fields)
        return replace(found, fields=fields, seal=(SOUND if is_sound else STALE) + seal.field)

    def save(
        self,
        key: bytes,
        changes: Changes,
        life: Life,
        expected: int | None,
        user: str | None,
        token: bytes | None,
    ) -> Plan[int | None]:
        def ask(closed: Changes, version: int | None) -> Plan[int | None]:
            options = {"expected": version, "user": user, "token": token}
            saved: int | None = yield methodcaller("save", key, closed, life, **options)
            return saved

        if not changes:
            return (yield from ask(changes, expected))
        seal = self._known(key, changes)
        if seal is not None and not depends(seal, changes):
            return (yield from ask(closed_by(seal, changes), expected))
        for _ in range(TRIES):
            found = yield methodcaller("load", key)
            if not isinstance(found, Loaded):
                return None
            if expected not in (None, found.version):
                # A repeat or a conflict, the store knows which. What can't be merged isn't news.
                return (yield from ask(Changes(), expected))
            seal = self._ring.seal(found.fields.get(SEAL, b""), key)
            try:
                whole, _ = self._merged(key, found, seal, changes)
            except DocumentError as error:
                return (yield from unless_repeated(ask(Changes(), NO_VERSION), token, error))
            try:
                return (yield from ask(whole, found.version))
            except SessionConflict:
                if expected is not None:
                    raise
        raise SessionUnavailable("too many others change the same session")

    def rotate(
        self,
        key: bytes,
        new_key: bytes,
        changes: Changes,
        life: Life,
        expected: int | None,
        user: str | None,
        limit: int | None,
        grace: int,
        hard: bool,
        create: Mapping[bytes, bytes] | None,
        token: bytes | None,
    ) -> Plan[int | None]:
        fallback = None if create is None else self._new(new_key, create)
        stays = grace > 0 and not hard and not user

        def ask(closed: Changes, seal: Seal | None, version: int | None) -> Plan[int | None]:
            if seal is not None and seal.field:
                after = seal.moved(new_key, stays=stays).field
                closed = replace(closed, set={**closed.set, SEAL: after})
            rotated: int | None = yield methodcaller(
                "rotate",
                key,
                new_key,
                closed,
                life,
                expected=version,
                user=user,
                limit=limit,
                grace=grace,
                hard=hard,
                create=fallback,
                token=token,
            )
            return rotated

        seal = self._known(key, changes)
        if seal is not None and not depends(seal, changes):
            return (yield from ask(closed_by(seal, changes), seal, expected))
        for _ in range(TRIES):
            found = yield methodcaller("load", key)
            whole, version = Changes(), expected or NO_VERSION
            seal = None
            if isinstance(found, Loaded) and expected in (None, found.version):
                version = found.version
                seal = self._ring.seal(found.fields.get(SEAL, b""), key)
                try:
                    whole, seal = self._merged(key, found, seal, changes)
                except DocumentError as error:
                    again = ask(Changes(), None, NO_VERSION)
                    return (yield from unless_repeated(again, token, error))
            try:
                return (yield from ask(whole, seal, version))
            except SessionConflict:
                if expected is not None:
                    raise
        raise SessionUnavailable("too many others change the same session")

    def end(self, keys: Sequence[bytes], held: Any) -> Plan[int]:
        count: int = yield methodcaller("end", *keys, held=held)
        return count

    def touch(self, key: bytes) -> Plan[bool]:
        there: bool = yield methodcaller("touch", key)
        return there

    def sessions_of(self, user: str, names: Sequence[bytes]) -> Plan[list[Listed]]:
        asked = [*names, SEAL] if names else []
        rows: list[Listed] = yield methodcaller("sessions_of", user, asked)
        if not names:
            return rows
        found = []
        for row in rows:
            try:
                seal = self._ring.seal(row.fields.get(SEAL, b""), row.key)
                fields = seal.open_all(row.fields)[0]
            except EncryptionError as error:
                # It's there all the same, and whoever looks at the list may want to end it.
                LOG.error("session %s is listed without its values: %s", name_of(row.key), error)
                fields = {}
            found.append(replace(row, fields=fields))
        return found

    def end_all(self, user: str, keep: bytes | None) -> Plan[int]:
        count: int = yield methodcaller("end_all", user, keep=keep)
        return count

    def exists(self, key: bytes) -> Plan[bool]:
        there: bool = yield methodcaller("exists", key)
        return there

    def ping(self) -> Plan[None]:
        yield methodcaller("ping")

    def _new(self, key: bytes, fields: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """The fields of a new session."""
        seal = self._ring.fresh(key)
        closed = {name: seal.close(name, leaf) for name, leaf in fields.items()}
        return {**closed, SEAL: seal.field} if seal.field else closed

    def _known(self, key: bytes, changes: Changes) -> Seal | None:
        """The seal that came with the changes, if it's this session's and all is sealed by it."""
        if changes.seal[:1] != SOUND:
            return None
        try:
            return self._ring.seal(changes.seal[1:], key)
        except EncryptionError:
            return None  # it's from before a rotation, perhaps

    def _merged(
        self, key: bytes, found: Loaded, seal: Seal, changes: Changes
    ) -> tuple[Changes, Seal]:
        """What makes the session that was found into what it is after the changes; its seal."""
        there, is_sound = seal.open_all(found.fields)
        after = merge(there, changes)
        owner = there.get(SELF, b"")
        stands_for_another = not seal.is_newest or (owner != b"" and owner != mark_of(key))
        now = seal
        if not stands_for_another and not is_sound:
            # A handle that stands for another can't make a seal that fits both.
            now = seal.renewed(key)
        closed = Changes(held=found.held)
        for name in there:
            # A marker takes no value away by being set.
            if name not in after or (has_value(there, name) and not has_value(after, name)):
                closed.delete.append(name)
        for name, leaf in after.items():
            is_same = there.get(name) == leaf and name not in changes.set
            if not is_same or (now is not seal and not now.fits(name, found.fields[name])):
                closed.set[name] = now.close(name, leaf)
        if now.field != seal.field:
            if now.field:
                closed.set[SEAL] = now.field
            else:
                closed.delete.append(SEAL)
        return closed, now


def unless_repeated(
    again: Plan[int | None], token: bytes | None, error: DocumentError
) -> Plan[int | None]:
    """Raises what is wrong with a patch, unless it was merged already and its reply lost: `again`
    is what the store answers as the first time then, and refuses otherwise."""
    if token is None:
        raise error
    try:
        return (yield from again)
    except SessionConflict:
        raise error from None


class Sealed(Face):
    """`sessile.contract.Engine` with sealed leaves."""

    def __init__(self, engine: Engine, ring: Ring) -> None:
        self.engine = engine
        self._plans = Plans(ring)
        self.promises = engine.promises

    def _run(self, plan: Plan[Any]) -> Any:
        return run(self.engine, plan)

    def close(self) -> None:
        self.engine.close()


class AsyncSealed(AsyncFace):
    """`sessile.contract.AsyncEngine` with sealed leaves."""

    def __init__(self, engine: AsyncEngine, ring: Ring) -> None:
        self.engine = engine
        self._plans = Plans(ring)
        self.promises = engine.promises

    async def _run(self, plan: Plan[Any]) -> Any:
        return await arun(self.engine, plan)

    async def close(self) -> None:
        await self.engine.close()


def sealed(engine: Engine, keys: tuple[bytes | None, ...], namespace: str) -> Engine:
    """The engine with its sessions encrypted. Raises ConfigurationError."""
    ring = ring_of(keys, namespace)
    return engine if ring is None else Sealed(engine, ring)


def async_sealed(
    engine: AsyncEngine, keys: tuple[bytes | None, ...], namespace: str
) -> AsyncEngine:
    """The engine with its sessions encrypted, for asyncio. Raises ConfigurationError."""
    ring = ring_of(keys, namespace)
    return engine if ring is None else AsyncSealed(engine, ring)


def depends(seal: Seal, changes: Changes) -> bool:
    """Whether what is to be written depends on what is there."""
    clears = b"" in changes.delete_trees and bool(seal.field)
    return bool(changes.increment or changes.push) or clears


def closed_by(seal: Seal, changes: Changes) -> Changes:
    """The changes as the store gets them."""
    return Changes(
        delete_trees=changes.delete_trees,
        delete=changes.delete,
        set={name: seal.close(name, leaf) for name, leaf in changes.set.items()},
        init={name: seal.close(name, leaf) for name, leaf in changes.init.items()},
        held=changes.held,
    )
