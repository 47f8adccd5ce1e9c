"""What a doctor does whatever the framework: tries a store out, and says of each part if it works.

`tried` makes, changes, finds and ends a session of its own. What always holds: nothing of anybody
else's is touched; a store that doesn't answer is a finding and never an exception; no finding
repeats a URL, which may hold a password, or an id.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from sessile.contract import Changes, Life
from sessile.errors import NotSupported, SessileError
from sessile.session import Session
from sessile.settings import Settings
from sessile.urls import parse

__all__ = ["Finding", "described", "eviction", "on_redis", "tried"]

Finding = tuple[bool, str]
"""Whether it's good, and what it is."""


def described(settings: Settings) -> Iterator[Finding]:
    """What the settings say."""
    yield True, f"settings: {parse(settings.url).scheme}:, namespace {settings.namespace!r}"
    if keys := [key for key in settings.encryption_keys if key is not None]:
        seals = "the first seals" if settings.encryption_keys[0] else "none seals"
        yield True, f"encryption: keys that open values: {len(keys)}, of which {seals}"


def tried(settings: Settings) -> Iterator[Finding]:
    """The store, by using it."""
    try:
        if on_redis(settings):
            from sessile.redis_health import examined as nodes_of

            yield from nodes_of(settings.url)
        began = time.perf_counter()
        settings.engine().ping()
        yield True, f"the store answers in {(time.perf_counter() - began) * 1e6:.0f} µs"
        yield from lived(settings)
    except (SessileError, ImportError) as error:  # the driver of a store may not be installed
        yield False, f"{type(error).__name__}: {error}"


def lived(settings: Settings) -> Iterator[Finding]:
    """A session of the doctor's own, made, changed, found and ended."""
    engine, user = settings.engine(), settings.user("sessile-doctor")
    key = Session(settings)._keys(Session(settings).rotate())[0]
    made = engine.create(key, {}, Life(idle=60), user=user)
    changed = engine.save(key, Changes(set={b"a": b"1 0"}), Life())
    yield made is not None and changed is not None, "a session can be made and changed"
    try:
        listed = any(row.key == key for row in engine.sessions_of(user))
        yield listed, "a user's sessions can be listed"
    except NotSupported:
        yield True, "a user's sessions can't be listed in this store"
    ended = engine.end(key) == 1 and engine.save(key, Changes(), Life()) is None
    yield ended, "a session that was ended stays ended"


def on_redis(settings: Settings) -> bool:
    """Whether sessions are in a Redis or Valkey, of whichever kind."""
    return parse(settings.url).scheme.partition("+")[0] in ("redis", "rediss", "valkey", "valkeys")


def eviction(settings: Settings) -> str:
    """What Redis evicts when it's full, the worst of all primaries; empty if none tells."""
    if not on_redis(settings):
        return ""
    from sessile.redis_health import policies

    found = sorted(policies(settings.url))
    return found[0] if found else ""  # allkeys-* comes first
