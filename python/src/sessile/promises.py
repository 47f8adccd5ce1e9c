"""What engines promise: the one list that engines, their tests and docs/guarantees.md share.

An engine declares `promises`; `needs` refuses what it doesn't promise. The contract tests skip
what isn't promised, and tools/guarantees.py writes the table, each cell with the test that proves
it. What always holds: a promise is declared only where a test of it runs on that engine, and the
table is never written otherwise. Not for options that a server has of its own.
"""

from __future__ import annotations

from enum import Enum

from sessile.errors import NotSupported

__all__ = ["EVERYWHERE", "INDEXED", "Promise", "needs"]


class Promise(Enum):
    """A promise, with the words that the table has for it."""

    MERGE = "parallel requests lose no update; `incr` and `push` add up"
    CONFLICT = "strict mode: all but one of parallel changes are told"
    ORDER = "keys stay in the order in which they were put in, whoever saves"
    REVIVAL = "what was ended isn't revived by a request under way"
    ROTATION = "a new id in one step: whoever looks finds the session every time"
    TOMBSTONE = "the id known before a sign-in opens nothing"
    GRACE = "a renewal keeps requests that are under way"
    IDLE = "ends after a time without use"
    MAX = "ends at a moment that no use moves"
    REPEAT = "a request that is repeated after a lost reply counts once"
    INDEX = "a user's sessions can be listed and ended at once"
    LIMIT = "at most so many sessions of a user, also in parallel"
    ENCRYPTION = "values can be encrypted, and merge all the same"
    OUTAGE = "a store that is gone is an error in time, never an empty session"
    EVICTION = "full, a store that may not evict refuses with an error and keeps what it has"
    RESTART = "what was confirmed survives `kill -9` of whatever holds it"
    FAILOVER = "goes on by itself where a replica takes over"


INDEXED = frozenset({Promise.INDEX, Promise.LIMIT})
"""What takes an index of users."""
EVERYWHERE = (
    frozenset(Promise)
    - INDEXED
    - {Promise.OUTAGE, Promise.EVICTION, Promise.RESTART, Promise.FAILOVER}
)
"""What every engine promises."""


def needs(promise: Promise, promises: frozenset[Promise]) -> None:
    """Raises NotSupported unless it is among the promises of an engine."""
    if promise in promises:
        return
    if promise in INDEXED:
        what = "listed or ended all at once" if promise is Promise.INDEX else "limited in number"
        raise NotSupported(
            f"this store has no index of users: a user's sessions can't be {what}; "
            "all engines but memcached: have one"
        )
    raise NotSupported(f"this store doesn't promise it: {promise.value}")
