"""The sessions of a user: list them, end one, end all.

Works on engines with an index of users (all but `memcached:`, which raises NotSupported). A
device is named by its handle: that can be shown and sent in forms, and never opens a session.
Each function has a twin with `a` in front for asyncio.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from operator import methodcaller
from typing import Any

from sessile.contract import Listed
from sessile.django.config import configured
from sessile.django.store import SessionStore
from sessile.plans import Plan, arun, run
from sessile.session import DEVICE

__all__ = [
    "Device",
    "adevices",
    "aend_device",
    "aend_devices",
    "devices",
    "end_device",
    "end_devices",
]


@dataclass(frozen=True)
class Device:
    """One live session of a user."""

    handle: str
    """Names it; of no use as a cookie."""
    name: str
    """What the browser called itself at sign-in."""
    created: datetime
    last_seen: datetime
    current: bool
    """Whether it's the session of the request that asked."""


def devices(user: Any, request: Any = None) -> list[Device]:
    """A user's live sessions, newest first. `user` is a user or its primary key."""
    return run(configured().engine(), listing(user, request))


async def adevices(user: Any, request: Any = None) -> list[Device]:
    return await arun(configured().async_engine(), listing(user, request))


def end_device(user: Any, handle: str) -> bool:
    """Ends one of a user's sessions; whether the user had it."""
    return run(configured().engine(), ending(user, handle))


async def aend_device(user: Any, handle: str) -> bool:
    return await arun(configured().async_engine(), ending(user, handle))


def end_devices(user: Any, keep: Any = None) -> int:
    """Ends a user's sessions but that of the request `keep`; how many."""
    return run(configured().engine(), ending_all(user, keep))


async def aend_devices(user: Any, keep: Any = None) -> int:
    return await arun(configured().async_engine(), ending_all(user, keep))


def listing(user: Any, request: Any) -> Plan[list[Device]]:
    """`devices` as a plan."""
    own = keys_of(request)
    found: Sequence[Listed] = yield methodcaller("sessions_of", name_of(user), [DEVICE])
    return [device(row, own) for row in found]


def ending(user: Any, handle: str) -> Plan[bool]:
    """`end_device` as a plan."""
    found: Sequence[Listed] = yield methodcaller("sessions_of", name_of(user))
    for row in found:
        if handle_of(row.key) == handle:
            return bool((yield methodcaller("end", row.key)))
    return False


def ending_all(user: Any, keep: Any) -> Plan[int]:
    """`end_devices` as a plan."""
    session = getattr(keep, "session", keep)
    own = None
    if isinstance(session, SessionStore) and session.session_key:
        own = yield from session._state.find()
    count: int = yield methodcaller("end_all", name_of(user), keep=own)
    return count


def name_of(user: Any) -> str:
    """The name that a user has in the store: of its primary key, as Django's login writes it."""
    meta = getattr(user, "_meta", None)
    key = str(user) if meta is None else meta.pk.value_to_string(user)
    return configured().user(key)


def keys_of(request: Any) -> list[bytes]:
    """The keys that the session of a request may have; those it has for certain first."""
    session = getattr(request, "session", request)
    return session._state.keys if isinstance(session, SessionStore) else []


def handle_of(key: bytes) -> str:
    return key.removeprefix(configured().prefix).decode()


def device(row: Listed, own: Sequence[bytes]) -> Device:
    """A row of the index as people read it."""
    return Device(
        handle=handle_of(row.key),
        name=name_in(row.fields.get(DEVICE, b"")),
        created=moment(row.created),
        last_seen=moment(row.last_seen),
        current=row.key in own,
    )


def name_in(leaf: bytes) -> str:
    """What a browser called itself; empty if that is not known, or can't be read."""
    try:
        return str(json.loads(leaf))
    except ValueError:
        return ""


def moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
