"""What every engine does, in the words that frameworks and engines share.

An engine keeps sessions: it knows keys, fields and times, and nothing of documents, cookies or
frameworks. Keys are handles (`sessile.ids`), never the ids that browsers hold. Fields are the
leaves of a document as `sessile.document` writes them, bytes to bytes. Times are in seconds
where a person chose them and in Unix milliseconds where a moment is meant.

What always holds, on every engine: an operation is atomic; a session that ended never comes back;
a version is opaque, and differs after every change; LOAD, touches and empty saves don't change
it. `AsyncEngine` is `Engine` with `await`: same names, same arguments, same answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

from sessile.promises import Promise

__all__ = [
    "ROTATED",
    "AsyncEngine",
    "Changes",
    "Engine",
    "Life",
    "Listed",
    "Loaded",
    "Push",
    "Rotated",
]


@dataclass(frozen=True, slots=True)
class Life:
    """How long a session lives. `None` leaves what there is, 0 takes a limit away."""

    idle: int | None = None
    """Seconds without use after which it ends."""
    maximum: int | None = None
    """Seconds after creation or rotation at which it ends, used or not."""
    expires_at: int | None = None
    """The moment (Unix milliseconds) at which it ends, used or not; instead of `maximum`."""


@dataclass(frozen=True, slots=True)
class Push:
    """A value to append to a leaf that is a list."""

    name: bytes
    value: bytes
    """One JSON text, without a stamp."""
    trim: int | None = None
    """How many of the last elements are kept; `None` keeps all."""


@dataclass(slots=True)
class Changes:
    """A patch: what one request changed. Parts are applied in the order in which they stand here.

    Setting a leaf removes every field below it and every scalar above it, in the same step.
    """

    delete_trees: list[bytes] = field(default_factory=list)
    """Paths that go with everything below, seen or not; `b""` is the whole document."""
    delete: list[bytes] = field(default_factory=list)
    """Single leaves that go."""
    set: dict[bytes, bytes] = field(default_factory=dict)
    """Leaves and their new values."""
    init: dict[bytes, bytes] = field(default_factory=dict)
    """Leaves that are set only where nothing is."""
    increment: dict[bytes, int | float] = field(default_factory=dict)
    """Numbers to add to leaves; a leaf that isn't there counts as 0."""
    push: list[Push] = field(default_factory=list)
    """Values to append to leaves that are lists."""
    seal: bytes = field(default=b"", compare=False)
    """`Loaded.seal` of the session as it was read, if it was; no change by itself."""
    held: Any = field(default=None, compare=False, repr=False)
    """`Loaded.held`, likewise."""

    def __bool__(self) -> bool:
        return bool(
            self.delete_trees or self.delete or self.set or self.init or self.increment or self.push
        )


@dataclass(slots=True)
class Loaded:
    """A session as it was read. Nobody changes it; that isn't checked, since to make one that is
    takes as long as reading what it's made of from the reply."""

    version: int
    fields: Mapping[bytes, bytes]
    user: str = ""
    """Whose it is; empty if nobody's."""
    idle_left: int | None = None
    """Milliseconds until it ends unused; `None` without idle timeout."""
    absolute_left: int | None = None
    """Milliseconds until it ends in any case; `None` without absolute deadline."""
    seal: bytes = b""
    """What an engine that encrypts wants to have back with changes, to save without reading."""
    held: Any = field(default=None, compare=False, repr=False)
    """What another engine wants to have back with changes or an end, to the same end; whether it
    still holds is for that engine to find out."""


class Rotated:
    """The answer for a session whose id was changed for good: not absent, but not readable."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ROTATED"


ROTATED: Final = Rotated()


@dataclass(frozen=True, slots=True)
class Listed:
    """One live session of a user."""

    key: bytes
    created: int
    """Unix milliseconds."""
    last_seen: int
    """Unix milliseconds."""
    fields: Mapping[bytes, bytes]
    """Those that were asked for and are there."""


@runtime_checkable
class Engine(Protocol):
    """Keeps sessions. Errors are those of `sessile.errors`; see each method for what it answers.

    `token` makes a repeat after a lost reply answer as the first did (kept a minute).
    `user=None` leaves the user as it is, `""` clears it.
    """

    @property
    def promises(self) -> frozenset[Promise]:
        """What holds on this engine; docs/guarantees.md is made from it."""

    def create(
        self,
        key: bytes,
        fields: Mapping[bytes, bytes],
        life: Life,
        *,
        user: str | None = None,
        limit: int | None = None,
        token: bytes | None = None,
    ) -> int | None:
        """Creates a session and answers its version; `None` if the key exists.

        With `limit`, the user's oldest sessions beyond `limit - 1` end first.
        """

    def load(self, key: bytes, *, slide: bool = False) -> Loaded | Rotated | None:
        """Reads a session; `slide` re-arms its idle timeout."""

    def save(
        self,
        key: bytes,
        changes: Changes,
        life: Life,
        *,
        expected: int | None = None,
        user: str | None = None,
        token: bytes | None = None,
    ) -> int | None:
        """Merges changes into a session that exists, and slides; `None` if it's gone.

        Raises `SessionConflict` if `expected` is given and isn't its version. Never creates.
        """

    def rotate(
        self,
        key: bytes,
        new_key: bytes,
        changes: Changes,
        life: Life,
        *,
        expected: int | None = None,
        user: str | None = None,
        limit: int | None = None,
        grace: int = 0,
        hard: bool = False,
        create: Mapping[bytes, bytes] | None = None,
        token: bytes | None = None,
    ) -> int | None:
        """Moves a session to a new key with a patch; the new version, `None` if it's gone.

        If the user is set or changes, or `hard`, the old key answers ROTATED for a minute; else
        it may stand for the new one for `grace` seconds. `create` holds the fields that the new
        session gets if the old one is gone.
        """

    def end(self, *keys: bytes, held: Any = None) -> int:
        """Ends sessions; how many there were. `held` is `Loaded.held` of one that was read."""

    def touch(self, key: bytes) -> bool:
        """Re-arms the idle timeout; whether the session exists."""

    def sessions_of(self, user: str, names: Sequence[bytes] = ()) -> list[Listed]:
        """The user's live sessions, newest first. `NotSupported` where there is no index."""

    def end_all(self, user: str, *, keep: bytes | None = None) -> int:
        """Ends the user's sessions, but `keep`; how many. `NotSupported` without an index."""

    def exists(self, key: bytes) -> bool:
        """Whether a session lives under the key; doesn't slide."""

    def ping(self) -> None:
        """Raises `SessionUnavailable` unless the store answers."""

    def close(self) -> None:
        """Gives connections back; the engine can be used again afterwards."""


@runtime_checkable
class AsyncEngine(Protocol):
    """`Engine` with `await`."""

    @property
    def promises(self) -> frozenset[Promise]: ...

    async def create(
        self,
        key: bytes,
        fields: Mapping[bytes, bytes],
        life: Life,
        *,
        user: str | None = None,
        limit: int | None = None,
        token: bytes | None = None,
    ) -> int | None: ...

    async def load(self, key: bytes, *, slide: bool = False) -> Loaded | Rotated | None: ...

    async def save(
        self,
        key: bytes,
        changes: Changes,
        life: Life,
        *,
        expected: int | None = None,
        user: str | None = None,
        token: bytes | None = None,
    ) -> int | None: ...

    async def rotate(
        self,
        key: bytes,
        new_key: bytes,
        changes: Changes,
        life: Life,
        *,
        expected: int | None = None,
        user: str | None = None,
        limit: int | None = None,
        grace: int = 0,
        hard: bool = False,
        create: Mapping[bytes, bytes] | None = None,
        token: bytes | None = None,
    ) -> int | None: ...

    async def end(self, *keys: bytes, held: Any = None) -> int: ...

    async def touch(self, key: bytes) -> bool: ...

    async def sessions_of(self, user: str, names: Sequence[bytes] = ()) -> list[Listed]: ...

    async def end_all(self, user: str, *, keep: bytes | None = None) -> int: ...

    async def exists(self, key: bytes) -> bool: ...

    async def ping(self) -> None: ...

    async def close(self) -> None: ...
